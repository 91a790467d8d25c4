"""Waiting for whoever writes the store, within bounds: never two at once (S8)."""

import time
from collections.abc import Callable
from typing import TypeVar

from mailward.errors import BusyError

BUSY_WAIT_S = 60.0
"""For whoever writes the store to end."""

_BUSY_POLL_S = 0.2

_ValueT = TypeVar("_ValueT")


def patiently(work: Callable[[], _ValueT], say: Callable[[str], None]) -> _ValueT:
    """What ``work`` gives, begun again while it raises BusyError; ``say`` is told of it once.

    Raises BusyError when the time is over, and whatever else ``work`` raises.
    """
    until = time.monotonic() + BUSY_WAIT_S
    said = False
    while True:
        try:
            return work()
        except BusyError as e:
            if time.monotonic() >= until:
                raise
            if not said:
                say(f"{e} (waiting for {BUSY_WAIT_S:g} s at most)")
                said = True
            time.sleep(_BUSY_POLL_S)
