"""What is wrong with this computer's definitions, told from what is on the disk.

So the service, `mailward status` and `/healthz` say the same, also after a restart.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from mailward.definitions.disk import unwritable
from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.definitions.pointer import Pointer
from mailward.definitions.products import Products
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.license import State
from mailward.settings.update import ChannelSettings, UpdateSettings
from mailward.update import freshness
from mailward.update.agent import enabled_channels
from mailward.update.licenses import Licenses


class Alarm(StrEnum):
    """The names of alerts; ``docs/operations.md`` says what to do about each."""

    NO_SET = "no definitions"
    STALE = "stale"
    """Followed by the channel."""
    ROLLED_BACK = "rolled back"
    TRIAL_FAILED = "trial failed"
    MISBEHAVES = "misbehaves"
    REFUSED_IN_USE = "refused set in use"
    DISK = "disk"
    STORE_DAMAGED = "store damaged"
    NO_WORKERS = "no workers"
    DOUBTED = "doubted"
    """Followed by the signature (S14)."""
    LICENSE = "license"
    """Followed by the channel."""
    PRODUCT = "product"
    """Followed by its name."""


UNPROTECTED = frozenset({Alarm.NO_SET, Alarm.STALE, Alarm.STORE_DAMAGED, Alarm.NO_WORKERS})
"""With one of these a computer is not protected; the others are to be looked at."""


def leaves_unprotected(name: str) -> bool:
    """Whether an alert says that this computer is not protected."""
    return any(name == alarm or name.startswith(f"{alarm} ") for alarm in UNPROTECTED)


def of_licenses(settings: UpdateSettings, licenses: Licenses, now: datetime) -> dict[str, str]:
    """What is missing, has ended or ends soon (S10). Raises OSError, MailwardError."""
    told = licenses.entitlements(list(enabled_channels(settings)), now)
    good = (State.VALID, State.NOT_NEEDED)
    return {f"{Alarm.LICENSE} {e.channel}": e.sentence for e in told if e.state not in good}


def of_products(store: Store) -> dict[str, str]:
    """Who shares the store and does not have its active set."""
    products = Products(store.folder)
    states = ((product, products.state(product)) for product in products.all())
    return {
        f"{Alarm.PRODUCT} {product.name}": (
            f"{state.problem}. It uses {state.version or 'no set'}; see: mailward products list"
        )
        for product, state in states
        if state.problem
    }


def license_occasions(
    settings: UpdateSettings, licenses: Licenses, now: datetime
) -> dict[str, str]:
    """Those alerts' own calendar. Raises OSError, MailwardError."""
    found = licenses.occasions(list(enabled_channels(settings)), now)
    return {f"{Alarm.LICENSE} {channel}": occasion for channel, occasion in found.items()}


def channel_settings(settings: UpdateSettings, channel: Channel) -> ChannelSettings:
    """Of one channel."""
    return settings.certified if channel is Channel.CERTIFIED else settings.rapid


def found(settings: UpdateSettings, store: Store, trust_dir: Path, now: datetime) -> dict[str, str]:
    """Everything that is wrong at the moment, by name. Raises nothing that a store may raise."""
    try:
        alarms = _of_store(store)
        events = store.history(freshness.EVENTS_LOOKED_AT)
        alarms |= stale(settings, events, trust_dir, now)
        pointer = store.pointer()
        if pointer is not None and pointer.version is not None:
            alarms |= _of_set(pointer, events)
        return alarms
    except (MailwardError, OSError) as e:
        return {Alarm.STORE_DAMAGED.value: str(e)}


def stale(
    settings: UpdateSettings, events: Sequence[Event], trust_dir: Path, now: datetime
) -> dict[str, str]:
    """The enabled channels that are stale, and why."""
    renewed = freshness.renewed_at(trust_dir)
    alarms = {}
    for channel in enabled_channels(settings):
        why = freshness.stale_because(
            freshness.known(channel, events),
            channel_settings(settings, channel).stale_after_h,
            renewed,
            now,
        )
        if why is not None:
            alarms[f"{Alarm.STALE} {channel}"] = why
    return alarms


def _of_store(store: Store) -> dict[str, str]:
    alarms = {}
    active = store.active()
    if active is None:
        alarms[Alarm.NO_SET.value] = "no definitions are active: run `mailward update`"
    elif (pointer := store.pointer()) is not None and active.version != pointer.version:
        alarms[Alarm.STORE_DAMAGED.value] = (
            f"the active set {pointer.version} is damaged, {active.version} is used in its place: "
            "run `mailward definitions verify --repair`"
        )
    elif (defect := active.defect()) is not None:
        alarms[Alarm.STORE_DAMAGED.value] = (
            f"the active set {active.version}: {defect}. Run `mailward definitions verify --repair`"
        )
    if (why := unwritable(store.folder, store.settings.min_free_bytes)) is not None:
        alarms[Alarm.DISK.value] = f"{why}; no update can come until that is mended"
    return alarms


def _of_set(pointer: Pointer, events: Sequence[Event]) -> dict[str, str]:
    """About the set in use, and those that were to take its place."""
    version = pointer.version
    if version is None:
        return {}
    alarms = {}
    reason = pointer.refusal(version)
    if reason is not None:
        alarms[Alarm.REFUSED_IN_USE.value] = (
            f"{version} is in use, though it is refused ({reason}): there was nothing to go back "
            "to. The next set takes its place"
        )
    for event in reversed(events):
        if event.event in ("activated", "rolled-back") and event.version == version:
            if event.event == "rolled-back" and event.details.get("by") in ("watch", "publisher"):
                alarms[Alarm.ROLLED_BACK.value] = (
                    f"{event.details.get('left')} was left for {version}: {event.reason}. "
                    "It is over when a newer set comes"
                )
            break
        if event.event == "misbehaves" and event.version == version:
            alarms.setdefault(Alarm.MISBEHAVES.value, f"{version}: {event.reason}")
        if event.event == "trial-failed" and event.version is not None and event.version > version:
            alarms.setdefault(
                Alarm.TRIAL_FAILED.value,
                f"{event.version} failed its trial and is not used: {event.reason}. "
                "It is over when a newer set comes",
            )
    return alarms
