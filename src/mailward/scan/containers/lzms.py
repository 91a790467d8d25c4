"""LZMS as Windows images have it: a range coder from the front, Huffman codes from the end.

Microsoft publishes no specification; E. Biggers described it in wimlib's ``lzms_decompress.c`` and
``lzms_common.c``, from which every number here is. What is repeated can be bytes, or how bytes
differ from those a power of two in front of them (delta). Calls of x86 code are made relative.
"""

import array
import re
import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT, lengths_for, table
from mailward.scan.containers.repeat import repeat

_HISTORY = (1 << 64) - 1
_FIRST_HISTORY = 0x55555555
_FIRST_ZEROS = 48
"""Of the 64 bits that came last in the same place, at the beginning."""
_ITEMS_BETWEEN_LOOKS = 10_000
"""At the clock: some milliseconds."""
_DELTA_PIECE_BYTES = 1 << 16
_DELTA_POWERS = 8

_OFFSET_RUNS = (9, 0, 9, 7, 10, 15, 15, 20, 20, 30, 33, 40, 42, 45, 60, 73, 80, 85, 95, 105, 6)
_LENGTH_RUNS = (27, 4, 6, 4, 5, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1)
_LAST_EXTRA_BITS = 30

_RELATIVE = b"[" + re.escape(bytes(range(5, 256, 8))) + b"]"
_X86 = re.compile(
    rb"\xe8|\xe9|\x48\x8b[\x05\x0d]|[\x48\x4c]\x8d%b|\xf0\x83\x05|\xff\x15" % _RELATIVE,
    re.DOTALL,
)
"""What an instruction with a relative address begins with."""
_CALL, _JUMP = 0xE8, 0xE9
_JUMP_BYTES, _ADDRESS_BYTES = 5, 4
_NEAR_BYTES, _NEAR_CALL_BYTES = 1023, 511
"""From code that was recognised as such, within which addresses were changed."""
_SAME_TARGET_BYTES = 65_535
_TAIL_BYTES = 16


def _slots(runs: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first value of each slot, and how many bits are added to it."""
    steps = [power for power, count in enumerate(runs) for _ in range(count)]
    return tuple(accumulate(1 << step for step in steps)), (*steps[1:], _LAST_EXTRA_BITS)


_OFFSETS, _OFFSET_BITS = _slots(_OFFSET_RUNS)
_LENGTHS, _LENGTH_BITS = _slots(_LENGTH_RUNS)


class _Decisions:
    """Bits of the range coder, each foretold by those in front of it in the same place."""

    def __init__(self, words: Sequence[int]) -> None:
        if len(words) < 2:
            raise DamagedError("it is too short")
        self._words = words
        self._at = 2
        self._range = 0xFFFFFFFF
        self._code = words[0] << 16 | words[1]

    def take(self, place: "_Place") -> int:
        """The next bit. Raises DamagedError."""
        if self._range <= 0xFFFF:
            if self._at >= len(self._words):
                raise DamagedError("it ends too early")
            self._range = self._range << 16
            self._code = (self._code << 16 | self._words[self._at]) & 0xFFFFFFFF
            self._at += 1
        state = place.state
        zeros = place.zeros[state]
        bound = (self._range >> 6) * (zeros if 0 < zeros < 64 else 63 if zeros else 1)
        history = place.history[state]
        if self._code < bound:
            self._range = bound
            bit = 0
        else:
            self._range -= bound
            self._code -= bound
            bit = 1
        place.zeros[state] = zeros + (history >> 63) - bit
        place.history[state] = (history << 1 | bit) & _HISTORY
        place.state = (state << 1 | bit) & place.mask
        return bit


class _Place:
    """Where a decision is made: what was decided there."""

    __slots__ = ("history", "mask", "state", "zeros")

    def __init__(self, bits: int) -> None:
        self.mask = (1 << bits) - 1
        self.state = 0
        self.zeros = [_FIRST_ZEROS] * (1 << bits)
        self.history = [_FIRST_HISTORY] * (1 << bits)


class _Symbols:
    """A Huffman code that follows what it was used for."""

    __slots__ = ("_bits", "_counts", "_entries", "_every", "_left", "_width")

    def __init__(self, bits: Bits, count: int, every: int) -> None:
        self._bits = bits
        self._counts = [1] * count
        self._every = every
        self._renew()

    def _renew(self) -> None:
        self._entries, self._width = table(lengths_for(self._counts))
        self._left = self._every

    def take(self) -> int:
        """The next symbol. Raises DamagedError, IndexError."""
        bits = self._bits
        width = self._width
        if bits.count < width:
            bits.fill()
        entry = self._entries[bits.held >> bits.count - width & (1 << width) - 1]
        bits.count -= entry & LENGTH_MASK
        symbol = entry >> SYMBOL_SHIFT
        self._counts[symbol] += 1
        self._left -= 1
        if not self._left:
            self._renew()
            self._counts = [(count >> 1) + 1 for count in self._counts]
        return symbol


_Offset = tuple[int, int]
"""As a multiple of a power of two: the power, the factor."""


class _Recent:
    """Offsets used of late; the last is not among them for a repetition that follows at once."""

    def __init__(self) -> None:
        self._row: list[_Offset] = [(0, 1), (0, 2), (0, 3), (0, 4)]
        self._waiting: _Offset | None = None
        self._waits_at = -1

    def begin(self, at: int) -> None:
        """A repetition, of what is appended at ``at``."""
        if at != self._waits_at:
            self._return()

    def take(self, number: int) -> _Offset:
        """Use the one of this number again."""
        return self._row.pop(number)

    def used(self, offset: _Offset, end: int) -> None:
        """What the repetition that ends there has."""
        self._return()
        self._waiting, self._waits_at = offset, end

    def _return(self) -> None:
        if self._waiting is not None:
            self._row = [self._waiting, *self._row[:3]]
            self._waiting = None


def unpack(packed: bytes, size: int, limit: int, budget: Budget) -> bytes:
    """At most ``limit`` bytes of one chunk of ``size``.

    Raises DamagedError, ValueError or IndexError if it is damaged, Spent.
    """
    if len(packed) % 2:
        raise DamagedError("half a word")
    out = bytearray()
    _items(packed, out, size, min(size, limit), budget)
    _calls(out, size, budget)
    return bytes(out)


def _items(packed: bytes, out: bytearray, size: int, limit: int, budget: Budget) -> None:
    words = array.array("H", packed)
    if sys.byteorder == "big":
        words.byteswap()
    bits = Bits(packed[::-1])
    decide = _Decisions(words).take
    slots = bisect_right(_OFFSETS, size - 1) if size > 1 else 0
    literals = _Symbols(bits, 256, 1024)
    lengths = _Symbols(bits, len(_LENGTHS), 512)
    offsets, deltas = _Symbols(bits, slots, 1024), _Symbols(bits, slots, 1024)
    powers = _Symbols(bits, _DELTA_POWERS, 512)
    is_match, is_delta, is_recent, is_recent_delta = _Place(4), _Place(5), _Place(6), _Place(6)
    which, which_delta = (_Place(6), _Place(6)), (_Place(6), _Place(6))
    recent, recent_deltas = _Recent(), _Recent()
    literal, left = literals.take, _ITEMS_BETWEEN_LOOKS
    while len(out) < limit:
        left -= 1
        if not left:
            budget.check_time()
            left = _ITEMS_BETWEEN_LOOKS
        if not decide(is_match):
            out.append(literal())
            continue
        by_delta = decide(is_delta)
        row = recent_deltas if by_delta else recent
        row.begin(len(out))
        if decide(is_recent_delta if by_delta else is_recent):
            first, second = which_delta if by_delta else which
            power, factor = row.take((1 + decide(second)) if decide(first) else 0)
        else:
            power = powers.take() if by_delta else 0
            slot = (deltas if by_delta else offsets).take()
            factor = _OFFSETS[slot] + bits.take(_OFFSET_BITS[slot])
        slot = lengths.take()
        length = _LENGTHS[slot] + bits.take(_LENGTH_BITS[slot])
        row.used((power, factor), len(out) + length)
        span = 1 << power if by_delta else 0
        distance = factor << power
        if distance + span > len(out) or length > size - len(out):
            raise DamagedError("a reference to nothing")
        length = min(length, limit - len(out))
        if by_delta:
            _repeat_differences(out, distance, span, length, budget)
        else:
            repeat(out, distance, length)


def _repeat_differences(
    out: bytearray, distance: int, span: int, length: int, budget: Budget
) -> None:
    for begin in range(0, length, _DELTA_PIECE_BYTES):
        budget.check_time()
        for _ in range(min(_DELTA_PIECE_BYTES, length - begin)):
            out.append(out[-distance] + out[-span] - out[-distance - span] & 0xFF)


def _calls(out: bytearray, size: int, budget: Budget) -> None:
    """Addresses in code were made absolute where two referred to the same one: undo it."""
    last_code = -_NEAR_BYTES - 1
    targets: dict[int, int] = {}
    end = min(len(out), size - _TAIL_BYTES)
    found = _X86.search(out, 1)
    turns = 0
    while found is not None and found.start() < end:
        turns += 1
        if turns % _ITEMS_BETWEEN_LOOKS == 0:
            budget.check_time()
        at, opcode = found.start(), out[found.start()]
        after = at + _JUMP_BYTES
        if opcode != _JUMP:
            address_at = found.end()
            after = address_at + _ADDRESS_BYTES
            if at - last_code <= (_NEAR_CALL_BYTES if opcode == _CALL else _NEAR_BYTES):
                address = int.from_bytes(out[address_at:after], "little") - at & 0xFFFFFFFF
                out[address_at:after] = address.to_bytes(4, "little")[: len(out) - address_at]
            target = at + int.from_bytes(out[address_at : address_at + 2], "little") & 0xFFFF
            last = targets.get(target, -_SAME_TARGET_BYTES - 1)
            if after - 1 - last <= _SAME_TARGET_BYTES:
                last_code = after - 1
            targets[target] = after - 1
        found = _X86.search(out, after)
