"""Schedules as a publisher writes them: ``15 min``, ``daily at 03:30``, ``mon, thu at 12:00``, or
the five fields of a crontab line.

Read into values that answer one question, so that whoever waits can keep its own clock.
"""

import re
from datetime import datetime, timedelta
from typing import Protocol

from apscheduler.triggers.cron import CronTrigger

from mailward.errors import ConfigError

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
_SPAN = re.compile(r"(?:every )?([0-9]{1,6}(?:\.[0-9]{1,3})?) ?([a-z]+?)s?")
_DAYS = "mon|tue|wed|thu|fri|sat|sun"
_AT = re.compile(rf"(daily|(?:{_DAYS})(?: ?, ?(?:{_DAYS}))*) at ([0-9]{{1,2}}):([0-9]{{2}})")
_SPAN_MIN = timedelta(seconds=1)
_SPAN_MAX = timedelta(days=366)


class Calendar(Protocol):
    """Moments on the clock on the wall."""

    def next_after(self, moment: datetime) -> datetime:
        """The first one later than ``moment``."""
        ...


def span(text: str, key: str) -> timedelta:
    """``15 min``, ``every 2 hours``. Raises ConfigError, naming ``key``."""
    found = _SPAN.fullmatch(" ".join(text.lower().split()))
    if found and found[2] in _UNITS:
        wanted = timedelta(**{_UNITS[found[2]]: float(found[1])})
        if _SPAN_MIN <= wanted <= _SPAN_MAX:
            return wanted
    raise ConfigError(f"{key}: {text!r}: write a time from 1 s to 366 days, e.g. 15 min or 2 hours")


def calendar(text: str, key: str) -> Calendar:
    """``daily at 03:30``, in this computer's time zone. Raises ConfigError, naming ``key``."""
    words = " ".join(text.lower().split())
    found = _AT.fullmatch(words)
    try:
        if found is None:
            return _Cron(CronTrigger.from_crontab(words))
        days = "*" if found[1] == "daily" else found[1].replace(" ", "")
        return _Cron(CronTrigger(day_of_week=days, hour=int(found[2]), minute=int(found[3])))
    except (ValueError, TypeError) as e:
        raise ConfigError(
            f"{key}: {text!r}: write daily at 03:30, mon, thu at 12:00, or five crontab fields"
        ) from e


class _Cron:
    def __init__(self, trigger: CronTrigger) -> None:
        self._trigger = trigger

    def next_after(self, moment: datetime) -> datetime:
        found: datetime | None = self._trigger.get_next_fire_time(
            None, moment + timedelta(microseconds=1)
        )
        # None: a crontab line that never comes true, 30 February.
        return found or moment + _SPAN_MAX
