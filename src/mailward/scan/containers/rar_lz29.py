"""How RAR 2.9 to 4 packs: LZ77 by Huffman codes or PPMd, in turns, with filters before.

Facts: libarchive's ``archive_read_support_format_rar.c`` and the package ``rardecode``.
"""

from contextlib import suppress
from itertools import accumulate, pairwise

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT
from mailward.scan.containers.ppmd import Model
from mailward.scan.containers.rar_filters import Filters
from mailward.scan.containers.rar_slots import (
    DISTANCE_BITS,
    DISTANCES,
    FAR_DISTANCES,
    LENGTH_BITS,
    LENGTHS,
    SHORT_BITS,
    SHORT_DISTANCES,
)
from mailward.scan.containers.rar_unpacker import Code, Unpacker, code, symbol
from mailward.scan.containers.repeat import repeat

_MAIN, _FAR, _LOW, _LONG = 299, 60, 17, 28
"""Symbols of the four codes."""
_WIDTHS = 20
_END, _FILTER, _AGAIN, _RECENT, _SHORT, _MATCH = 256, 257, 258, 259, 263, 271
_LOW_AGAIN, _LOW_TIMES = 16, 15
_LOW_FROM = 10
"""Slot of a distance from which on its lowest four bits have a code of their own."""
_IS_PPMD, _KEEPS = 1, 1
_PPM_RESET, _PPM_ESCAPE, _PPM_ORDER = 0x20, 0x40, 0x1F
_PPM_MOST_MB = 128
"""As much as RAR gives it."""
_ESCAPE = 2
_NEXT_BLOCK, _NEXT_FILE, _PPM_FILTER, _PPM_MATCH, _PPM_RUN = 0, 2, 3, 4, 5
_PPM_STEP = 1 << 12
_BEHIND = 64
"""Zeros behind the end: what is read looks ahead."""


class Unpacker29(Unpacker):
    """Of one archive."""

    def __init__(self) -> None:
        super().__init__()
        self._filters = Filters()
        self._widths = [0] * (_MAIN + _FAR + _LOW + _LONG)
        self._codes: list[Code] = []
        self._has_tables = False
        self._recent = [0, 0, 0, 0]
        self._length = 0
        self._low = self._low_times = 0
        self._is_ppm = False
        self._escape = _ESCAPE
        self._model: Model | None = None

    def _begin(self, packed: memoryview, bits: Bits, budget: Budget) -> None:
        self._data = bytes(packed) + bytes(_BEHIND)
        if not self._has_tables:
            self._read_tables(bits, budget)

    def _finish(self, bits: Bits, budget: Budget) -> None:
        """Read the ends of blocks behind the last byte: they say how the next file begins."""
        with suppress(DamagedError, IndexError):
            before = self._window.end
            while self._block(bits, len(self._window.data) + 1, budget):
                if self._window.end != before:
                    return

    def _block(self, bits: Bits, goal: int, budget: Budget) -> bool:
        return self._ppm(bits, goal, budget) if self._is_ppm else self._lz(bits, goal, budget)

    def _read_tables(self, bits: Bits, budget: Budget) -> None:
        """Begin a block."""
        self._count_tables(budget)
        self._has_tables = False
        bits.take(bits.count % 8)
        if bits.take(1) == _IS_PPMD:
            self._begin_ppm(bits)
            return
        self._is_ppm = False
        self._low = self._low_times = 0
        if bits.take(1) != _KEEPS:
            self._widths = [0] * len(self._widths)
        widths: list[int] = []
        while len(widths) < _WIDTHS:
            width = bits.take(4)
            zeros = bits.take(4) if width == 15 else 0
            widths += [0] * (zeros + 2) if zeros else [width]
        by = code(widths[:_WIDTHS])
        place = 0
        widths = self._widths
        while place < len(widths):
            number = symbol(bits, by)
            if number < 16:
                widths[place] = widths[place] + number & 15
                place += 1
                continue
            times = bits.take(7) + 11 if number & 1 else bits.take(3) + 3
            if number < 18 and not place:
                raise DamagedError("there is no width to repeat")
            end = min(place + times, len(widths))
            width = widths[place - 1] if number < 18 else 0
            widths[place:end] = [width] * (end - place)
            place = end
        ends = accumulate((_MAIN, _FAR, _LOW, _LONG), initial=0)
        self._codes = [code(widths[start:end]) for start, end in pairwise(ends)]
        self._has_tables = True

    def _begin_ppm(self, bits: Bits) -> None:
        flags = bits.take(7)
        megabytes = bits.take(8) + 1 if flags & _PPM_RESET else 0
        if flags & _PPM_ESCAPE:
            self._escape = bits.take(8)
        if flags & _PPM_RESET:
            order = (flags & _PPM_ORDER) + 1
            order = 16 + (order - 16) * 3 if order > 16 else order
            self._model = None  # before another: each may be large
            if order == 1 or megabytes > _PPM_MOST_MB:
                raise DamagedError("a model that cannot be")
            self._model = Model(megabytes << 20, order)
        if self._model is None:
            raise DamagedError("a model that nothing was learned by")
        at = bits.at - bits.count // 8
        if at > len(self._data) - _BEHIND:
            raise DamagedError("it ends too early")
        self._model.begin(self._data, at)
        self._is_ppm = self._has_tables = True

    def _end_of_block(self, bits: Bits, budget: Budget) -> bool:
        """Whether the file goes on."""
        if bits.take(1):
            self._read_tables(bits, budget)
            return True
        self._has_tables = not bits.take(1)
        return False

    def _filter(self, flags: int, use: bytes) -> None:
        one, resets = self._filters.read(flags, use)
        self._window.wait(one, resets=resets)

    def _symbol(self, model: Model) -> int:
        got = bytearray()
        model.read(got, 256, 1)
        return got[0]

    def _ppm(self, bits: Bits, goal: int, budget: Budget) -> bool:
        model, window = self._model, self._window
        if model is None:
            raise DamagedError("a model that nothing was learned by")
        self._model = None  # what broke is not gone on with
        while len(window.data) < goal:
            most = min(goal - len(window.data), _PPM_STEP)
            if not model.read(window.data, self._escape, most):
                budget.check_time()
                continue
            match self._symbol(model):
                case 0:
                    bits.at = model.at
                    bits.held = bits.count = 0
                    self._model = model
                    self._read_tables(bits, budget)
                    return True
                case 2:
                    self._model = model
                    self._has_tables = False
                    return False
                case 3:
                    flags = self._symbol(model)
                    size = (flags & 7) + 1
                    if size == 7:
                        size += self._symbol(model)
                    elif size == 8:
                        size = self._symbol(model) << 8 | self._symbol(model)
                    self._filter(flags, bytes([self._symbol(model) for _ in range(size)]))
                    budget.check_time()
                case 4:
                    distance = 0
                    for _ in range(3):
                        distance = distance << 8 | self._symbol(model)
                    window.repeat(distance + 2, self._symbol(model) + 32)
                case 5:
                    window.repeat(1, self._symbol(model) + 4)
                case _:
                    window.data.append(self._escape)
        self._model = model
        return True

    def _lz(self, bits: Bits, goal: int, budget: Budget) -> bool:
        window = self._window
        data = window.data
        (main, main_bits), (far, far_bits), (low, low_bits), (long, long_bits) = self._codes
        held, count, recent = bits.held, bits.count, self._recent
        while len(data) < goal:
            if count < 64:
                bits.held, bits.count = held, count
                bits.fill()
                held, count = bits.held, bits.count
            entry = main[held >> count - main_bits & (1 << main_bits) - 1]
            count -= entry & LENGTH_MASK
            number = entry >> SYMBOL_SHIFT
            if number < 256:
                data.append(number)
                continue
            if number >= _MATCH:
                length = LENGTHS[number - _MATCH] + 3
                extra = LENGTH_BITS[number - _MATCH]
                count -= extra
                length += held >> count & (1 << extra) - 1
                entry = far[held >> count - far_bits & (1 << far_bits) - 1]
                count -= entry & LENGTH_MASK
                slot = entry >> SYMBOL_SHIFT
                distance = DISTANCES[slot] + 1
                extra = DISTANCE_BITS[slot]
                if slot < _LOW_FROM:
                    count -= extra
                    distance += held >> count & (1 << extra) - 1
                else:
                    count -= extra - 4
                    distance += (held >> count & (1 << extra - 4) - 1) << 4
                    if self._low_times:
                        self._low_times -= 1
                    else:
                        entry = low[held >> count - low_bits & (1 << low_bits) - 1]
                        count -= entry & LENGTH_MASK
                        if entry >> SYMBOL_SHIFT == _LOW_AGAIN:
                            self._low_times = _LOW_TIMES
                        else:
                            self._low = entry >> SYMBOL_SHIFT
                    distance += self._low
                    length += (distance >= FAR_DISTANCES[0]) + (distance >= FAR_DISTANCES[1])
                recent.insert(0, distance)
                del recent[4:]
            elif number >= _SHORT:
                extra = SHORT_BITS[number - _SHORT]
                count -= extra
                distance = SHORT_DISTANCES[number - _SHORT] + 1 + (held >> count & (1 << extra) - 1)
                length = 2
                recent.insert(0, distance)
                del recent[4:]
            elif number >= _RECENT:
                distance = recent.pop(number - _RECENT)
                recent.insert(0, distance)
                entry = long[held >> count - long_bits & (1 << long_bits) - 1]
                count -= entry & LENGTH_MASK
                extra = LENGTH_BITS[entry >> SYMBOL_SHIFT]
                count -= extra
                length = LENGTHS[entry >> SYMBOL_SHIFT] + 2 + (held >> count & (1 << extra) - 1)
            elif number == _AGAIN:
                distance, length = recent[0], self._length
                if not length:
                    continue
            else:
                bits.held, bits.count = held, count
                if number == _END:
                    return self._end_of_block(bits, budget)
                flags = bits.take(8)
                size = (flags & 7) + 1
                if size == 7:
                    size += bits.take(8)
                elif size == 8:
                    size = bits.take(16)
                self._filter(flags, bytes([bits.take(8) for _ in range(size)]))
                budget.check_time()
                held, count = bits.held, bits.count
                continue
            self._length = length
            if not 0 < distance <= len(data):
                raise DamagedError("a match leads outside")
            repeat(data, distance, length)
        bits.held, bits.count = held, count
        return True
