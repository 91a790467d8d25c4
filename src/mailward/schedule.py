"""Schedules as an administrator writes them: ``hourly``, ``daily``, ``weekly``, ``every 15 min``,
``daily at 03:30``, ``mon, thu at 12:00``, or the five fields of a crontab line.

Pure: a schedule answers when it is due next, and whoever waits keeps its own clock. Every schedule
is shifted by a share of its own, the same for ever on one computer and another on the next, so that
a fleet does not come at once: within the whole period of ``hourly``, ``daily``, ``weekly`` and
``every``, and within ``SPREAD`` of times that are named.

Clock changes: a named time that does not exist comes later by what the clock jumped, one that comes
twice counts once. A crontab line whose hour is ``*`` goes by the minutes of every real hour.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from mailward.errors import ConfigError

SPREAD = timedelta(minutes=10)
"""After a named time, at most."""

EXAMPLES = (
    "write hourly, daily, weekly, every 15 min, daily at 03:30, mon, thu at 12:00, "
    "or the five fields of a crontab line"
)

_PERIODS = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(weeks=1),
}
_UNITS = {
    "s": "seconds",
    "sec": "seconds",
    "second": "seconds",
    "min": "minutes",
    "minute": "minutes",
    "h": "hours",
    "hour": "hours",
    "day": "days",
}
_EVERY = re.compile(r"every ([0-9]{1,6}) ?([a-z]+?)s?")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = "|".join(_DAYS)
_AT = re.compile(rf"(daily|(?:{_DAY})(?: ?, ?(?:{_DAY}))*) at ([0-9]{{1,2}}):([0-9]{{2}})")
_WEEKDAYS = re.compile(r"(?:(\*)|([0-7])(?:-([0-7]))?)(?:/([1-7]))?")
_PERIOD_MIN = timedelta(minutes=1)
_PERIOD_MAX = timedelta(days=366)
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday; any would do
_CLOCK_CHANGE_MAX = timedelta(hours=3)
"""Larger than any jump of a clock for summer time."""


class Schedule(Protocol):
    """When something is due."""

    def next_after(self, moment: datetime, share: float, zone: tzinfo | None) -> datetime:
        """The first time later than ``moment``, in UTC.

        ``share``: this computer's, from 0 to below 1. ``zone``: None is the computer's own.
        """
        ...


def parse(text: str) -> Schedule:
    """A schedule. Raises ConfigError."""
    words = " ".join(text.lower().split())
    if words in _PERIODS:
        return _Every(_PERIODS[words])
    if words.startswith("every "):
        return _every(text, words)
    return wall_times(text)


def wall_times(text: str) -> Schedule:
    """Only times that are named: ``daily at 03:30``, crontab lines. Raises ConfigError."""
    words = " ".join(text.lower().split())
    at = _AT.fullmatch(words)
    try:
        if at is None:
            return _crontab(words)
        days = "*" if at[1] == "daily" else at[1].replace(" ", "")
        trigger = CronTrigger(day_of_week=days, hour=int(at[2]), minute=int(at[3]), timezone=UTC)
        return _Named(trigger)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"{text!r} is no schedule: {EXAMPLES}") from e


def zone(name: str) -> tzinfo | None:
    """A time zone by its IANA name; empty: the computer's own. Raises ConfigError."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as e:
        raise ConfigError(f"{name!r} is no time zone: write a name such as Europe/Vienna") from e


def next_run(
    schedule: Schedule, last: datetime | None, now: datetime, share: float, zone: tzinfo | None
) -> datetime:
    """When to run next: ``now`` if that was never, or was missed, as after sleep or restart.

    ``last``: when it ran last. A clock that was set back does not make it wait for the old time.
    """
    if last is None:
        return now
    return max(now, schedule.next_after(min(last, now), share, zone))


@dataclass(frozen=True, slots=True)
class _Every:
    """Even steps of real time."""

    period: timedelta

    def next_after(self, moment: datetime, share: float, zone: tzinfo | None) -> datetime:
        start = _EPOCH + self.period * share
        return start + ((moment.astimezone(UTC) - start) // self.period + 1) * self.period


@dataclass(frozen=True, slots=True)
class _Named:
    """Times on the clock on the wall. The trigger is asked in UTC, as if that hung there: asked in
    a zone it goes back in time while an hour repeats itself."""

    trigger: CronTrigger
    every_hour: bool = False

    def next_after(self, moment: datetime, share: float, zone: tzinfo | None) -> datetime:
        shift = SPREAD * share
        earliest = moment.astimezone(UTC) - shift
        wall = earliest.astimezone(zone).replace(tzinfo=UTC) - _CLOCK_CHANGE_MAX
        latest = datetime.max.replace(tzinfo=UTC)
        found: list[datetime] = []
        while wall <= latest:
            due = self.trigger.get_next_fire_time(None, wall)
            if due is None:  # the year 9999
                break
            later = [moment for moment in self._moments(due, zone) if moment > earliest]
            if later and not found:
                latest = due + 2 * _CLOCK_CHANGE_MAX
            found += later
            wall = due + timedelta(microseconds=1)
        return min(found, default=earliest + _PERIOD_MAX) + shift

    def _moments(self, wall: datetime, zone: tzinfo | None) -> list[datetime]:
        first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if not self.every_hour or first == second:
            return [first]
        return [first, second] if first < second else []  # it comes twice, or never


def _every(text: str, words: str) -> Schedule:
    found = _EVERY.fullmatch(words)
    if found and found[2] in _UNITS:
        period = timedelta(**{_UNITS[found[2]]: int(found[1])})
        if _PERIOD_MIN <= period <= _PERIOD_MAX:
            return _Every(period)
    raise ConfigError(f"{text!r}: write a time from 1 min to 366 days, e.g. every 15 min")


def _crontab(words: str) -> Schedule:
    minute, hour, day, month, weekday = words.split(" ")  # ValueError: not five
    if day != "*" and weekday != "*":
        # cron means "or", the trigger "and": nobody should have to guess.
        raise ValueError("day of the month and of the week")
    trigger = CronTrigger(
        minute=minute,
        hour=hour,
        day=day,
        month=month,
        day_of_week=_weekdays(weekday),
        timezone=UTC,
    )
    if trigger.get_next_fire_time(None, _EPOCH) is None:
        raise ValueError("never comes true")
    return _Named(trigger, every_hour=hour.startswith("*"))


def _weekdays(field: str) -> str:
    """Numbers as crontab counts them (0 and 7 are Sunday; the trigger counts from Monday)."""
    if field == "*" or not re.search("[0-9]", field):
        return field
    names = []
    for piece in field.split(","):
        found = _WEEKDAYS.fullmatch(piece)
        if found is None:
            raise ValueError(piece)
        first = 0 if found[1] else int(found[2])
        last = 6 if found[1] else int(found[3] or (7 if found[4] else found[2]))
        if last < first:
            raise ValueError(piece)
        names += [_DAYS[day % 7] for day in range(first, last + 1, int(found[4] or 1))]
    return ",".join(dict.fromkeys(names))
