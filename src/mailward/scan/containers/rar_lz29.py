"""How RAR 2.9 to 4 packs: LZ77 by Huffman codes or PPMd, in turns, with filters before.

Facts: libarchive's ``archive_read_support_format_rar.c`` and the package ``rardecode``.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate, pairwise

from mailward.scan.budget import Budget
from mailward.scan.containers import huffman
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT
from mailward.scan.containers.ppmd import Model
from mailward.scan.containers.rar_filters import Filters
from mailward.scan.containers.rar_window import Window
from mailward.scan.containers.repeat import repeat

LENGTHS = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20,
    24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224,
)  # fmt: skip
LENGTH_BITS = (0,) * 8 + tuple(n // 4 - 1 for n in range(8, 28))
SHORT_DISTANCES = (0, 4, 8, 16, 32, 64, 128, 192)
SHORT_BITS = (2, 2, 3, 4, 5, 6, 6, 6)
DISTANCE_BITS = (0, 0, *[n // 2 - 1 for n in range(2, 34)], *[16] * 14, *[18] * 12)


def _bases() -> tuple[int, ...]:
    bases, base = [], 0
    for bits in DISTANCE_BITS:
        bases.append(base)
        base += 1 << bits
    return tuple(bases)


DISTANCES = _bases()

_MAIN, _FAR, _LOW, _LONG = 299, 60, 17, 28
"""Symbols of the four codes."""
_WIDTHS = 20
_END, _FILTER, _AGAIN, _RECENT, _SHORT, _MATCH = 256, 257, 258, 259, 263, 271
_LOW_AGAIN, _LOW_TIMES = 16, 15
_LOW_FROM = 10
"""Slot of a distance from which on its lowest four bits have a code of their own."""
_FAR_DISTANCES = (0x2000, 0x40000)
"""From which on a match is one longer."""
_IS_PPMD, _KEEPS = 1, 1
_PPM_RESET, _PPM_ESCAPE, _PPM_ORDER = 0x20, 0x40, 0x1F
_PPM_MOST_MB = 128
"""As much as RAR gives it."""
_ESCAPE = 2
_NEXT_BLOCK, _NEXT_FILE, _PPM_FILTER, _PPM_MATCH, _PPM_RUN = 0, 2, 3, 4, 5
_PPM_STEP = 1 << 12
STEP = 1 << 18
"""Bytes between two looks at time and ratio."""
TABLES_FREE, BYTES_A_TABLE = 100, 100
"""Honest files have thousands of bytes for each set of codes, which is slow to make."""
_BEHIND = 64
"""Zeros behind the end: what is read looks ahead."""


class Unpacker:
    """Of one archive: in a solid one a file goes on from the one before."""

    def __init__(self) -> None:
        self._window = Window()
        self._filters = Filters()
        self._widths = [0] * (_MAIN + _FAR + _LOW + _LONG)
        self._codes: list[tuple[list[int], int]] = []
        self._has_tables = False
        self._recent = [0, 0, 0, 0]
        self._length = 0
        self._low = self._low_times = 0
        self._is_ppm = False
        self._escape = _ESCAPE
        self._model: Model | None = None
        self._tables = 0

    def unpack(
        self, packed: memoryview, out: bytearray, wanted: int, budget: Budget
    ) -> Iterator[None]:
        """Into ``out``, step by step. Raises DamagedError, Spent.

        ``wanted``: bytes. How the next file begins is only known if they are the whole one.
        """
        self._data = bytes(packed) + bytes(_BEHIND)
        bits = Bits(packed)
        window = self._window
        window.begin()
        self._tables = 0
        try:
            if not self._has_tables:
                self._read_tables(bits, budget)
            goes_on = True
            while goes_on and window.made < wanted:
                goal = len(window.data) + min(wanted - window.made, STEP)
                goes_on = self._block(bits, goal, budget)
                window.give(out, budget, is_last=False)
                yield
            if goes_on:
                self._finish(bits, budget)
        except IndexError as e:
            raise DamagedError("there is no such code") from e
        finally:
            window.give(out, budget, is_last=True)
            del out[wanted:]

    @property
    def lost_filters(self) -> int:
        """Blocks of the last file that went through a program that is not known."""
        return self._window.lost_filters

    def _finish(self, bits: Bits, budget: Budget) -> None:
        """Read the ends of blocks behind the last byte: they say how the next file begins."""
        with suppress(DamagedError, IndexError):
            before = self._window.end
            while self._block(bits, len(self._window.data) + 1, budget):
                if self._window.end != before:
                    return

    def _block(self, bits: Bits, goal: int, budget: Budget) -> bool:
        """Up to so many bytes in the window; whether the file goes on."""
        return self._ppm(bits, goal, budget) if self._is_ppm else self._lz(bits, goal, budget)

    def _read_tables(self, bits: Bits, budget: Budget) -> None:
        """Begin a block. Raises DamagedError."""
        budget.check_time()
        self._has_tables = False
        self._tables += 1
        if self._tables > TABLES_FREE + self._window.made // BYTES_A_TABLE:
            raise DamagedError("too many codes")
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
        entries, most = _code(widths[:_WIDTHS])
        place = 0
        widths = self._widths
        while place < len(widths):
            entry = entries[bits.peek(most)]
            bits.take(entry & LENGTH_MASK)
            symbol = entry >> SYMBOL_SHIFT
            if symbol < 16:
                widths[place] = widths[place] + symbol & 15
                place += 1
                continue
            times = bits.take(7) + 11 if symbol & 1 else bits.take(3) + 3
            if symbol < 18 and not place:
                raise DamagedError("there is no width to repeat")
            end = min(place + times, len(widths))
            width = widths[place - 1] if symbol < 18 else 0
            widths[place:end] = [width] * (end - place)
            place = end
        ends = accumulate((_MAIN, _FAR, _LOW, _LONG), initial=0)
        self._codes = [_code(widths[start:end]) for start, end in pairwise(ends)]
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

    def _filter(self, flags: int, code: bytes) -> None:
        one, resets = self._filters.read(flags, code)
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
            symbol = entry >> SYMBOL_SHIFT
            if symbol < 256:
                data.append(symbol)
                continue
            if symbol >= _MATCH:
                length = LENGTHS[symbol - _MATCH] + 3
                extra = LENGTH_BITS[symbol - _MATCH]
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
                    length += (distance >= _FAR_DISTANCES[0]) + (distance >= _FAR_DISTANCES[1])
                recent.insert(0, distance)
                del recent[4:]
            elif symbol >= _SHORT:
                extra = SHORT_BITS[symbol - _SHORT]
                count -= extra
                distance = SHORT_DISTANCES[symbol - _SHORT] + 1 + (held >> count & (1 << extra) - 1)
                length = 2
                recent.insert(0, distance)
                del recent[4:]
            elif symbol >= _RECENT:
                distance = recent.pop(symbol - _RECENT)
                recent.insert(0, distance)
                entry = long[held >> count - long_bits & (1 << long_bits) - 1]
                count -= entry & LENGTH_MASK
                extra = LENGTH_BITS[entry >> SYMBOL_SHIFT]
                count -= extra
                length = LENGTHS[entry >> SYMBOL_SHIFT] + 2 + (held >> count & (1 << extra) - 1)
            elif symbol == _AGAIN:
                distance, length = recent[0], self._length
                if not length:
                    continue
            else:
                bits.held, bits.count = held, count
                if symbol == _END:
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


def _code(widths: list[int]) -> tuple[list[int], int]:
    """Raises DamagedError."""
    try:
        return huffman.table(widths)
    except huffman.CodeError as e:
        raise DamagedError(str(e)) from e
