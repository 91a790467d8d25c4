"""LZX as Windows images have it: each chunk by itself, x86 calls always translated.

Sources: Microsoft, "LZX Data Compression Format" (in the cabinet SDK); for what differs here,
E. Biggers, wimlib's ``lzx_constants.h``.
"""

import array
import sys
from dataclasses import dataclass, field

from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT, table
from mailward.scan.containers.repeat import repeat

_VERBATIM, _ALIGNED, _STORED = 1, 2, 3
_DEFAULT_BLOCK = 0x8000
_LITERALS, _LENGTHS = 256, 249
_SLOTS = {15: 30, 16: 32, 17: 34, 18: 36, 19: 38, 20: 42, 21: 50}
"""Of offsets, by the size of a chunk as a power of two."""
_RECENT = 3
_LENGTH_IN_TREE = 7
_MIN_MATCH = 2
_CALL = b"\xe8"
_CALL_TAIL = 10
_FILE_BYTES = 12_000_000
"""That calls are translated for, whatever the file's real size is."""


def _slots() -> tuple[tuple[int, ...], tuple[int, ...]]:
    extra = tuple(min(max(0, slot // 2 - 1), 17) for slot in range(max(_SLOTS.values())))
    bases, base = [], -2
    for bits in extra:
        bases.append(base)
        base += 1 << bits
    return tuple(bases), extra


_BASES, _EXTRA = _slots()


class DamagedError(Exception):
    """What can't be unpacked."""


class _Bits:
    """Words of 16 bits, the highest bit first."""

    def __init__(self, packed: bytes) -> None:
        words = array.array("H", packed + bytes(len(packed) % 2))
        if sys.byteorder == "little":
            words.byteswap()
        self._data = words.tobytes()
        self._raw = packed
        self.at = 0
        self.held = 0
        self.count = 0

    def fill(self) -> None:
        """Hold 48 bits more; zeros behind the end, for a little while."""
        if self.at > len(self._data) + 64:
            raise DamagedError
        piece = self._data[self.at : self.at + 6].ljust(6, b"\0")
        self.held = (self.held & (1 << self.count) - 1) << 48 | int.from_bytes(piece, "big")
        self.count += 48
        self.at += 6

    def read(self, count: int) -> int:
        """So many bits, at most 32."""
        if self.count < count:
            self.fill()
        self.count -= count
        return self.held >> self.count & (1 << count) - 1

    def symbol(self, entries: list[int], width: int) -> int:
        """By a table."""
        if self.count < width:
            self.fill()
        entry = entries[self.held >> (self.count - width) & (1 << width) - 1]
        self.count -= entry & LENGTH_MASK
        return entry >> SYMBOL_SHIFT

    def stored(self, size: int) -> bytes:
        """Bytes as they are, from the next word on."""
        start = self.at - self.count // 16 * 2
        self.at = start + size
        self.held = self.count = 0
        piece = self._raw[start : start + size]
        if len(piece) < size:
            raise DamagedError
        return piece

    def align(self) -> None:
        """To the next word, of which at least a bit is passed over."""
        self.read(1)
        self.count -= self.count % 16


@dataclass(slots=True)
class _State:
    """What goes on from block to block of a chunk."""

    main: list[int]
    lengths: list[int] = field(default_factory=lambda: [0] * _LENGTHS)
    recent: list[int] = field(default_factory=lambda: [1, 1, 1])


def unpack(packed: bytes, size: int, window_bits: int) -> bytes:
    """One chunk of so many bytes. Raises DamagedError, IndexError, ValueError if it is damaged.

    ``window_bits``: 15 to 21, of the size that chunks have.
    """
    bits = _Bits(packed)
    state = _State([0] * (_LITERALS + 8 * _SLOTS[window_bits]))
    out = bytearray()
    while len(out) < size:
        kind = bits.read(3)
        count = _DEFAULT_BLOCK if bits.read(1) else bits.read(16 if window_bits < 16 else 24)
        end = len(out) + count
        if not count or end > size:
            raise DamagedError
        if kind == _STORED:
            bits.align()
            raw = bits.stored(12)
            state.recent = [int.from_bytes(raw[at : at + 4], "little") for at in (0, 4, 8)]
            out += bits.stored(count)
            bits.at += count % 2
        elif kind in (_VERBATIM, _ALIGNED):
            aligned = [bits.read(3) for _ in range(8)] if kind == _ALIGNED else None
            _read_lengths(bits, state.main, 0, _LITERALS)
            _read_lengths(bits, state.main, _LITERALS, len(state.main))
            _read_lengths(bits, state.lengths, 0, _LENGTHS)
            _block(bits, state, aligned, out, end)
        else:
            raise DamagedError
    return _calls(out)


def _read_lengths(bits: _Bits, lengths: list[int], at: int, end: int) -> None:
    """Of codes, as differences to those of the block before."""
    entries, width = table([bits.read(4) for _ in range(20)])
    while at < end:
        code = bits.symbol(entries, width)
        run, length = 1, 0
        if code == 17:
            run = 4 + bits.read(4)
        elif code == 18:
            run = 20 + bits.read(5)
        elif code == 19:
            run = 4 + bits.read(1)
            code = bits.symbol(entries, width)
            if code > 16:
                raise DamagedError
            length = (lengths[at] - code) % 17
        else:
            length = (lengths[at] - code) % 17
        run = min(run, end - at)
        lengths[at : at + run] = [length] * run
        at += run


def _block(bits: _Bits, state: _State, aligned: list[int] | None, out: bytearray, end: int) -> None:
    main, main_width = table(state.main)
    main_mask = (1 << main_width) - 1
    lengths, lengths_width = table(state.lengths)
    low, low_width = table(aligned) if aligned is not None else ([], 0)
    r0, r1, r2 = state.recent
    held, count = bits.held, bits.count
    while len(out) < end:
        if count < main_width:
            bits.held, bits.count = held, count
            bits.fill()
            held, count = bits.held, bits.count
        entry = main[held >> (count - main_width) & main_mask]
        count -= entry & LENGTH_MASK
        symbol = entry >> SYMBOL_SHIFT
        if symbol < _LITERALS:
            out.append(symbol)
            continue
        bits.held, bits.count = held, count
        symbol -= _LITERALS
        length, slot = symbol & 7, symbol >> 3
        if length == _LENGTH_IN_TREE:
            length += bits.symbol(lengths, lengths_width)
        length += _MIN_MATCH
        if slot == 0:
            offset = r0
        elif slot == 1:
            offset, r1 = r1, r0
        elif slot == 2:
            offset, r2 = r2, r0
        else:
            extra = _EXTRA[slot]
            if low and extra >= 3:
                offset = _BASES[slot] + (bits.read(extra - 3) << 3) + bits.symbol(low, low_width)
            else:
                offset = _BASES[slot] + bits.read(extra)
            r1, r2 = r0, r1
        r0 = offset
        held, count = bits.held, bits.count
        if not 0 < offset <= len(out):
            raise DamagedError
        repeat(out, offset, length)
    if len(out) > end:
        raise DamagedError
    bits.held, bits.count = held, count
    state.recent = [r0, r1, r2]


def _calls(out: bytearray) -> bytes:
    """Targets of x86 calls were made absolute, which packs better: back to relative ones."""
    at = out.find(_CALL)
    while 0 <= at < len(out) - _CALL_TAIL:
        target = int.from_bytes(out[at + 1 : at + 5], "little", signed=True)
        if 0 <= target < _FILE_BYTES:
            out[at + 1 : at + 5] = (target - at).to_bytes(4, "little", signed=True)
        elif -at <= target < 0:
            out[at + 1 : at + 5] = (target + _FILE_BYTES).to_bytes(4, "little", signed=True)
        at = out.find(_CALL, at + 5)
    return bytes(out)
