"""What RAR 2.9 to 4 does to data before it is packed: programs of its virtual machine.

Archivers only ever write six of them, which are known by the length and the checksum of their code
and done here; others are not run. Fingerprints and layout: libarchive's
``archive_read_support_format_rar.c``.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mailward.scan.containers.bits import Bits, DamagedError

MOST_BYTES = 0x40000
"""Of a block: the memory of the machine."""

_RESET, _FAR, _HAS_LENGTH, _HAS_REGISTERS = 0x80, 0x40, 0x20, 0x10
_FAR_BYTES = 258
_REGISTERS = 7
_PROGRAMS_MOST, _CODE_MOST = 1024, 0x10000
_FILE_BYTES = 1 << 24
"""That calls are translated for."""
_WORD = 0xFFFFFFFF

Program = Callable[[bytearray, Sequence[int], int], bytes | bytearray]
"""A block, registers, where the block begins in its file. Raises DamagedError."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One use of a program."""

    start: int
    """From where the data that is unpacked next begins."""
    length: int
    registers: tuple[int, ...]
    program: Program | None
    """None if it is not known."""


class Filters:
    """Programs of one archive: later blocks, and in a solid one later files, name them again."""

    def __init__(self) -> None:
        self._programs: list[Program | None] = []
        self._lengths: list[int] = []
        self._last = 0

    def read(self, flags: int, code: bytes) -> tuple[Filter, bool]:
        """One use of one; whether those that wait are forgotten. Raises DamagedError."""
        bits = Bits(code)
        resets = False
        if flags & _RESET:
            which = _number(bits)
            resets = not which
            if resets:
                self._programs.clear()
                self._lengths.clear()
            self._last = max(0, which - 1)
        which = self._last
        if which > len(self._programs) or which >= _PROGRAMS_MOST:
            raise DamagedError("there is no such filter")
        start = _number(bits) + (_FAR_BYTES if flags & _FAR else 0)
        is_new = which == len(self._programs)
        length = self._lengths[which] if which < len(self._lengths) else 0
        if flags & _HAS_LENGTH:
            length = _number(bits)
        registers = [0] * _REGISTERS
        if flags & _HAS_REGISTERS:
            given = bits.take(_REGISTERS)
            for number in range(_REGISTERS):
                if given >> number & 1:
                    registers[number] = _number(bits)
        if is_new:
            size = _number(bits)
            if not 0 < size < _CODE_MOST:
                raise DamagedError("a filter without a program")
            program = bytes([bits.take(8) for _ in range(size)])
            self._programs.append(_KNOWN.get((size, zlib.crc32(program))))
            self._lengths.append(length)
        self._lengths[which] = length
        if length > MOST_BYTES:
            raise DamagedError("a filter of more than there is memory for")
        return Filter(start, length, tuple(registers), self._programs[which]), resets


def _number(bits: Bits) -> int:
    match bits.take(2):
        case 0:
            return bits.take(4)
        case 1:
            high = bits.take(4)
            return high << 4 | bits.take(4) if high else 0xFFFFFF00 | bits.take(8)
        case 2:
            return bits.take(16)
        case _:
            return bits.take(32)


def _calls(opcodes: bytes) -> Program:
    """Targets of calls (and jumps) as they were: relative."""
    search = re.compile(opcodes).search

    def program(block: bytearray, _registers: Sequence[int], offset: int) -> bytearray:
        at = 0
        while (found := search(block, at)) is not None and found.end() + 4 <= len(block):
            at = found.end()
            target = int.from_bytes(block[at : at + 4], "little")
            here = offset + at
            if target < _FILE_BYTES:
                block[at : at + 4] = (target - here & _WORD).to_bytes(4, "little")
            elif target > _WORD >> 1 and target + here > _WORD:
                block[at : at + 4] = (target + _FILE_BYTES & _WORD).to_bytes(4, "little")
            at += 4
        return block

    return program


_SLOTS = (4, 4, 6, 6, 0, 0, 7, 7, 4, 4, 0, 0, 4, 4, 0, 0)
"""Of a bundle, from template 16 on: bit by bit, which may hold a branch."""
_BRANCH = 5
_TARGET_MASK = 0xFFFFF


def _itanium(block: bytearray, _registers: Sequence[int], offset: int) -> bytearray:
    """Branches of IA-64: bundles of three instructions of 41 bits behind a template of 5."""
    number = offset >> 4
    for at in range(0, len(block) - 21, 16):
        template = (block[at] & 0x1F) - 0x10
        slots = _SLOTS[template] if template >= 0 else 0
        if slots:
            bundle = int.from_bytes(block[at : at + 16], "little")
            for slot in range(3):
                first = 5 + 41 * slot
                if slots >> slot & 1 and bundle >> first + 37 & 15 == _BRANCH:
                    place = first + 13
                    target = bundle >> place & _TARGET_MASK
                    bundle ^= (target ^ (target - number & _TARGET_MASK)) << place
            block[at : at + 16] = bundle.to_bytes(16, "little")
        number += 1
    return block


def _delta(block: bytearray, registers: Sequence[int], _offset: int) -> bytearray:
    """Channels one behind the other, of differences."""
    channels = registers[0]
    if not channels:
        raise DamagedError("a filter for no channels")
    out = bytearray(len(block))
    at = 0
    for channel in range(min(channels, len(block))):
        size = len(range(channel, len(block), channels))
        sums = accumulate(block[at : at + size])
        out[channel::channels] = bytes([-value & 0xFF for value in sums])
        at += size
    return out


def _rgb(block: bytearray, registers: Sequence[int], _offset: int) -> bytearray:
    """Pictures of three bytes a point: differences to what is left, above, and above left."""
    width, red = registers[0] - 3, registers[1]
    size = len(block)
    if size < 3 or not 0 <= width <= size or red > 2:
        raise DamagedError("a filter of pictures for what is none")
    out = bytearray(size)
    source = iter(block)
    for colour in range(3):
        value = 0
        for at in range(colour, size, 3):
            above = at - width
            if above >= 3:
                up, corner = out[above], out[above - 3]
                guess = value + up - corner
                left_off, up_off = abs(guess - value), abs(guess - up)
                corner_off = abs(guess - corner)
                if left_off <= up_off and left_off <= corner_off:
                    guess = value
                elif up_off <= corner_off:
                    guess = up
                else:
                    guess = corner
                value = guess
            value = value - next(source) & 0xFF
            out[at] = value
    for at in range(red, size - 2, 3):
        green = out[at + 1]
        out[at] = out[at] + green & 0xFF
        out[at + 2] = out[at + 2] + green & 0xFF
    return out


def _audio(block: bytearray, registers: Sequence[int], _offset: int) -> bytearray:
    """Sounds: differences to a guess from the samples before, whose weights are learned."""
    channels = registers[0]
    if not channels:
        raise DamagedError("a filter for no channels")
    out = bytearray(len(block))
    source = iter(block)
    for channel in range(min(channels, len(block))):
        last = last_step = 0
        first = second = third = 0
        weights = [0, 0, 0]
        errors = [0] * 7
        for number, at in enumerate(range(channel, len(block), channels)):
            third, second = second, last_step - first
            first = last_step
            guess = 8 * last + weights[0] * first + weights[1] * second + weights[2] * third
            given = next(source)
            value = (guess >> 3) - given & 0xFF
            out[at] = value
            signed = (given ^ 0x80) - 0x80 << 3
            errors[0] += abs(signed)
            errors[1] += abs(signed - first)
            errors[2] += abs(signed + first)
            errors[3] += abs(signed - second)
            errors[4] += abs(signed + second)
            errors[5] += abs(signed - third)
            errors[6] += abs(signed + third)
            last_step = (value - last + 0x80 & 0xFF) - 0x80
            last = value
            if not number & 31:
                best = errors.index(min(errors))
                errors = [0] * 7
                if best:
                    which, up = divmod(best - 1, 2)
                    if up and weights[which] < 16:
                        weights[which] += 1
                    elif not up and weights[which] >= -16:
                        weights[which] -= 1
    return out


_KNOWN: dict[tuple[int, int], Program] = {
    (53, 0xAD576887): _calls(b"\xe8"),
    (57, 0x3CD7E57E): _calls(b"[\xe8\xe9]"),
    (120, 0x3769893F): _itanium,
    (29, 0x0E06077D): _delta,
    (149, 0x1C2C5DC8): _rgb,
    (216, 0xBC85E701): _audio,
}
