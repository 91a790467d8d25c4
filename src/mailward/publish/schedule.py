"""Schedules as a publisher writes them: a span (``15 min``), or times that are named."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from mailward.errors import ConfigError
from mailward.schedule import Schedule, wall_times

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
_SPAN_MIN = timedelta(seconds=1)
_SPAN_MAX = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Moments on this computer's clock, exactly: a publisher is no fleet to spread."""

    schedule: Schedule

    def next_after(self, moment: datetime) -> datetime:
        """The first one later than ``moment``."""
        return self.schedule.next_after(moment, share=0.0, zone=None)


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
    try:
        return Calendar(wall_times(text))
    except ConfigError as e:
        raise ConfigError(f"{key}: {e}") from e
