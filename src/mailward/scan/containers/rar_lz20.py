"""How RAR 2.0 packs: LZ77 by Huffman codes, sounds by guesses whose errors are coded.

Facts: the package ``rardecode``, The Unarchiver's ``XADRAR20Handle``.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
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

_MAIN, _FAR, _LONG = 298, 48, 28
_SOUND = 257
"""Symbols of the codes."""
_CHANNELS = 4
_WIDTHS = 19
_AGAIN, _RECENT, _SHORT, _END, _MATCH = 256, 257, 261, 269, 270
_SOUND_END = 256
_LONGER_FROM = 0x101
"""Distance from which on a match at a recent one is one longer."""
_LEARN_EVERY = 32
_WEIGHT_MOST = 16


@dataclass(slots=True)
class _Channel:
    """What one was like so far."""

    weights: list[int] = field(default_factory=lambda: [0] * 5)
    steps: list[int] = field(default_factory=lambda: [0] * 4)
    errors: list[int] = field(default_factory=lambda: [0] * 11)
    last: int = 0
    last_step: int = 0
    count: int = 0

    def sample(self, given: int, other: int) -> int:
        """The next one; ``other``: the last step of the channel before."""
        self.count += 1
        steps = self.steps
        self.steps = steps = [self.last_step, self.last_step - steps[0], steps[1], steps[2]]
        parts = [*steps, other]
        guess = 8 * self.last + sum(w * step for w, step in zip(self.weights, parts, strict=True))
        value = (guess >> 3) - given & 0xFF
        signed = (given ^ 0x80) - 0x80 << 3
        errors = self.errors
        errors[0] += abs(signed)
        for number, step in enumerate(parts):
            errors[2 * number + 1] += abs(signed - step)
            errors[2 * number + 2] += abs(signed + step)
        self.last_step = (value - self.last + 0x80 & 0xFF) - 0x80
        self.last = value
        if self.count % _LEARN_EVERY == 0:
            best = errors.index(min(errors))
            self.errors = [0] * 11
            if best:
                which, up = divmod(best - 1, 2)
                if up and self.weights[which] < _WEIGHT_MOST:
                    self.weights[which] += 1
                elif not up and self.weights[which] >= -_WEIGHT_MOST:
                    self.weights[which] -= 1
        return value


class Unpacker20(Unpacker):
    """Of one archive."""

    def __init__(self) -> None:
        super().__init__()
        self._widths = [0] * (_SOUND * _CHANNELS)
        self._codes: list[Code] = []
        self._is_sound = False
        self._channels = [_Channel() for _ in range(_CHANNELS)]
        self._channel = self._other = 0
        self._recent = [0, 0, 0, 0]
        self._length = 0

    def _begin(self, packed: memoryview, bits: Bits, budget: Budget) -> None:
        if not self._codes:
            self._read_tables(bits, budget)

    def _finish(self, bits: Bits, budget: Budget) -> None:
        with suppress(DamagedError, IndexError):
            by = self._codes[self._channel if self._is_sound else 0]
            if symbol(bits, by) == (_SOUND_END if self._is_sound else _END):
                self._read_tables(bits, budget)

    def _read_tables(self, bits: Bits, budget: Budget) -> None:
        self._count_tables(budget)
        self._is_sound = bool(bits.take(1))
        if not bits.take(1):
            self._widths = [0] * len(self._widths)
        sizes = [_MAIN, _FAR, _LONG]
        if self._is_sound:
            sizes = [_SOUND] * (bits.take(2) + 1)
            self._channel = self._channel if self._channel < len(sizes) else 0
        by = code([bits.take(4) for _ in range(_WIDTHS)])
        widths, place, count = self._widths, 0, sum(sizes)
        while place < count:
            width = symbol(bits, by)
            if width < 16:
                widths[place] = widths[place] + width & 15
                place += 1
                continue
            if width == 16:
                if not place:
                    raise DamagedError("there is no width to repeat")
                times, width = bits.take(2) + 3, widths[place - 1]
            else:
                times, width = bits.take(3) + 3 if width == 17 else bits.take(7) + 11, 0
            end = min(place + times, count)
            widths[place:end] = [width] * (end - place)
            place = end
        ends = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        self._codes = [code(widths[start:end]) for start, end in pairwise(ends)]

    def _block(self, bits: Bits, goal: int, budget: Budget) -> bool:
        data = self._window.data
        while len(data) < goal:
            if self._is_sound:
                self._sounds(bits, goal, budget)
            else:
                self._lz(bits, goal, budget)
        return True

    def _sounds(self, bits: Bits, goal: int, budget: Budget) -> None:
        """Up to the end of a block."""
        data, count = self._window.data, len(self._codes)
        while len(data) < goal:
            number = self._channel
            given = symbol(bits, self._codes[number])
            if given == _SOUND_END:
                self._read_tables(bits, budget)
                return
            channel = self._channels[number]
            data.append(channel.sample(given, self._other))
            self._other = channel.last_step
            self._channel = (number + 1) % count

    def _lz(self, bits: Bits, goal: int, budget: Budget) -> None:
        """Up to the end of a block."""
        window, recent = self._window, self._recent
        data = window.data
        main, far, long = self._codes
        while len(data) < goal:
            number = symbol(bits, main)
            if number < 256:
                data.append(number)
                continue
            if number >= _MATCH:
                slot = number - _MATCH
                length = LENGTHS[slot] + 3 + bits.take(LENGTH_BITS[slot])
                slot = symbol(bits, far)
                distance = DISTANCES[slot] + 1 + bits.take(DISTANCE_BITS[slot])
                length += sum(distance >= far_one for far_one in FAR_DISTANCES)
            elif number == _END:
                self._read_tables(bits, budget)
                return
            elif number >= _SHORT:
                slot = number - _SHORT
                distance = SHORT_DISTANCES[slot] + 1 + bits.take(SHORT_BITS[slot])
                length = 2
            elif number >= _RECENT:
                distance = recent[number - _RECENT]
                slot = symbol(bits, long)
                length = LENGTHS[slot] + 2 + bits.take(LENGTH_BITS[slot])
                length += sum(distance >= far_one for far_one in (_LONGER_FROM, *FAR_DISTANCES))
            else:
                distance, length = recent[0], self._length
            recent.insert(0, distance)
            del recent[4:]
            self._length = length
            window.repeat(distance, length)
