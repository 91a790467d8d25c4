"""Freshness that is true: what this computer knows about a channel, and since when it cannot know.

Everything is read from the store's history, so that the service, `mailward update` and
`mailward status` say the same, also after a restart. Pure but for ``share`` and ``renewed_at``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailward import schedule
from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.settings.update import ChannelSettings, UpdateSettings

EVENTS_LOOKED_AT = 1000
"""Of the history's end."""

_RETRY_FIRST = timedelta(minutes=5)
_RETRY_MAX = timedelta(hours=1)
"""After a failure, doubling."""

_CLOCK_TOLERANCE = timedelta(hours=1)
"""A success further ahead than this was noted while the clock was wrong."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known about a channel."""

    last_check: datetime | None = None
    last_result: str | None = None
    last_success: datetime | None = None
    failing_since: datetime | None = None
    """Of the first check that failed since the last that succeeded."""
    failures: int = 0
    """In a row."""
    latest: str | None = None
    """What the channel offered at the last success."""
    last_run: datetime | None = None
    """Last check that would have taken what is new, or failed; `--check` only looks."""


def known(channel: Channel, events: Sequence[Event]) -> Knowledge:
    """What the history's end tells about a channel."""
    found = Knowledge()
    for event in events:
        if event.details.get("channel") != channel.value:
            continue
        if event.event == "checked":
            looked = event.details.get("result") == "available"
            found = Knowledge(
                last_check=event.at,
                last_result=f"{event.details.get('result')}: {event.reason}",
                last_success=event.at,
                latest=event.details.get("offered"),
                last_run=found.last_run if looked else event.at,
            )
        elif event.event == "failed":
            found = Knowledge(
                last_check=event.at,
                last_result=f"failed: {event.reason}",
                last_success=found.last_success,
                failing_since=found.failing_since or event.at,
                failures=found.failures + 1,
                latest=found.latest,
                last_run=event.at,
            )
    return found


def next_check(
    knowledge: Knowledge,
    channel: ChannelSettings,
    settings: UpdateSettings,
    share: float,
    now: datetime,
) -> datetime:
    """When the service looks next. After failures sooner than a rare schedule says, and later than
    a frequent one: a repository in trouble is not hammered."""
    if knowledge.failures and knowledge.last_run is not None:
        last = min(knowledge.last_run, now)
        return max(now, last + retry_after(knowledge.failures, share))
    zone = schedule.zone(settings.timezone)
    plan = schedule.parse(channel.schedule)
    return schedule.next_run(plan, knowledge.last_run, now, share, zone)


def retry_after(failures: int, share: float) -> timedelta:
    """How long to wait after so many failures in a row, a little different on each computer."""
    doubled = _RETRY_FIRST * (1 << min(failures - 1, 10))
    return min(doubled, _RETRY_MAX) * (1 + share / 4)


def stale_because(
    knowledge: Knowledge, stale_after_h: float, renewed_at: datetime | None, now: datetime
) -> str | None:
    """Why an enabled channel is stale; None if it is fresh.

    ``renewed_at``: when the repository last showed a new signed timestamp. One that goes on
    answering with an old one is frozen: it proves nothing about today.
    """
    allowed = timedelta(hours=stale_after_h)
    last = knowledge.last_success
    result = knowledge.last_result or "never checked"
    if last is None:
        return f"no check has succeeded yet (last: {result})"
    if last > now + _CLOCK_TOLERANCE:
        return (
            f"the last successful check is dated {last:%Y-%m-%d %H:%M}, in the future: is the "
            "clock right?"
        )
    if now - last > allowed:
        since = knowledge.failing_since
        cannot = f", cannot know since {since:%Y-%m-%d %H:%M} UTC" if since else ""
        return f"no successful check for more than {stale_after_h:g} hours{cannot} (last: {result})"
    if renewed_at is not None and now - renewed_at > allowed:
        return (
            f"the repository is frozen: it has shown no new timestamp since "
            f"{renewed_at:%Y-%m-%d %H:%M} UTC, more than {stale_after_h:g} hours"
        )
    return None


def share(trust_dir: Path) -> float:
    """This computer's place in a fleet, from 0 to below 1; 0 before its first update."""
    try:
        digest = hashlib.sha256((trust_dir / "installation").read_bytes()).digest()
    except OSError:
        return 0.0
    return int.from_bytes(digest[:6], "big") / 2**48


def renewed_at(trust_dir: Path) -> datetime | None:
    """When a new signed timestamp last came; the agent keeps only newer ones."""
    try:
        return datetime.fromtimestamp((trust_dir / "timestamp.json").stat().st_mtime, UTC)
    except OSError:
        return None
