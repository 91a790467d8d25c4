"""The agent: what a repository offers becomes the set in use, or nothing changes (S5).

``Agent.refresh`` is the list of steps. Each step leaves the store whole, so that it can be killed
between any two instants and begin again.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from mailward import durable
from mailward.definitions.model import Channel, Current, Manifest, Version
from mailward.definitions.store import Store, StoredSet, StoreWriter
from mailward.errors import (
    ConfigError,
    MailwardError,
    StoreError,
    TemporaryError,
    TrialError,
    TrustError,
)
from mailward.license import Entitlement
from mailward.settings.update import UpdateSettings
from mailward.update import trial, trust
from mailward.update.fetch import Bearer, Mirrors, mirrors_of
from mailward.update.fetch.partial import Partials
from mailward.update.licenses import Known, Licenses, installation_of
from mailward.update.repository import Repository, reach
from mailward.update.shards import Shards
from mailward.update.trust import Advice, Position, Step

log = structlog.get_logger(__name__)

_ROOT_MAX_BYTES = 512_000
"""python-tuf's own bound for root metadata."""

Progress = Callable[[str, int, int], None]
"""Told the step in words, bytes done and bytes in all (0 if not counted)."""


class Result(StrEnum):
    """How a refresh ended, short of an error."""

    UP_TO_DATE = "up to date"
    AVAILABLE = "available"
    """Something new is there; only looked (``--check``)."""
    WAITING = "waiting"
    """The roll-out has not reached this computer."""
    ACTIVATED = "activated"
    UNLICENSED = "not licensed"
    """Something new is there, and no license allows to fetch it; scanning goes on (S10)."""
    FELL_BACK = "fell back"
    """The set in use was withdrawn, and an earlier one took its place."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a refresh did."""

    channel: Channel
    result: Result
    reason: str
    active: Version | None
    offered: Version | None
    bytes_received: int
    requests: int
    ms: float


class Agent:
    """Keeps one store current from one repository."""

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        trusted_dir: Path,
        progress: Progress = lambda step, done, total: None,
        license_dir: Path | None = None,
    ) -> None:
        """``license_dir``: where licenses rest; default: beside ``trusted_dir``."""
        self._settings = settings
        self._store = store
        self._trusted_dir = trusted_dir
        self._progress = progress
        self._licenses = Licenses(license_dir or trusted_dir.with_name("license"), trusted_dir)

    def refresh(self, channel: Channel, *, check_only: bool = False) -> Outcome:
        """Bring the store up to what ``channel`` offers, or only look (``check_only``).

        Raises FetchError, TrustError, TrialError, StoreError or BusyError with the active set
        unchanged and the reason in the store's history (S5).
        """
        root = read_root(self._settings)
        with (
            self._store.writer(f"update {channel}") as writer,  # S8
            closing(mirrors_of(self._settings)) as mirrors,
        ):
            visit = _Visit(
                self._settings,
                self._store,
                self._trusted_dir,
                self._progress,
                channel,
                writer,
                mirrors,
                self._licenses,
            )
            try:
                return visit.look(root) if check_only else visit.refresh(root)
            except (MailwardError, OSError) as e:
                error = StoreError(f"the system refuses: {e}") if isinstance(e, OSError) else e
                # S5: all that changes
                writer.note("failed", channel=channel.value, reason=str(error), **visit.cost())
                if error is e:
                    raise
                raise error from e

    def known_of_licenses(self, channels: Sequence[Channel]) -> tuple[Known, str]:
        """What the repository says about licenses now; if it cannot be asked, what it said last,
        and a remark that says so. Raises as ``refresh`` does if it never said anything."""
        root = read_root(self._settings)
        try:
            with (
                self._store.writer("ask about licenses"),  # S8
                closing(mirrors_of(self._settings)) as mirrors,
            ):
                repository = reach(root, self._trusted_dir, mirrors)  # S1
                for channel in channels:
                    repository.current(channel)
                repository.licensing()
        except TemporaryError as e:
            known = self._licenses.known()
            if known.licensing is None:
                raise
            return known, f" (by what the repository said last: {e})"
        return self._licenses.known(), ""


class _Visit:
    """One refresh of one channel, with the store's lock held."""

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        trusted_dir: Path,
        progress: Progress,
        channel: Channel,
        writer: StoreWriter,
        mirrors: Mirrors,
        licenses: Licenses,
    ) -> None:
        self._settings = settings
        self._store = store
        self._trusted_dir = trusted_dir
        self._progress = progress
        self._channel = channel
        self._writer = writer
        self._mirrors = mirrors
        self._licenses = licenses
        self._began = time.monotonic()

    def refresh(self, root: bytes) -> Outcome:
        """The steps, in order."""
        repository = self._verify_metadata(root)
        current = repository.current(self._channel)
        entitlement = self._ask_license(repository, current)
        fell_back = self._leave_withdrawn(current)
        advice = trust.advise(current, self._position(), datetime.now(UTC))
        if advice.step is not Step.TAKE:
            if entitlement.allows:
                self._take_evidence(repository, current)
            result = Result.FELL_BACK if fell_back else _seen(advice)
            return self._outcome(result, advice.reason, current)
        if not entitlement.allows:  # S10
            result = Result.FELL_BACK if fell_back else Result.UNLICENSED
            return self._outcome(result, f"{advice.reason}; {entitlement.sentence}", current)
        manifest = self._manifest(repository, current)
        self._fetch_shards(repository, manifest)
        stored = self._writer.stage(manifest, **self.cost())
        self._prove(stored)
        self._writer.activate(
            stored.version, advice.reason, channel=self._channel.value, **self.cost()
        )
        self._writer.prune()
        return self._outcome(Result.ACTIVATED, advice.reason, current)

    def look(self, root: bytes) -> Outcome:
        """Only the first steps: what is there."""
        repository = self._verify_metadata(root)
        current = repository.current(self._channel)
        entitlement = self._ask_license(repository, current)
        advice = trust.advise(current, self._position(), datetime.now(UTC))
        without = "" if entitlement.allows else f"; {entitlement.sentence}"
        return self._outcome(_seen(advice), f"{advice.reason}{without}", current)

    def _verify_metadata(self, root: bytes) -> Repository:
        self._progress("checking the repository", 0, 0)
        return reach(root, self._trusted_dir, self._mirrors)  # S1

    def _ask_license(self, repository: Repository, current: Current) -> Entitlement:
        """What this computer may fetch (S10); what is to be shown for it is shown from now on."""
        if current.license_required:
            repository.licensing()
        return show_license(self._licenses, self._channel, self._mirrors, self._trusted_dir)

    def _position(self) -> Position:
        pointer = self._store.pointer()
        return Position(
            active=pointer.version if pointer else None,
            refused=frozenset(Version.parse(v) for v in pointer.refused)
            if pointer
            else frozenset(),
            installation=_installation(self._trusted_dir),
        )

    def _leave_withdrawn(self, current: Current) -> bool:
        """Off a withdrawn set (S7). With nothing to go back to, it goes on scanning (S5)."""
        active = self._position().active
        reason = current.withdrawn.get(str(active))
        if active is None or reason is None:
            return False
        reason = f"withdrawn by the publisher: {reason}"
        try:
            self._writer.rollback(None, reason, by="publisher")
        except StoreError as e:
            log.warning("withdrawn set stays in use", set=str(active), why=str(e))
            self._writer.refuse(active, reason)
            return False
        return True

    def _take_evidence(self, repository: Repository, current: Current) -> None:
        """The active set has meanwhile been certified: keep the manifest that says so."""
        active = self._whole_active()
        if (
            active is not None
            and active.version == current.version
            and active.manifest.channel is Channel.RAPID
            and current.channel is Channel.CERTIFIED
        ):
            self._writer.stage(self._manifest(repository, current), **self.cost())

    def _whole_active(self) -> StoredSet | None:
        """None also when somebody has damaged it: what is new mends that, and must not fail."""
        try:
            return self._store.active()
        except StoreError as e:
            log.warning("the active set is damaged; taking what is new", why=str(e))
            return None

    def _manifest(self, repository: Repository, current: Current) -> Manifest:
        if current.version is None:
            raise TrustError(f"channel {current.channel}: offers no set at the moment")
        return repository.manifest(current.channel, current.version, self._settings.max_set_bytes)

    def _fetch_shards(self, repository: Repository, manifest: Manifest) -> None:
        """Every shard that the store lacks; a download that breaks off goes on the next time."""
        partials = Partials(self._trusted_dir / "partial", self._mirrors)
        Shards(repository, self._store, self._writer, partials).fetch(
            manifest, lambda done, total: self._progress("fetching", done, total)
        )

    def _prove(self, stored: StoredSet) -> None:
        """The trial (S2). What was proved by an agent that then died is not proved again."""
        if stored.trial is not None and stored.trial.passed:
            return
        self._progress("proving the set", 0, 0)
        with self._writer.workspace() as workspace:
            active = self._whole_active()
            result = trial.run(
                stored.manifest,
                stored.shard_paths(),
                workspace,
                self._settings,
                before=active.prepared if active else None,
            )
            prepared = workspace if result.passed else None
            self._writer.record_trial(stored.version, result, prepared)
        if not result.passed:
            reason = "; ".join(result.problems[:3])
            self._writer.refuse(stored.version, f"failed its trial: {reason}"[:1000])  # S7
            raise TrialError(
                f"set {stored.version} failed its trial and is not used: {reason}. "
                f"See: mailward definitions show {stored.version}"
            )

    def cost(self) -> dict[str, Any]:
        """Bytes and requests up to now, and the time since it began."""
        return {
            "bytes": self._mirrors.bytes_received,
            "requests": self._mirrors.requests,
            "ms": round((time.monotonic() - self._began) * 1000, 1),
        }

    def _outcome(self, result: Result, reason: str, current: Current) -> Outcome:
        pointer, cost = self._store.pointer(), self.cost()
        done = Outcome(
            channel=self._channel,
            result=result,
            reason=reason,
            active=pointer.version if pointer else None,
            offered=current.version,
            bytes_received=cost["bytes"],
            requests=cost["requests"],
            ms=cost["ms"],
        )
        self._writer.note(
            "checked",
            channel=done.channel.value,
            result=done.result.value,
            reason=done.reason,
            offered=str(done.offered) if done.offered else None,
            **cost,
        )
        return done


def read_root(settings: UpdateSettings) -> bytes:
    """The publisher's root.json, where all trust begins. Raises ConfigError."""
    if not settings.repository or settings.root is None:
        raise ConfigError(
            "update.repository and update.root: set both to receive definitions; the publisher "
            "hands over the address and the file root.json"
        )
    try:
        with settings.root.open("rb") as file:
            return file.read(_ROOT_MAX_BYTES)
    except OSError as e:
        raise ConfigError(f"update.root {settings.root}: {e.strerror}") from e


def show_license(
    licenses: Licenses, channel: Channel, mirrors: Mirrors, trusted_dir: Path
) -> Entitlement:
    """What may be fetched of a channel; what is to be shown for it is shown from now on (S10)."""
    entitlement = licenses.entitlement(channel, datetime.now(UTC))
    if entitlement.license is not None:
        shown = entitlement.license
        mirrors.present(Bearer(shown.token, installation_of(shown, _installation(trusted_dir))))
    return entitlement


def _installation(trusted_dir: Path) -> str:
    """Random, made once: the roll-out's hash is stable for a computer and says nothing about it."""
    path = trusted_dir / "installation"
    if not path.is_file():
        durable.write_atomic(path, uuid.uuid4().hex.encode())
    return path.read_text(encoding="ascii")


def _seen(advice: Advice) -> Result:
    return {
        Step.NOTHING: Result.UP_TO_DATE,
        Step.WAIT: Result.WAITING,
        Step.TAKE: Result.AVAILABLE,
    }[advice.step]


def enabled_channels(settings: UpdateSettings) -> Iterator[Channel]:
    """The channels that the configuration takes sets from."""
    if settings.certified.enabled:
        yield Channel.CERTIFIED
    if settings.rapid.enabled:
        yield Channel.RAPID
