"""How ACE packs: LZ77 by Huffman codes, and in version 2 what was done to the data before.

Bits are read from words of 32, the highest first. The order of codes of the same length depends on
the sorting that ACE uses, which is unstable: it is done in the same way here.
"""

import array
import sys
from collections.abc import Sequence
from itertools import accumulate

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Shut

_WINDOW = 1 << 22
"""Of the largest dictionary; archives are read as if all had that."""
_WINDOW_KEPT = 4 * _WINDOW
_CODE_BITS, _WIDTH_BITS = 11, 7
_MAIN_CODES, _LENGTH_CODES = 284, 255
_TYPE_CODE = 283
_LZ77, _DELTA, _PROGRAM, _PICTURE = 0, 1, 2, 7
_STEP = 1 << 20
"""Bytes at a time, so that the window does not grow."""
_TURNS = 4096
"""Symbols between two looks at time and ratio."""
_TREES_FREE, _SYMBOLS_A_TREE = 500, 50
"""Honest archives have thousands of symbols for each pair of codes, which is slow to make."""


class UnknownModeError(Exception):
    """What is done to sounds and pictures."""


def _bits(packed: memoryview) -> Bits:
    """Of words of 32 bits; what is cut of the last one is not there."""
    words = array.array("I", bytes(packed[: len(packed) & ~3]))
    if sys.byteorder == "little":
        words.byteswap()
    return Bits(words.tobytes())


def _sort(keys: list[int], values: list[int]) -> None:
    """Both by falling keys, in the order that equal ones get from ACE's own sorting."""
    waiting = [(0, len(keys) - 1)]
    first = True
    while waiting:
        left, right = waiting.pop()
        if left == right - 1 and not first:
            if keys[left] < keys[right]:
                _swap(keys, values, left, right)
            continue
        first = False
        i, j, middle = left, right, keys[right]
        while True:
            while keys[i] > middle:
                i += 1
            while keys[j] < middle:
                j -= 1
            if i <= j:
                _swap(keys, values, i, j)
                i += 1
                j -= 1
            if i >= j:
                break
        # The two may share a place: the left one comes first, to its end.
        waiting += [part for part in ((i, right), (left, j)) if part[0] < part[1]]


def _swap(keys: list[int], values: list[int], a: int, b: int) -> None:
    keys[a], keys[b] = keys[b], keys[a]
    values[a], values[b] = values[b], values[a]


def _code(widths: list[int], most: int) -> list[tuple[int, int]]:
    """Symbol and width for each beginning of ``most`` bits. Raises DamagedError."""
    symbols, sorted_widths = list(range(len(widths))), list(widths)
    _sort(sorted_widths, symbols)
    used = sum(1 for width in sorted_widths if width)
    if used < 2:
        widths[symbols[0]] = 1
        used = max(used, 1)
    table: list[tuple[int, int]] = []
    for symbol, width in zip(symbols[used - 1 :: -1], sorted_widths[used - 1 :: -1], strict=True):
        if width > most:
            raise DamagedError("a code is too long")
        table += [(symbol, widths[symbol])] * (1 << most - width)
        if len(table) > 1 << most:
            raise DamagedError("there are too many codes")
    return table


def _read_code(bits: Bits, most: int, count: int) -> list[tuple[int, int]]:
    wanted = min(bits.take(9) + 1, count + 1)
    lower, upper = bits.take(4), bits.take(4)
    width_code = _code([bits.take(3) for _ in range(upper + 1)], _WIDTH_BITS)
    widths: list[int] = []
    while len(widths) < wanted:
        symbol = _symbol(bits, width_code, _WIDTH_BITS)
        if symbol < upper:
            widths.append(symbol)
        else:
            widths += [0] * min(bits.take(4) + 4, wanted - len(widths))
    if upper:
        widths = list(accumulate(widths, lambda last, width: (last + width) % upper))
    return _code([width + lower if width else 0 for width in widths], most)


def _symbol(bits: Bits, code: Sequence[tuple[int, int]], most: int) -> int:
    if bits.count < most:
        bits.fill()
    place = bits.held >> bits.count - most & (1 << most) - 1
    if place >= len(code):
        raise DamagedError("there is no such code")
    symbol, width = code[place]
    bits.count -= width
    return symbol


class Unpacker:
    """Of one archive: in a solid one a file goes on from the one before."""

    def __init__(self) -> None:
        self._window = bytearray()

    def forget(self) -> None:
        """A file is not there, or not whole: what refers to it is damaged."""
        self._window.clear()

    def state(self) -> bytes:
        """For ``restore``, where something is tried."""
        return bytes(self._window)

    def restore(self, state: bytes) -> None:
        """Go on from there."""
        self._window[:] = state

    def remember(self, plain: "bytes | bytearray") -> None:
        """A file that was not packed."""
        self._window += plain[-_WINDOW:]
        self._shrink()

    def _shrink(self) -> None:
        if len(self._window) > _WINDOW_KEPT:
            del self._window[:-_WINDOW]

    def unpack(
        self, packed: memoryview, out: bytearray, wanted: int, *, blocked: bool, budget: Budget
    ) -> Shut | None:
        """Into ``out``; why it is not all. Raises DamagedError, UnknownModeError, Spent."""
        run = _Run(packed, self._window, len(packed), budget)
        mode, parameters = _LZ77, (0, 0)
        kept = b""
        last = 0
        while len(out) < wanted and run.shut is None:
            target = parameters[1] if mode == _DELTA else wanted - len(out) - len(kept)
            chunk = bytearray(kept)
            before = len(chunk)
            changed: tuple[int, tuple[int, int]] | None = None
            while len(chunk) - before < target and run.shut is None:
                piece, change = run.read(target - len(chunk) + before)
                chunk += piece
                self._shrink()
                if change is not None and changed is not None:
                    raise DamagedError("it changes its mode twice")
                changed = change or changed
                if changed is not None and (mode != _DELTA or not chunk):
                    break  # what is put together from planes is read to its end
            if changed is not None and not blocked:
                raise DamagedError("it changes its mode")
            kept = b""
            if mode == _DELTA:
                if chunk:
                    chunk, last = _undo_delta(chunk, parameters[0], parameters[1], last)
            elif mode == _PROGRAM:
                is_last = len(out) + len(chunk) >= wanted
                kept = _undo_calls(chunk, len(out), bool(parameters[0]), is_last=is_last)
            if not chunk and not kept and changed is None:
                raise DamagedError("nothing comes out")
            out += chunk
            if changed is not None:
                mode, parameters = changed
                if mode not in (_LZ77, _DELTA, _PROGRAM):
                    kind = "picture" if mode == _PICTURE else "sound" if mode < _PICTURE else "mode"
                    raise UnknownModeError(f"data packed as {kind}")
        out += kept
        del out[wanted:]
        return run.shut


class _Run:
    """LZ77 of one file."""

    def __init__(
        self, packed: memoryview, window: bytearray, packed_bytes: int, budget: Budget
    ) -> None:
        self._bits = _bits(packed)
        self._window = window
        self._packed_bytes = packed_bytes
        self._budget = budget
        self._main: list[tuple[int, int]] = []
        self._lengths: list[tuple[int, int]] = []
        self._left = self._trees = self._turns = self._made = 0
        self._distances = [0, 0, 0, 0]
        self.shut: Shut | None = None
        """A limit that was reached."""

    def read(self, wanted: int) -> tuple[bytes, tuple[int, tuple[int, int]] | None]:
        """Up to ``wanted`` bytes, and a mode with its parameters if there is a change."""
        bits, window, distances = self._bits, self._window, self._distances
        start = len(window)
        end = start + wanted
        mode = None
        while len(window) < min(end, start + _STEP):
            self._turns += 1
            if self._turns % _TURNS == 0 and self._is_over(len(window) - start):
                break
            if not self._left:
                self._read_trees()
            self._left -= 1
            if bits.count < 48:
                bits.fill()
            symbol = _symbol(bits, self._main, _CODE_BITS)
            if symbol < 256:
                window.append(symbol)
                continue
            if symbol == _TYPE_CODE:
                mode = self._mode()
                break
            if symbol > _TYPE_CODE:
                raise DamagedError("there is no such symbol")
            if symbol < 260:
                number = symbol & 3
                distance = distances.pop(3 - number)
                extra = 3 if number > 1 else 2
            else:
                width = symbol - 260
                distance = width if width < 2 else bits.take(width - 1) + (1 << width - 1)
                extra = 2 if distance <= 255 else 3 if distance <= 8191 else 4
            distances.append(distance)
            if len(distances) > 4:
                del distances[0]
            length = _symbol(bits, self._lengths, _CODE_BITS) + extra
            here = len(window)
            if here + length > end or distance >= here:
                raise DamagedError("a match leads outside")
            repeat(window, distance + 1, length)
        made = bytes(window[start:])
        self._made += len(made)
        return made, mode

    def _is_over(self, made: int) -> bool:
        self._budget.check_time()
        if self._budget.is_bomb(self._made + made, self._packed_bytes):
            self.shut = self._budget.bomb()
        return self.shut is not None

    def _read_trees(self) -> None:
        self._budget.check_time()
        self._trees += 1
        if self._trees > _TREES_FREE and self._turns < self._trees * _SYMBOLS_A_TREE:
            raise DamagedError("its codes are hardly used")
        self._main = _read_code(self._bits, _CODE_BITS, _MAIN_CODES)
        self._lengths = _read_code(self._bits, _CODE_BITS, _LENGTH_CODES)
        self._left = self._bits.take(15)

    def _mode(self) -> tuple[int, tuple[int, int]]:
        mode = self._bits.take(8)
        if mode == _DELTA:
            return mode, (self._bits.take(8), self._bits.take(17))
        return mode, (self._bits.take(8) if mode == _PROGRAM else 0, 0)


def _undo_delta(chunk: bytearray, planes: int, size: int, last: int) -> tuple[bytearray, int]:
    """Differences summed up, then planes put into each other. Raises DamagedError."""
    summed = bytes([value & 0xFF for value in accumulate(chunk, initial=last)][1:])
    plane = size // planes if planes else 0
    if not plane or size % plane or len(summed) != size:
        raise DamagedError("planes of an impossible size")
    count = size // plane
    out = bytearray(size)
    for number in range(count):
        out[number::count] = summed[number * plane : (number + 1) * plane]
    return out, summed[-1]


def _undo_calls(chunk: bytearray, at: int, long: bool, *, is_last: bool) -> bytes:
    """Targets of calls and jumps made relative again; what has to wait for what follows."""
    i = 0
    while i < len(chunk):
        if chunk[i] not in (0xE8, 0xE9):
            i += 1
            continue
        if i + 4 >= len(chunk):
            if is_last:
                break
            kept = bytes(chunk[i:])
            del chunk[i:]
            return kept
        width = 4 if long and chunk[i] == 0xE8 else 2
        target = int.from_bytes(chunk[i + 1 : i + 1 + width], "little") - (at + i)
        chunk[i + 1 : i + 1 + width] = (target & (1 << 8 * width) - 1).to_bytes(width, "little")
        i += 1 + width
    return b""
