"""LZFSE and LZVN, as Apple's disk images and file systems have them; bounded.

The reference library makes its buffer larger until what is damaged fits, so it is done here. Block
of LZFSE: literals, then triples of how many of them, how much is repeated, and from where; each
packed by finite state entropy, read from its end. Format: E. Bainville and others, ``lzfse.h``,
``lzfse_internal.h``, ``lzvn_decode_base.c``.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from mailward.scan.containers.repeat import repeat

_STORED, _LZVN, _PACKED, _END = b"bvx-", b"bvxn", b"bvx2", b"bvx$"
_BLOCKS_MAX = 100_000
_LITERALS_MAX, _MATCHES_MAX = 40_000, 10_000
_HEADER_BYTES = 32
_LENGTH_EXTRA = (0,) * 16 + (2, 3, 5, 8)
_MATCH_EXTRA = (0,) * 16 + (3, 5, 8, 11)
_DISTANCE_EXTRA = tuple(number // 4 for number in range(64))
"""Bits behind each symbol."""
_STATES = 64, 64, 256, 1024
"""Of lengths, matches, distances, literals."""
_SYMBOLS = 20, 20, 64, 256

_Entry = tuple[int, int, int, int]
"""Bits to read; how many of them are extra; what to add to the others for the next state; to the
extra ones for the value."""


@dataclass(frozen=True, slots=True)
class _Header:
    literals: int
    matches: int
    literal_bytes: int
    match_bytes: int
    literal_bits: int
    match_bits: int
    literal_states: tuple[int, ...]
    states: tuple[int, int, int]
    header_bytes: int


class _Bits:
    """From the end to the beginning, the highest bit first."""

    def __init__(self, data: bytes, surplus: int) -> None:
        self._data = data
        self._at = len(data)
        self._held = 0
        self._count = -surplus
        self._fill()

    def _fill(self) -> None:
        piece = self._data[max(0, self._at - 6) : self._at]
        if not piece and self._data:
            raise ValueError("too few bits")
        self._at -= len(piece)
        self._held = self._held << 8 * len(piece) | int.from_bytes(piece, "little")
        self._count += 8 * len(piece)
        self._held &= (1 << max(0, self._count)) - 1

    def read(self, count: int) -> int:
        """Raises ValueError when there are too few."""
        if self._count < count:
            self._fill()
            if self._count < count:
                raise ValueError("too few bits")
        self._count -= count
        value = self._held >> self._count
        self._held &= (1 << self._count) - 1
        return value


def unpack(packed: bytes, limit: int) -> bytes:
    """At most so many bytes. Raises ValueError, IndexError, struct.error if it is damaged."""
    out = bytearray()
    at = 0
    for _ in range(_BLOCKS_MAX):
        magic = packed[at : at + 4]
        if magic == _END or len(out) >= limit:
            return bytes(out[:limit])
        size = struct.unpack_from("<L", packed, at + 4)[0]
        end = len(out) + size
        if end > limit:
            raise ValueError("more than there should be")
        if magic == _STORED:
            out += packed[at + 8 : at + 8 + size]
            at += 8 + size
        elif magic == _LZVN:
            length = struct.unpack_from("<L", packed, at + 8)[0]
            _lzvn(packed[at + 12 : at + 12 + length], out, end)
            at += 12 + length
        elif magic == _PACKED:
            at += _block(packed, at, out, end)
        else:
            raise ValueError("a block that is not known")
        if len(out) != end:
            raise ValueError("not as much as there should be")
    raise ValueError("too many blocks")


def unpack_lzvn(packed: bytes, limit: int) -> bytes:
    """A stream of LZVN without anything around it. Raises ValueError, IndexError."""
    out = bytearray()
    _lzvn(packed, out, limit)
    return bytes(out)


def _block(packed: bytes, at: int, out: bytearray, end: int) -> int:
    """Returns how long it is."""
    header = _header(packed, at)
    tables_at = at + header.header_bytes
    raw = int.from_bytes(packed[at + _HEADER_BYTES : tables_at], "little")
    tables = []
    extras = _LENGTH_EXTRA, _MATCH_EXTRA, _DISTANCE_EXTRA, (0,) * 256
    for states, symbols, extra in zip(_STATES, _SYMBOLS, extras, strict=True):
        frequencies, raw = _frequencies(raw, symbols)
        tables.append(_table(states, frequencies, extra))
    middle = tables_at + header.literal_bytes
    stop = middle + header.match_bytes
    if stop > len(packed):
        raise ValueError("truncated")
    literals = _literals(packed[tables_at:middle], header, tables[3])
    bits = _Bits(packed[middle:stop], header.match_bits)
    length_state, match_state, distance_state = header.states
    lengths, matches, distances = tables[:3]
    read, at_literal, distance = bits.read, 0, 0
    for _ in range(header.matches):
        count, extra_bits, delta, base = lengths[length_state]
        value = read(count)
        length_state = delta + (value >> extra_bits)
        length = base + (value & (1 << extra_bits) - 1)
        count, extra_bits, delta, base = matches[match_state]
        value = read(count)
        match_state = delta + (value >> extra_bits)
        match = base + (value & (1 << extra_bits) - 1)
        count, extra_bits, delta, base = distances[distance_state]
        value = read(count)
        distance_state = delta + (value >> extra_bits)
        distance = base + (value & (1 << extra_bits) - 1) or distance
        out += literals[at_literal : at_literal + length]
        at_literal += length
        if len(out) + match > end:
            raise ValueError("more than there should be")
        _repeat(out, match, distance)
    return stop - at


def _header(packed: bytes, at: int) -> _Header:
    first, second, third = struct.unpack_from("<QQQ", packed, at + 8)
    header = _Header(
        literals=first & 0xFFFFF,
        matches=first >> 40 & 0xFFFFF,
        literal_bytes=first >> 20 & 0xFFFFF,
        match_bytes=second >> 40 & 0xFFFFF,
        literal_bits=7 - (first >> 60 & 7),
        match_bits=7 - (second >> 60 & 7),
        literal_states=tuple(second >> 10 * number & 0x3FF for number in range(4)),
        states=(third >> 32 & 0x3FF, third >> 42 & 0x3FF, third >> 52 & 0x3FF),
        header_bytes=third & 0xFFFFFFFF,
    )
    if header.literals > _LITERALS_MAX or header.matches > _MATCHES_MAX:
        raise ValueError("more than a block has")
    if not _HEADER_BYTES <= header.header_bytes <= 2048:
        raise ValueError("a header that cannot be")
    return header


def _frequencies(raw: int, count: int) -> tuple[list[int], int]:
    """So many numbers, the small ones in few bits; and the bits behind them."""
    found = []
    for _ in range(count):
        if not raw & 1:
            value, bits = raw >> 1 & 1, 2
        elif not raw & 2:
            value, bits = 2 + (raw >> 2 & 1), 3
        elif not raw & 4:
            value, bits = 4 + (raw >> 3 & 3), 5
        elif not raw & 8:
            value, bits = 8 + (raw >> 4 & 0xF), 8
        else:
            value, bits = 24 + (raw >> 4 & 0x3FF), 14
        found.append(value)
        raw >>= bits
    return found, raw


def _table(states: int, frequencies: Sequence[int], extra: Sequence[int]) -> list[_Entry]:
    """What each state means. For literals the value is the symbol itself."""
    if sum(frequencies) > states:
        raise ValueError("frequencies that cannot be")
    bases = (0, *accumulate(1 << bits for bits in extra))
    table: list[_Entry] = []
    for symbol, frequency in enumerate(frequencies):
        if not frequency:
            continue
        more = extra[symbol]
        shift = states.bit_length() - frequency.bit_length()
        few = (2 * states >> shift) - frequency
        for number in range(frequency):
            if number < few:
                delta = ((frequency + number) << shift) - states
                table.append((shift + more, more, delta, bases[symbol]))
            else:
                delta = (number - few) << (shift - 1)
                table.append((shift - 1 + more, more, delta, bases[symbol]))
    return table


def _literals(packed: bytes, header: _Header, table: list[_Entry]) -> bytes:
    out = bytearray()
    bits = _Bits(packed, header.literal_bits)
    states = list(header.literal_states)
    read = bits.read
    for number in range(header.literals):
        turn = number & 3
        count, _, delta, symbol = table[states[turn]]
        states[turn] = delta + read(count)
        out.append(symbol)
    return bytes(out)


def _lzvn(packed: bytes, out: bytearray, end: int) -> None:
    """Until its end, or what there should be is there."""
    at = distance = 0
    while len(out) < end:
        code = packed[at]
        low = code & 7
        length = match = 0
        if code >= 0xF0:
            match = code & 15 or packed[at + 1] + 16
            at += 1 if code & 15 else 2
        elif code >= 0xE0:
            length = code & 15 or packed[at + 1] + 16
            at += 1 if code & 15 else 2
        elif 0x70 <= code < 0x80 or code >= 0xD0:
            raise ValueError("an unknown code")
        elif 0xA0 <= code < 0xC0:
            word = packed[at + 1] | packed[at + 2] << 8
            length, match, distance = code >> 3 & 3, ((low << 2) | word & 3) + 3, word >> 2
            at += 3
        elif low == 6 and code < 0x40:
            if code == 6:
                return
            if code not in (0x0E, 0x16):
                raise ValueError("an unknown code")
            at += 1
        else:
            length, match = code >> 6, (code >> 3 & 7) + 3
            if low == 7:
                distance = packed[at + 1] | packed[at + 2] << 8
                at += 3
            elif low == 6:
                at += 1
            else:
                distance = low << 8 | packed[at + 1]
                at += 2
        if at + length > len(packed):
            raise ValueError("truncated")
        out += packed[at : at + length]
        at += length
        if match:
            _repeat(out, min(match, end - len(out)), distance)
    del out[end:]


def _repeat(out: bytearray, count: int, distance: int) -> None:
    if distance > len(out) or (not distance and count > 0):
        raise ValueError("a reference to nothing")
    if count > 0:
        repeat(out, distance, count)
