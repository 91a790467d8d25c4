"""What is counted for each set while it scans: what tells whether it behaves (``update.watch``).

Counting is on the path of every message, so it is a handful of integers and one logarithm.
"""

import math
from dataclasses import dataclass, field

_CLASS_KIB = (4, 16, 64, 256, 1024)
"""Upper bounds of the classes of size, KiB: like is compared with like, or one morning with many
attachments would look like a slow set."""

_STEPS = 4
"""Cells for each doubling of the time: a median is known to 19 %."""
_FLOOR_MS = 0.01
_CELLS = 92
"""Up to 2^23 times 10 µs: more than the longest time limit of a message."""


_TALLIES_MAX = 8
"""Sets whose counts are kept."""


def size_class(size_bytes: int) -> int:
    """The class of a message's size."""
    kib = size_bytes / 1024
    return sum(kib > bound for bound in _CLASS_KIB)


@dataclass(frozen=True, slots=True)
class Pace:
    """Processor time of scans, as counts of cells: by class of size, then by time."""

    cells: tuple[tuple[int, ...], ...] = ((0,) * _CELLS,) * (len(_CLASS_KIB) + 1)

    def messages(self, of_class: int) -> int:
        """How many of this class were scanned."""
        return sum(self.cells[of_class])

    def median_ms(self, of_class: int) -> float:
        """Milliseconds that half of the class took at most; 0 without messages."""
        half, seen = self.messages(of_class) / 2, 0
        for cell, count in enumerate(self.cells[of_class]):
            seen += count
            if count and seen >= half:
                return float(_FLOOR_MS * 2 ** ((cell + 0.5) / _STEPS))
        return 0.0


CLASSES = range(len(_CLASS_KIB) + 1)


@dataclass(frozen=True, slots=True)
class SetCounts:
    """How scanning with one set has gone since this process began."""

    messages: int = 0
    """Scanned with it."""
    blamed: int = 0
    """Messages that cost it workers, and that the set before could scan."""
    blamed_late: int = 0
    """Of these, the ones that took too long; the others crashed."""
    not_blamed: int = 0
    """Messages that cost it workers, and the set before as well, or there was none to try."""
    by_chance: int = 0
    """Workers that ended while idle, or by a message that it could scan after all."""
    load_failures: int = 0
    load_error: str = ""
    """Of the last."""
    pace: Pace = Pace()


@dataclass(slots=True)
class Tally:
    """The same, while it is being counted."""

    messages: int = 0
    blamed: int = 0
    blamed_late: int = 0
    not_blamed: int = 0
    by_chance: int = 0
    load_failures: int = 0
    load_error: str = ""
    _cells: list[list[int]] = field(default_factory=lambda: [[0] * _CELLS for _ in CLASSES])

    def scanned(self, size_bytes: int, cpu_ms: float) -> None:
        """One message was scanned, in ``cpu_ms`` of processor time."""
        self.messages += 1
        cell = int(_STEPS * math.log2(cpu_ms / _FLOOR_MS)) if cpu_ms > _FLOOR_MS else 0
        self._cells[size_class(size_bytes)][min(cell, _CELLS - 1)] += 1

    def now(self) -> SetCounts:
        """As it stands."""
        return SetCounts(
            messages=self.messages,
            blamed=self.blamed,
            blamed_late=self.blamed_late,
            not_blamed=self.not_blamed,
            by_chance=self.by_chance,
            load_failures=self.load_failures,
            load_error=self.load_error,
            pace=Pace(tuple(map(tuple, self._cells))),
        )


class Tallies:
    """The tallies of the last few sets, by version."""

    def __init__(self) -> None:
        self._by_version: dict[str, Tally] = {}

    def of(self, version: str) -> Tally:
        """The one of a set, to count with."""
        tally = self._by_version.get(version)
        if tally is None:
            if len(self._by_version) >= _TALLIES_MAX:
                del self._by_version[next(iter(self._by_version))]
            tally = self._by_version[version] = Tally()
        return tally

    def now(self, version: str) -> SetCounts:
        """The counts of a set as they stand."""
        tally = self._by_version.get(version)
        return tally.now() if tally is not None else SetCounts()
