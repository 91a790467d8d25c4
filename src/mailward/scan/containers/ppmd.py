"""PPMd, variant H, as RAR has it: with a range coder of its own, without carries.

A context is a unit of memory, a state half of one. A state's successor is a context (positive), a
place in the text (negative) or nothing. Sources: I. Pavlov's ``Ppmd7.c``, ``Ppmd7Dec.c`` (public
domain), after D. Shkarin.
"""

import mmap
from typing import Literal

from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.ppmd_memory import Memory

_MOST = 124
"""Of a frequency, before all in a context are halved."""
_INT_BITS = _PERIOD_BITS = 7
_SCALE = 1 << _INT_BITS + _PERIOD_BITS
_MEAN_ROUND = 1 << _PERIOD_BITS - 2
_ESCAPES = (25, 14, 9, 7, 5, 5, 4, 4, 4, 3, 3, 3, 2, 2, 2, 2)
_FIRST_ESCAPES = (0x3CDD, 0x1F3F, 0x59BF, 0x48F3, 0x64A1, 0x5ABC, 0x6632, 0x6051)
_RARE, _PERIODS = 25, 16
_TOP, _BOTTOM, _ALL = 1 << 24, 1 << 15, (1 << 32) - 1
_BY_COUNT = bytes([0, 2, *[4] * 9, *[6] * 245])


def _by_unmasked() -> bytes:
    found = [0, 1, 2]
    value, left = 3, 1
    while len(found) < 256:
        found.append(value)
        left -= 1
        if not left:
            value += 1
            left = value - 2
    return bytes(found)


_BYTES = tuple(bytes([value]) for value in range(256))
_BY_UNMASKED = _by_unmasked()


def _cells(count: int, width: int) -> mmap.mmap:
    """Zeros that take no memory until they are used."""
    return mmap.mmap(-1, count * width)


def _numbers(count: int, width: int, kind: Literal["H", "I", "i"]) -> "memoryview[int]":
    return memoryview(_cells(count, width)).cast(kind)


class Model:
    """What has been learned. In a solid archive the next file goes on with it."""

    def __init__(self, size_bytes: int, order: int) -> None:
        self._memory = Memory(size_bytes)
        units = self._memory.top + 1
        self._symbols, self._frequencies = _cells(2 * units, 1), _cells(2 * units, 1)
        self._successors = _numbers(2 * units, 4, "i")
        self._counts, self._sums = _numbers(units, 2, "H"), _numbers(units, 2, "H")
        self._states, self._suffixes = _numbers(units, 4, "I"), _numbers(units, 4, "I")
        self._order = order
        self._initial_run = -min(order, 12) - 1
        self._restart()

    def _restart(self) -> None:
        memory = self._memory
        memory.reset()
        root = memory.one()
        first = 2 * memory.take(128)
        self._symbols[first : first + 256] = bytes(range(256))
        self._frequencies[first : first + 256] = bytes([1]) * 256
        self._successors[first : first + 256] = memoryview(bytes(1024)).cast("i")
        self._counts[root], self._sums[root] = 256, 257
        self._states[root], self._suffixes[root] = first, 0
        self._context = self._largest = root
        self._fall = self._order
        self._run = self._initial_run
        self._success = 0
        self._escape = 0
        self._last = 0
        self._binary = [
            [_SCALE - _FIRST_ESCAPES[n & 7] // (freq + 2) for n in range(64)] for freq in range(128)
        ]
        self._see_sums = [
            5 * (n // _PERIODS) + 10 << _PERIOD_BITS - 4 for n in range(_RARE * _PERIODS)
        ]
        self._see_shifts = [_PERIOD_BITS - 4] * (_RARE * _PERIODS)
        self._see_counts = [4] * (_RARE * _PERIODS)

    def begin(self, packed: bytes, at: int) -> None:
        """Read on from there: with zeros behind the end, as the coder looks ahead."""
        self._packed, self._at = packed, at + 4
        self._low, self._range = 0, _ALL
        self._code = int.from_bytes(packed[at : at + 4], "big")

    @property
    def at(self) -> int:
        """Where it reads next."""
        return self._at

    def read(self, out: bytearray, until: int, most: int) -> bool:
        """Symbols into ``out``, up to one that is left out: then it is true. Raises DamagedError.

        ``most``: how many; ``until``: above 255 to stop at none.
        """
        try:
            return self._read(out, until, most)
        except (IndexError, ValueError, ZeroDivisionError) as e:
            raise DamagedError("it ends too early, or what was learned breaks") from e

    def _read(self, out: bytearray, until: int, most: int) -> bool:
        counts, sums, states, suffixes = self._counts, self._sums, self._states, self._suffixes
        symbols, freqs, successors = self._symbols, self._frequencies, self._successors
        packed, at = self._packed, self._at
        low, code, span = self._low, self._code, self._range
        context, fall = self._context, self._fall
        run, success, last = self._run, self._success, self._last
        binary = self._binary
        found_it = False
        for _ in range(most):
            count = counts[context]
            if count != 1:
                first = states[context]
                scale = sums[context]
                span //= scale
                target = (code - low & _ALL) // span
                high = freqs[first]
                if target < high:
                    found = first
                    span *= high
                    success = 1 if 2 * high > scale else 0
                    run += success
                    sums[context] = scale + 4
                    freqs[first] = high + 4
                    if high + 4 > _MOST:
                        found = self._rescale(context, found, fall)
                else:
                    success = 0
                    found = -1
                    for state in range(first + 1, first + count):
                        freq = freqs[state]
                        high += freq
                        if high > target:
                            low = low + span * (high - freq) & _ALL
                            span *= freq
                            sums[context] = scale + 4
                            freq += 4
                            found = state
                            before = state - 1
                            if freq > freqs[before]:
                                symbol, successor = symbols[state], successors[state]
                                symbols[state] = symbols[before]
                                freqs[state] = freqs[before]
                                successors[state] = successors[before]
                                symbols[before], successors[before] = symbol, successor
                                found = before
                            freqs[found] = freq
                            if freq > _MOST:
                                found = self._rescale(context, found, fall)
                            break
                    if found < 0:
                        if target >= scale:
                            raise DamagedError("there is no such symbol")
                        low = low + span * high & _ALL
                        span *= scale - high
                        masked = set(symbols[first : first + count])
            else:
                found = 2 * context
                freq = freqs[found]
                symbol = symbols[found]
                row = binary[freq - 1]
                column = (
                    success
                    + _BY_COUNT[counts[suffixes[context]] - 1]
                    + (8 if last >= 64 else 0)
                    + (16 if symbol >= 64 else 0)
                    + (32 if run < 0 else 0)
                )
                chance = row[column]
                span >>= 14
                if (code - low & _ALL) // span < chance:
                    span *= chance
                    row[column] = chance + 128 - (chance + _MEAN_ROUND >> _PERIOD_BITS)
                    if freq < 128:
                        freqs[found] = freq + 1
                    success = 1
                    run += 1
                else:
                    low = low + span * chance & _ALL
                    span *= _SCALE - chance
                    chance -= chance + _MEAN_ROUND >> _PERIOD_BITS
                    row[column] = chance
                    self._escape = _ESCAPES[chance >> 10]
                    masked = {symbol}
                    success = 0
                    found = -1
            while True:
                while True:
                    if (low ^ low + span) & _ALL >= _TOP:
                        if span >= _BOTTOM:
                            break
                        span = -low & _BOTTOM - 1
                    code = (code << 8 | packed[at]) & _ALL
                    at += 1
                    span = span << 8 & _ALL
                    low = low << 8 & _ALL
                if found >= 0:
                    break
                hidden = count
                while count == hidden:
                    fall += 1
                    context = suffixes[context]
                    if not context:
                        raise DamagedError("there is no such symbol")
                    count = counts[context]
                first = states[context]
                names = symbols[first : first + count]
                values = freqs[first : first + count]
                high = sum(values) - sum([values[names.index(one)] for one in masked])
                if count != 256:
                    left = count - hidden
                    see = (
                        _BY_UNMASKED[left - 1] * 16
                        + (left < counts[suffixes[context]] - count)
                        + 2 * (sums[context] < 11 * count)
                        + 4 * (hidden > left)
                        + (8 if last >= 64 else 0)
                    )
                    summed = self._see_sums[see]
                    scale = summed >> self._see_shifts[see]
                    self._see_sums[see] = summed - scale & 0xFFFF
                    scale = high + (scale or 1)
                else:
                    see = -1
                    scale = high + 1
                span //= scale
                target = (code - low & _ALL) // span
                if target >= high:
                    if target >= scale:
                        raise DamagedError("there is no such symbol")
                    low = low + span * high & _ALL
                    span *= scale - high
                    if see >= 0:
                        self._see_sums[see] = self._see_sums[see] + scale & 0xFFFF
                    masked.update(names)
                    continue
                high = 0
                for found, name in enumerate(names, first):
                    if name not in masked:
                        high += values[found - first]
                        if high > target:
                            break
                freq = freqs[found]
                low = low + span * (high - freq) & _ALL
                span *= freq
                if see >= 0 and self._see_shifts[see] < _PERIOD_BITS:
                    self._see_counts[see] -= 1
                    if not self._see_counts[see]:
                        self._see_sums[see] = self._see_sums[see] << 1 & 0xFFFF
                        self._see_counts[see] = 3 << self._see_shifts[see]
                        self._see_shifts[see] += 1
                sums[context] += 4
                freqs[found] = freq + 4
                if freq + 4 > _MOST:
                    found = self._rescale(context, found, fall)
                run = self._initial_run
            last = symbols[found]
            successor = successors[found]
            if last != until:
                out.append(last)
            else:
                found_it = True
            if not fall and successor > 0:
                context = self._largest = successor
            else:
                self._context, self._fall = context, fall
                if self._update(found):
                    context, fall = self._context, self._fall
                else:
                    self._restart()
                    context, fall = self._context, self._fall
                    run, success, last = self._run, self._success, self._last
                    binary = self._binary
            if found_it:
                break
        self._at, self._low, self._code, self._range = at, low, code, span
        self._context, self._fall = context, fall
        self._run, self._success, self._last = run, success, last
        return found_it

    def _rescale(self, context: int, found: int, fall: int) -> int:
        """Halve the frequencies of a context, sorted anew; where the state ``found`` is then."""
        count, first = self._counts[context], self._states[context]
        symbols, freqs, successors = self._symbols, self._frequencies, self._successors
        ended = first + count
        moved = [(freqs[s], symbols[s], successors[s]) for s in range(first, ended)]
        moved.insert(0, moved.pop(found - first))
        escape = self._sums[context] - sum(freq for freq, _, _ in moved)
        adder = 1 if fall else 0
        freq, symbol, successor = moved[0]
        moved[0] = freq + 4, symbol, successor
        moved = [(freq + adder >> 1, symbol, successor) for freq, symbol, successor in moved]
        total = sum(freq for freq, _, _ in moved)
        # By hand: only what is larger than what is in front of it moves, as it does there.
        for n in range(1, count):
            state = moved[n]
            place = n
            while place and state[0] > moved[place - 1][0]:
                place -= 1
            if place != n:
                del moved[n]
                moved.insert(place, state)
        if not moved[-1][0]:
            kept = count
            while not moved[kept - 1][0]:
                kept -= 1
            escape += count - kept
            self._counts[context] = kept
            before = (count + 1) // 2
            if kept == 1:
                freq, symbol, successor = moved[0]
                while True:
                    freq -= freq >> 1
                    escape >>= 1
                    if escape <= 1:
                        break
                self._memory.give(first // 2, before)
                alone = 2 * context
                symbols[alone], freqs[alone], successors[alone] = symbol, freq, successor
                return alone
            first = 2 * self._memory.shrink(first // 2, before, (kept + 1) // 2)
            self._states[context] = first
            del moved[kept:]
        for place, (freq, symbol, successor) in enumerate(moved, first):
            symbols[place], freqs[place], successors[place] = symbol, freq, successor
        self._sums[context] = total + escape - (escape >> 1)
        return first

    def _update(self, found: int) -> bool:
        """Learn a symbol; false if the memory is full."""
        symbols, freqs, successors = self._symbols, self._frequencies, self._successors
        counts, sums, states, suffixes = self._counts, self._sums, self._states, self._suffixes
        memory, least = self._memory, self._context
        symbol, freq, following = symbols[found], freqs[found], successors[found]
        shorter = suffixes[least]
        if freq < _MOST // 4 and shorter:
            if counts[shorter] == 1:
                if freqs[2 * shorter] < 32:
                    freqs[2 * shorter] += 1
            else:
                state = self._state(shorter, symbol)
                if state != states[shorter] and freqs[state] >= freqs[state - 1]:
                    self._swap(state)
                    state -= 1
                if freqs[state] < _MOST - 9:
                    freqs[state] += 2
                    sums[shorter] += 2
        if not self._fall:
            made = self._successor(found, skips=True)
            if not made:
                return False
            self._context = self._largest = successors[found] = made
            return True
        if not memory.write(symbol):
            return False
        successor = -memory.text_end
        if not following:
            successors[found] = successor
            following = least
        else:
            if following < 0:
                following = self._successor(found, skips=False)
                if not following:
                    return False
            self._fall -= 1
            if not self._fall:
                successor = following
                memory.text_end -= self._largest != least
        count = counts[least]
        rest = sums[least] - count - (freq - 1)
        context = self._largest
        while context != least:
            if not self._grow(context, symbol, freq, successor, count, rest):
                return False
            context = suffixes[context]
        self._context = self._largest = following
        return True

    def _grow(
        self, context: int, symbol: int, freq: int, successor: int, least: int, rest: int
    ) -> bool:
        """A state more; false if the memory is full."""
        symbols, freqs, successors = self._symbols, self._frequencies, self._successors
        memory, count = self._memory, self._counts[context]
        first = self._states[context]
        if count == 1:
            place = 2 * memory.take(1)
            if not place:
                return False
            alone = 2 * context
            symbols[place], successors[place] = symbols[alone], successors[alone]
            had = freqs[alone]
            had = had * 2 if had < _MOST // 4 - 1 else _MOST - 4
            freqs[place] = had
            self._states[context] = first = place
            total = had + self._escape + (least > 3)
        else:
            units = count // 2
            if not count & 1 and not memory.fits(units, units + 1):
                place = 2 * memory.take(units + 1)
                if not place:
                    return False
                symbols[place : place + count] = symbols[first : first + count]
                freqs[place : place + count] = freqs[first : first + count]
                successors[place : place + count] = successors[first : first + count]
                memory.give(first // 2, units)
                self._states[context] = first = place
            total = self._sums[context]
            total += (2 * count < least) + 2 * (4 * count <= least and total <= 8 * count)
        share = 2 * freq * (total + 6)
        whole = rest + total
        if share < 6 * whole:
            made = 1 + (share > whole) + (share >= 4 * whole)
            total += 3
        else:
            made = 4 + (share >= 9 * whole) + (share >= 12 * whole) + (share >= 15 * whole)
            total += made
        place = first + count
        symbols[place], freqs[place], successors[place] = symbol, made, successor
        self._sums[context] = total
        self._counts[context] = count + 1
        return True

    def _successor(self, found: int, *, skips: bool) -> int:
        """New contexts, from the longest that is there to that of a state; 0 if memory is full."""
        symbols, freqs, successors = self._symbols, self._frequencies, self._successors
        counts, suffixes = self._counts, self._suffixes
        symbol, branch = symbols[found], successors[found]
        waiting = [] if skips else [found]
        context = self._context
        while shorter := suffixes[context]:
            context = shorter
            state = 2 * context if counts[context] == 1 else self._state(context, symbol)
            if successors[state] != branch:
                context = successors[state]
                if not waiting:
                    return context
                break
            waiting.append(state)
        following = self._memory.text[-branch]
        count = counts[context]
        if count == 1:
            freq = freqs[2 * context]
        else:
            part = freqs[self._state(context, following)] - 1
            rest = self._sums[context] - count - part
            if 2 * part <= rest:
                freq = 1 + (5 * part > rest)
            else:
                freq = 1 + (2 * part + 3 * rest - 1) // (2 * rest)
        for state in reversed(waiting):
            made = self._memory.one()
            if not made:
                return 0
            counts[made], suffixes[made] = 1, context
            symbols[2 * made], freqs[2 * made] = following, freq
            successors[2 * made] = branch - 1
            successors[state] = made
            context = made
        return context

    def _state(self, context: int, symbol: int) -> int:
        """Of a symbol that is in a context."""
        first = self._states[context]
        return self._symbols.find(_BYTES[symbol], first, first + self._counts[context])

    def _swap(self, state: int) -> None:
        """With the one in front of it."""
        for cells in (self._symbols, self._frequencies, self._successors):
            cells[state - 1], cells[state] = cells[state], cells[state - 1]
