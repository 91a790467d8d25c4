"""When to speak of a license: 60, 30, 14, 7, 3, 2 and 1 days before it ends, then daily.

``warning_due`` names the occasion. Who remembers the name of the last one that was spoken of, and
speaks when it differs, speaks once each time, also after a restart, however often it asks.
"""

from datetime import datetime

from mailward.license.entitlement import Entitlement, State, days_left

DAYS_BEFORE = (1, 2, 3, 7, 14, 30, 60)

_IN_ORDER = frozenset({State.VALID, State.NOT_NEEDED})


def warning_due(entitlement: Entitlement, now: datetime) -> str | None:
    """The occasion to speak of at ``now`` (the judging time); None while all is in order."""
    if entitlement.state in _IN_ORDER:
        return None
    until = entitlement.until
    if entitlement.state is not State.EXPIRING or until is None:
        day = (now - until).days if until is not None else f"{now:%Y-%m-%d}"
        return f"{entitlement.state} {day}"
    left = days_left(until, now)
    mark = next((str(days) for days in DAYS_BEFORE if left <= days), "more")
    return f"{until:%Y-%m-%d} in {mark}"
