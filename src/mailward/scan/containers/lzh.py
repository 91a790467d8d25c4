"""LZ77 with Huffman codes, as H. Okumura's ar002 has it, and after it ARJ and SCO's ``compress``.

Each block has codes of its own, whose lengths are packed by a code as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Shut

_LOOK_EVERY = 4096
_LOOK_EVERY_BYTES = 1024 * 1024
"""Symbols, or bytes, between two looks at time and ratio."""
_OFTEN = 2048
"""Symbols in a block of an honest archive: those have ten thousands."""
_SMALL_BITS = 8
_CODES, _LENGTH_CODES = 510, 19


@dataclass(frozen=True, slots=True)
class Way:
    """In what programs differ."""

    distance_codes: int
    count_bits: int
    """Of how many of these there are in a block."""
    ends: bool
    """By an empty block; else one of 0 symbols has 65,536."""


class Code:
    """A canonical Huffman code.

    ``often``: it will be used so often that a table of all beginnings is worth making; a hostile
    archive has thousands of codes and hardly a symbol in each.
    """

    def __init__(self, lengths: Sequence[int], only: int | None = None, *, often: bool) -> None:
        self.bits = 0 if only is not None else max(lengths, default=0)
        self.only = only or 0
        self._table: list[tuple[int, int]] = []
        self._by_length: list[tuple[int, int, list[int]]] = []
        code = 0
        for length in range(1, self.bits + 1):
            symbols = [symbol for symbol, its in enumerate(lengths) if its == length]
            if symbols:
                self._by_length.append((length, code, symbols))
                code += len(symbols)
            if code > 1 << length:
                raise DamagedError
            code <<= 1
        if often or self.bits <= _SMALL_BITS:
            for length, _, symbols in self._by_length:
                for symbol in symbols:
                    self._table += [(symbol, length)] * (1 << self.bits - length)

    def read(self, bits: Bits) -> int:
        """The next symbol. Raises DamagedError."""
        if not self.bits:
            return self.only
        at = bits.peek(self.bits)
        if self._table:
            if at >= len(self._table):
                raise DamagedError
            symbol, length = self._table[at]
            bits.take(length)
            return symbol
        for length, first, symbols in self._by_length:
            place = (at >> self.bits - length) - first
            if place < len(symbols):
                bits.take(length)
                return symbols[place]
        raise DamagedError


def unpack(
    packed: memoryview, wanted: int, out: bytearray, way: Way, budget: Budget
) -> Shut | None:
    """So many bytes, or up to the end, into ``out``; why it is not all.

    Raises DamagedError, Spent.
    """
    bits = Bits(packed)
    room = budget.room()
    left = turns = look_at = 0
    symbols = distances = Code((), often=False)
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 1 or len(out) > look_at:
            look_at = len(out) + _LOOK_EVERY_BYTES
            shut = over(out, packed, room, budget)
            if shut is not None:
                return shut
        if not left:
            left = bits.take(16)
            if way.ends and not left:
                if 8 * bits.at - bits.count > 8 * len(packed):
                    raise DamagedError("it ends too early")
                return None
            left = left or 1 << 16
            often = left >= _OFTEN
            lengths = _lengths(bits, _LENGTH_CODES, 5, 3, often=False)
            symbols = _symbols(bits, lengths, often=often)
            distances = _lengths(bits, way.distance_codes, way.count_bits, -1, often=often)
            if not symbols.bits and symbols.only < 256:  # they cost no bit, so not a turn each
                out += bytes([symbols.only]) * min(left, wanted - len(out))
                left = 0
                continue
        left -= 1
        symbol = symbols.read(bits)
        if symbol < 256:
            out.append(symbol)
            continue
        power = distances.read(bits)
        distance = (1 << power - 1) + bits.take(power - 1) if power else 0
        copy(out, distance + 1, symbol - 253)
    del out[wanted:]
    return None


def copy(out: bytearray, distance: int, length: int) -> None:
    """Repeat so many bytes from so far back. Raises DamagedError."""
    if distance > len(out):
        raise DamagedError
    repeat(out, distance, length)


def over(out: bytearray, packed: memoryview, room: int, budget: Budget) -> Shut | None:
    """Why nothing more may be unpacked. Raises Spent."""
    budget.check_time()
    if len(out) > room:
        del out[room:]
        return budget.over_room(room)
    return budget.bomb() if budget.is_bomb(len(out), len(packed)) else None


def _lengths(bits: Bits, most: int, width: int, gap_at: int, *, often: bool) -> Code:
    count = bits.take(width)
    if not count:
        return Code((), bits.take(width), often=False)
    lengths: list[int] = []
    while len(lengths) < min(count, most):
        length = bits.take(3)
        while length >= 7 and bits.take(1):
            length += 1
            if length > 16:
                raise DamagedError
        lengths.append(length)
        if len(lengths) == gap_at:
            lengths += [0] * bits.take(2)
    return Code(lengths, often=often)


def _symbols(bits: Bits, lengths: Code, *, often: bool) -> Code:
    count = bits.take(9)
    if not count:
        return Code((), bits.take(9), often=False)
    found: list[int] = []
    while len(found) < min(count, _CODES):
        symbol = lengths.read(bits)
        if symbol > 2:
            found.append(symbol - 2)
        elif symbol:
            found += [0] * (bits.take(4) + 3 if symbol == 1 else bits.take(9) + 20)
        else:
            found.append(0)
    return Code(found, often=often)
