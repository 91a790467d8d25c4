"""How often and how soon to ask a server again that says that it is busy (RFC 9110, RFC 6585)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_S = 0.5
"""Before the second request; doubled for each further one."""

_TRIES_MAX = 3
"""Requests for one file; a server with trouble is not helped by more."""

_WAIT_MAX_S = 10.0
"""What a server asks for beyond that is for the next update, not for this one."""


def retry_after_s(header: str, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for (a number or a date); None if it says none."""
    header = header.strip()
    if header.isascii() and header.isdecimal() and len(header) < 10:
        return float(header)
    try:
        then = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())


def is_busy(status: int, asked_for_s: float | None) -> bool:
    """Whether this status is worth another request. Some say 403 when one asks too often."""
    return status == 429 or status >= 500 or (status == 403 and asked_for_s is not None)


def wait_s(asked_for_s: float | None, tries: int) -> float | None:
    """How long to wait after ``tries`` requests; None: leave it for another time."""
    if tries >= _TRIES_MAX:
        return None
    wait = FIRST_WAIT_S * 2 ** (tries - 1) if asked_for_s is None else asked_for_s
    return wait if wait <= _WAIT_MAX_S else None
