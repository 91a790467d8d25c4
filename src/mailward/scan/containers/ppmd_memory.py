"""The memory of PPMd, variant H: when it is full is part of how the data is packed.

What lies where is therefore kept exactly as the packer had it: units of 12 bytes, which grow from
both ends towards each other, lists of what was given back, and the text, in front of all, which
grows towards them. Source: I. Pavlov's ``Ppmd7.c`` (public domain), after D. Shkarin.
"""

_UNIT_BYTES = 12

_LISTS = 38
_LARGEST_UNITS = 128
_GLUED_MOST = 0x10000
_LOOKS_BETWEEN = 255
"""In vain, until free pieces beside each other are put together again."""


def _sizes() -> tuple[list[int], list[int]]:
    """Units that the pieces of each list have; and the list for so many units."""
    units: list[int] = []
    lists = [0]
    for number in range(_LISTS):
        step = 4 if number >= 12 else number // 4 + 1
        lists += [number] * step
        units.append(len(lists) - 1)
    return units, lists


_UNITS, _LIST = _sizes()


class Memory:
    """Of so many bytes; units are numbered from 1, the lowest first."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self.top = size_bytes // _UNIT_BYTES + 1
        """Behind the last unit."""
        self.text = bytearray()
        """Longer than what counts: what was taken back may still be looked at."""
        self.reset()

    def reset(self) -> None:
        """Forget what is in it."""
        self.text_end = 0
        self._free: list[list[int]] = [[] for _ in range(_LISTS)]
        self._high = self.top
        self._low = self._start = self.top - self._size // 8 // _UNIT_BYTES * 7
        self._looks = 0

    def write(self, symbol: int) -> bool:
        """One byte of text; whether there was room."""
        end = self.text_end
        if end == len(self.text):
            self.text.append(symbol)
        else:
            self.text[end] = symbol
        self.text_end = end + 1
        return self._between() > 0

    def one(self) -> int:
        """A unit for a context; 0 if there is none."""
        if self._high != self._low:
            self._high -= 1
            return self._high
        free = self._free[0]
        return free.pop() if free else self._rare(0)

    def take(self, units: int) -> int:
        """So many units for states, the first is returned; 0 if there are none."""
        which = _LIST[units]
        free = self._free[which]
        if free:
            return free.pop()
        rounded = _UNITS[which]
        if rounded <= self._high - self._low:
            self._low += rounded
            return self._low - rounded
        return self._rare(which)

    def give(self, at: int, units: int) -> None:
        """Back."""
        self._free[_LIST[units]].append(at)

    @staticmethod
    def fits(units: int, more: int) -> bool:
        """Whether a piece of ``units`` is as large as one of ``more``."""
        return _LIST[units] == _LIST[more]

    def shrink(self, at: int, units: int, fewer: int) -> int:
        """Where so many units are now: what is in them has to be moved there."""
        old, new = _LIST[units], _LIST[fewer]
        if old == new:
            return at
        if self._free[new]:
            self._free[old].append(at)
            return self._free[new].pop()
        self._split(at, old, new)
        return at

    def _between(self) -> int:
        """Bytes from the text to the lowest unit."""
        return self._size - _UNIT_BYTES * (self.top - self._start) - self.text_end

    def _rare(self, which: int) -> int:
        if not self._looks:
            self._glue()
            if self._free[which]:
                return self._free[which].pop()
        for larger in range(which + 1, _LISTS):
            if self._free[larger]:
                at = self._free[larger].pop()
                self._split(at, larger, which)
                return at
        self._looks -= 1
        units = _UNITS[which]
        if self._between() <= _UNIT_BYTES * units:
            return 0
        self._start -= units
        return self._start

    def _split(self, at: int, old: int, new: int) -> None:
        """Give back what is behind the beginning of a piece."""
        self._put(at + _UNITS[new], _UNITS[old] - _UNITS[new])

    def _put(self, at: int, units: int) -> None:
        which = _LIST[units]
        if _UNITS[which] != units:
            which -= 1
            first = _UNITS[which]
            self._free[units - first - 1].append(at + first)
        self._free[which].append(at)

    def _glue(self) -> None:
        self._looks = _LOOKS_BETWEEN
        order = [at for free in self._free for at in reversed(free)]
        order.reverse()
        units = {at: _UNITS[n] for n, free in enumerate(self._free) for at in free}
        self._free = [[] for _ in range(_LISTS)]
        for at in order:
            size = units.get(at)
            if size is None:
                continue
            while (more := units.get(at + size)) is not None and size + more < _GLUED_MOST:
                del units[at + size]
                size += more
            units[at] = size
        for at in order:
            size = units.get(at, 0)
            while size > _LARGEST_UNITS:
                self._free[-1].append(at)
                at += _LARGEST_UNITS
                size -= _LARGEST_UNITS
            if size:
                self._put(at, size)
