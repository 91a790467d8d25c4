"""Is this computer protected, as ``/healthz`` answers it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mailward.config import Config
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.scan.pool import ScanPool
from mailward.update import alarms, freshness
from mailward.update.agent import enabled_channels
from mailward.update.alarms import Alarm


@dataclass(frozen=True, slots=True)
class Health:
    """The answer: whether it is protected, and plain values that say why (for JSON)."""

    protected: bool
    body: dict[str, Any]


def no_workers(pool: ScanPool) -> dict[str, str]:
    """The alert that nobody can scan, if so."""
    why = pool.down()
    return {Alarm.NO_WORKERS.value: why} if why else {}


def gather(
    config: Config,
    store: Store,
    pool: ScanPool | None,
    alerts: Mapping[str, str],
    now: datetime,
) -> Health:
    """Look at the disk, and at the workers if there are any. Blocks for milliseconds."""
    reasons = [f"{name}: {why}" for name, why in alerts.items() if alarms.leaves_unprotected(name)]
    body: dict[str, Any] = {
        "protected": not reasons,
        "reasons": reasons,
        "alerts": dict(alerts),
        "workers": dict(pool.sets()) if pool is not None else None,
    }
    try:
        body |= {"active": _active(store, now), "channels": _channels(config, store)}
    except (MailwardError, OSError):  # an alert says it already
        body |= {"active": None, "channels": {}}
    return Health(not reasons, body)


def _active(store: Store, now: datetime) -> dict[str, Any] | None:
    active = store.active()
    if active is None:
        return None
    return {
        "version": str(active.version),
        "channel": active.manifest.channel.value,
        "built_at": active.manifest.built_at.isoformat(),
        "age_s": round((now - active.manifest.built_at).total_seconds()),
        "activated_at": active.activated_at.isoformat() if active.activated_at else None,
    }


def _channels(config: Config, store: Store) -> dict[str, Any]:
    """What is newest in each enabled channel, and since when that could not be known."""
    events = store.history(freshness.EVENTS_LOOKED_AT)
    told = {}
    for channel in enabled_channels(config.update):
        known = freshness.known(channel, events)
        told[channel.value] = {
            "latest": known.latest,
            "last_check": _text(known.last_check),
            "last_success": _text(known.last_success),
            "unknown_since": _text(known.failing_since),
        }
    return told


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
