"""ARJ archives: stored, and its four ways of packing (R. Jung, ``technote.txt`` of ARJ).

Methods 1 to 3 are LHA's scheme with a window of 26 KiB, 4 is a simpler one.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Contents, Listed, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x60\xea(?!\0\0).[\0-\x0a][\x1e-\x30].[\0-\x10][\0-\x0b]"
"""Header size of at most 2600 bytes, size of its first part, versions, host system."""

_MAGIC = b"\x60\xea"
_FIELDS = struct.Struct("<BBBBBBBBLLLLHHH")
_HEADER_MAX_BYTES = 2600
_GARBLED = 1
_STORED, _FASTEST = 0, 4
_MAIN, _FOLDER = 2, 3
_LOOK_EVERY = 4096
_LOOK_EVERY_BYTES = 1024 * 1024
"""Symbols, or bytes, between two looks at time and ratio."""
_OFTEN = 2048
"""Symbols in a block of an honest archive: those have ten thousands."""
_SMALL_BITS = 8
_CODES, _LENGTH_CODES, _DISTANCE_CODES = 510, 19, 17


@dataclass(frozen=True, slots=True)
class _Header:
    """Of a file or folder."""

    name: str
    kind: int
    flags: int
    method: int
    packed_bytes: int
    plain_bytes: int
    at: int
    """Where its packed content begins."""


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    for header in _headers(data):
        if header is None:
            yield Shut(Reason.MALFORMED, "truncated: the archive has no end")
        elif header.kind == _FOLDER:
            budget.count_part(0)  # or millions of folders would cost nothing but time
        else:
            yield from _member(data, header, budget)


def listed(data: bytes) -> Iterator[Listed]:
    """What its headers say."""
    for position, header in enumerate(_headers(data), 1):
        if header is not None:
            encrypted = bool(header.flags & _GARBLED)
            size, packed = header.plain_bytes, header.packed_bytes
            yield Listed(header.name, size, packed, encrypted, position)


def _headers(data: bytes) -> Iterator[_Header | None]:
    """None at the end if the archive has none."""
    at = 0
    while data.startswith(_MAGIC, at) and at + 4 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "little")
        if not size:
            return
        header = data[at + 4 : at + 4 + size]
        if size > _HEADER_MAX_BYTES or len(header) < max(size, _FIELDS.size):
            break
        (first, _, _, _, flags, method, kind, _, _, packed_bytes, plain_bytes, *_) = (
            _FIELDS.unpack_from(header)
        )
        name = header[first:].partition(b"\0")[0].decode("cp437")
        at += 4 + size + 4
        while (extra := int.from_bytes(data[at : at + 2], "little")) and at < len(data):
            at += 2 + extra + 4
        at += 2
        if kind == _MAIN:
            continue
        yield _Header(name, kind, flags, method, packed_bytes, plain_bytes, at)
        at += packed_bytes
    yield None


def _member(data: bytes, header: _Header, budget: Budget) -> Contents:
    name, flags, method = header.name, header.flags, header.method
    packed_bytes, plain_bytes = header.packed_bytes, header.plain_bytes
    packed = memoryview(data)[header.at : header.at + packed_bytes]
    if flags & _GARBLED:
        yield Shut(Reason.ENCRYPTED, "encrypted archive member", name)
        return
    shut: Shut | None = None
    out = bytearray()
    if method == _STORED:
        out += packed[: budget.room() + 1]
    elif method <= _FASTEST:
        try:
            shut = (_fastest if method == _FASTEST else _huffman)(packed, plain_bytes, out, budget)
        except DamagedError:
            shut = Shut(Reason.MALFORMED, "the compressed data is damaged")
    else:
        why = f"ARJ archive: method {method}: this release cannot open it"
        yield Shut(Reason.UNSUPPORTED, why, name)
        return
    yield Piece(bytes(out), Role.MEMBER, name)
    if shut is None and len(packed) < packed_bytes:
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


class _Code:
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


def _huffman(packed: memoryview, wanted: int, out: bytearray, budget: Budget) -> Shut | None:
    bits = Bits(packed)
    room = budget.room()
    left = turns = look_at = 0
    symbols = distances = _Code((), often=False)
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 1 or len(out) > look_at:
            look_at = len(out) + _LOOK_EVERY_BYTES
            shut = _over(out, packed, room, budget)
            if shut is not None:
                return shut
        if not left:
            left = bits.take(16) or 1 << 16
            often = left >= _OFTEN
            lengths = _lengths(bits, _LENGTH_CODES, 5, 3, often=False)
            symbols = _symbols(bits, lengths, often=often)
            distances = _lengths(bits, _DISTANCE_CODES, 5, -1, often=often)
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
        _copy(out, distance + 1, symbol - 253)
    del out[wanted:]
    return None


def _fastest(packed: memoryview, wanted: int, out: bytearray, budget: Budget) -> Shut | None:
    bits = Bits(packed)
    room = budget.room()
    turns = 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 1:
            shut = _over(out, packed, room, budget)
            if shut is not None:
                return shut
        length = _stepped(bits, 0, 7)
        if not length:
            out.append(bits.take(8))
        else:
            _copy(out, _stepped(bits, 9, 13) + 1, length + 2)
    del out[wanted:]
    return None


def _stepped(bits: Bits, width: int, most: int) -> int:
    """A number whose width is given by ones in front of it."""
    plus, power = 0, 1 << width
    while width < most and bits.take(1):
        plus += power
        power <<= 1
        width += 1
    return plus + (bits.take(width) if width else 0)


def _copy(out: bytearray, distance: int, length: int) -> None:
    if distance > len(out):
        raise DamagedError
    repeat(out, distance, length)


def _over(out: bytearray, packed: memoryview, room: int, budget: Budget) -> Shut | None:
    budget.check_time()
    if len(out) > room:
        del out[room:]
        return budget.over_room(room)
    return budget.bomb() if budget.is_bomb(len(out), len(packed)) else None


def _lengths(bits: Bits, most: int, width: int, gap_at: int, *, often: bool) -> _Code:
    count = bits.take(width)
    if not count:
        return _Code((), bits.take(width), often=False)
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
    return _Code(lengths, often=often)


def _symbols(bits: Bits, lengths: _Code, *, often: bool) -> _Code:
    count = bits.take(9)
    if not count:
        return _Code((), bits.take(9), often=False)
    found: list[int] = []
    while len(found) < min(count, _CODES):
        symbol = lengths.read(bits)
        if symbol > 2:
            found.append(symbol - 2)
        elif symbol:
            found += [0] * (bits.take(4) + 3 if symbol == 1 else bits.take(9) + 20)
        else:
            found.append(0)
    return _Code(found, often=often)
