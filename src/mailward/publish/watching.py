"""Noticing that local files have changed, and that whoever writes them is done."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

Fingerprint = frozenset[tuple[str, int, int, int]]

_POLL_SHARE = 0.05
"""Of the time at most is spent with looking: large folders are looked at less often."""


def fingerprint(places: Iterable[Path]) -> Fingerprint:
    """What tells a state of files and folders from another: names, sizes, times, file numbers."""
    found: list[tuple[str, int, int, int]] = []
    for place in places:
        _look(str(place), found)
    return frozenset(found)


def _look(path: str, found: list[tuple[str, int, int, int]]) -> None:
    try:
        status = os.stat(path)
        entries = list(os.scandir(path)) if os.path.isdir(path) else []
    except OSError:
        return  # gone, or not to be read: reading the feed will say so
    found.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            _look(entry.path, found)
        else:
            try:
                status = entry.stat()
            except OSError:
                continue
            found.append((entry.path, status.st_mtime_ns, status.st_size, status.st_ino))


class Lookout:
    """Looks every ``poll_s`` seconds. A change counts once two looks in a row saw the same: nobody
    is writing any more."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._next_at = 0.0
        self._places: tuple[Path, ...] = ()
        self._acted_on: Fingerprint | None = None
        self._seen: Fingerprint | None = None

    def has_changed(self, places: tuple[Path, ...], now_s: float) -> bool:
        """Whether to act. Says so once for each change. ``now_s``: of a monotonic clock."""
        if now_s < self._next_at:
            return False
        began = time.monotonic()
        seen = fingerprint(places)
        self._next_at = now_s + max(self._poll_s, (time.monotonic() - began) / _POLL_SHARE)
        settled = seen == self._seen
        self._seen = seen
        if self._acted_on is None or places != self._places:
            self._acted_on, self._places = seen, places  # the start is no change
            return False
        if not settled or seen == self._acted_on:
            return False
        self._acted_on = seen
        return True
