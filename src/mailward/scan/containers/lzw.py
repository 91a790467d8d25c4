"""Files of ``compress`` (``.Z``): LZW with codes of 9 to 16 bits, in groups of eight; SCO's by LZH.

Read here because libarchive stumbles over a cleared table that gzip(1) reads. Format: compress(1)
of 4.3BSD.
"""

from collections.abc import Iterator
from typing import Protocol

from mailward.scan.budget import Budget
from mailward.scan.containers import lzh, stream
from mailward.scan.containers.bits import DamagedError
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x1f\x9d[\x09-\x10\x89-\x90]"
SCO_STARTS = rb"\x1f\xa0"
_SCO = lzh.Way(distance_codes=14, count_bits=4, ends=True)

_HEADER_BYTES = 3
BITS_MIN = 9
_HAS_CLEAR = 0x80
CLEAR = 256
_LOOK_EVERY_CODES, _LOOK_EVERY_BYTES = 1024, 1024 * 1024
"""Between two looks at time and ratio: a code is up to 64 KiB."""


class Codes(Protocol):
    """Codes as they come."""

    bits: int
    """How wide they are now."""

    def width(self, bits: int) -> None:
        """Have them that wide from now on."""
        ...

    def __iter__(self) -> Iterator[int]:
        """Up to the end of the data."""
        ...


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The file inside, as far as it can be unpacked. Raises only Spent.

    The format has neither size nor checksum: that it is cut cannot be seen.
    """
    out = bytearray()
    shut = _unpack(data, out, budget)
    yield Piece(bytes(out), Role.MEMBER, stream.inner_name(name))
    if shut is not None:
        yield shut


def read_sco(data: bytes, name: str, budget: Budget) -> Contents:
    """The file in what SCO's ``compress -H`` made (``unlzh.c`` of gzip). Raises only Spent."""
    out = bytearray()
    try:
        shut = lzh.unpack(memoryview(data)[2:], budget.room() + 1, out, _SCO, budget)
    except DamagedError:
        shut = Shut(Reason.MALFORMED, "the compressed data is damaged, or ends too early")
    if len(out) > budget.room():
        del out[budget.room() :]
        shut = budget.over_room(len(out))
    yield Piece(bytes(out), Role.MEMBER, stream.inner_name(name))
    if shut is not None:
        yield shut


def _unpack(data: bytes, out: bytearray, budget: Budget) -> Shut | None:
    """Into ``out``; why it is not all."""
    clears = bool(data[2] & _HAS_CLEAR)
    codes = _Codes(data)
    return unpack(
        codes,
        out,
        budget,
        packed_bytes=len(data),
        wanted=budget.room() + 1,
        bits_max=data[2] & 0x1F,
        clear=CLEAR if clears else None,
        first=CLEAR + clears,
    )


def unpack(
    codes: Codes,
    out: bytearray,
    budget: Budget,
    *,
    packed_bytes: int,
    wanted: int,
    bits_max: int,
    clear: int | None,
    first: int,
    end: int | None = None,
) -> Shut | None:
    """About ``wanted`` bytes into ``out``, never more than there is room; why it is not all.

    ``first``: the first code that is free; ``clear``, ``end``: codes that are no data. Raises
    Spent.

    A code stands for the one before it and one byte more, which is what was put out then: so a
    place and a length in ``out`` are all that has to be kept of it.
    """
    room = budget.room()
    places: list[tuple[int, int]] = []
    before: tuple[int, int] | None = None
    look_at = 0
    for number, code in enumerate(codes):
        if number % _LOOK_EVERY_CODES == 0 or len(out) > look_at:
            look_at = len(out) + _LOOK_EVERY_BYTES
            budget.check_time()
            if budget.is_bomb(len(out), packed_bytes):
                return budget.bomb()
        if code == clear:
            places.clear()
            before = None
            codes.width(BITS_MIN)
            continue
        if code == end:
            break
        here = len(out)
        if before is not None and first + len(places) < 1 << bits_max:
            places.append((before[0], before[1] + 1))
        if code < CLEAR:
            out.append(code)
        elif before is None or not first <= code < first + len(places):
            return Shut(Reason.MALFORMED, "the compressed data is damaged: no such code")
        else:
            start, size = places[code - first]
            out += out[start : start + size]
            if start + size > here:  # the code that is just being made: its last byte is its first
                out.append(out[here])
        if len(out) >= wanted:
            break
        before = here, len(out) - here
        if first + len(places) + 1 > 1 << codes.bits and codes.bits < bits_max:
            codes.width(codes.bits + 1)
    if len(out) > room:
        del out[room:]
        return budget.over_room(room)
    return None


class _Codes:
    """Codes of a width that changes; what is left of a group of eight is then passed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = _HEADER_BYTES
        self._group: list[int] = []
        self.bits = BITS_MIN

    def width(self, bits: int) -> None:
        self.bits = bits
        self._group = []

    def __iter__(self) -> Iterator[int]:
        while True:
            if not self._group:
                group = self._data[self._at : self._at + self.bits]
                self._at += self.bits
                whole, mask = int.from_bytes(group, "little"), (1 << self.bits) - 1
                count = len(group) * 8 // self.bits
                self._group = [whole >> self.bits * n & mask for n in reversed(range(count))]
                if not self._group:
                    return
            yield self._group.pop()
