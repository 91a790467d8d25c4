"""What RAR up to 4 unpacked last, to repeat from, and which filters it has to go through."""

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.rar_filters import Filter
from mailward.scan.containers.repeat import repeat

_REACH = 1 << 22
"""How far back repeats may begin."""
_KEPT = 4 * _REACH
_WAITING_MOST = 1024
"""Filters that wait for their data."""


class Window:
    """Of one archive: in a solid one a file goes on from the one before."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost_filters = 0
        """Blocks of the file that went through a program that is not known: they are as packed."""
        self._base = 0
        """Bytes of the archive that are not kept any more."""
        self._start = self._given = 0
        """Where the file begins, and what of it was given out, in bytes of the archive."""
        self._waiting: list[tuple[int, Filter]] = []

    @property
    def end(self) -> int:
        """Bytes of the archive so far."""
        return self._base + len(self.data)

    def begin(self) -> None:
        """Another file."""
        self._start = self._given = self.end
        self._waiting.clear()
        self.lost_filters = 0

    @property
    def made(self) -> int:
        """Bytes of the file so far."""
        return self.end - self._start

    def repeat(self, distance: int, length: int) -> None:
        """Raises DamagedError if there is nothing so far back."""
        if not 0 < distance <= len(self.data):
            raise DamagedError("a match leads outside")
        repeat(self.data, distance, length)

    def wait(self, one: Filter, *, resets: bool) -> None:
        """Filter what comes. Raises DamagedError."""
        if resets:
            self._waiting.clear()
        if len(self._waiting) >= _WAITING_MOST:
            raise DamagedError("too many filters")
        if one.length:
            self._waiting.append((self.end + one.start, one))

    def give(self, out: bytearray, budget: Budget, *, is_last: bool) -> None:
        """Append what is ready. Raises DamagedError, Spent."""
        while self._waiting:
            start, first = self._waiting[0]
            if start < self._given:
                del self._waiting[0]  # what it is for is out already
                continue
            self._raw(out, min(start, self.end))
            if start + first.length > self.end:
                break
            block = self.data[start - self._base : start - self._base + first.length]
            while self._waiting:
                at, following = self._waiting[0]
                if at != start or following.length != len(block):
                    break
                del self._waiting[0]
                budget.check_time()
                if following.program is None:
                    self.lost_filters += 1
                else:
                    offset = start - self._start
                    block = bytearray(following.program(block, following.registers, offset))
            out += block
            self._given = start + len(block)
        if is_last or not self._waiting:
            self._raw(out, self.end)
        keep = min(self._given, self.end - _REACH) - self._base
        if len(self.data) > _KEPT and keep > 0:
            del self.data[:keep]
            self._base += keep

    def _raw(self, out: bytearray, until: int) -> None:
        if until > self._given:
            out += self.data[self._given - self._base : until - self._base]
            self._given = until
