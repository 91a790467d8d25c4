"""What translated instructions call: what would be too long to be written out each time."""

from mailward.scan.programs.x86.decoding import (
    CARRY,
    DIRECTION,
    EAX,
    ECX,
    EDI,
    EDX,
    ESI,
    OVERFLOW,
    RESULT,
)
from mailward.scan.programs.x86.emitter import RCL, RCR, ROL, ROR, SAR, SHR
from mailward.scan.programs.x86.memory import MASK, Memory

EVEN = bytes(i.bit_count() % 2 == 0 for i in range(256))
"""Parity of a byte."""
DIVIDE_ERROR, OVERFLOWED = 0xC0000094, 0xC0000095


class FaultError(Exception):
    """What the processor tells the operating system, by Windows' number of it."""

    def __init__(self, code: int) -> None:
        super().__init__(hex(code))
        self.code = code


class SingleStepError(Exception):
    """The next instruction is to be followed by a fault."""

    def __init__(self, address: int) -> None:
        super().__init__(hex(address))
        self.address = address


class StepsSpentError(Exception):
    """The program may not run any longer."""


def signed(value: int, size: int) -> int:
    """With the sign that its highest bit means."""
    return value - (value >> 8 * size - 1 << 8 * size)


def shift(kind: int, x: int, count: int, bits: int, r: list[int]) -> int:
    """Shift or rotate ``x``, setting flags in the registers ``r``."""
    if not count:
        return x
    mask = (1 << bits) - 1
    if kind in (RCL, RCR):
        return _through_carry(kind, x, count % (bits + 1), bits, r)
    if kind in (ROL, ROR):
        count %= bits
        left = count if kind == ROL else bits - count
        v = (x << left | x >> bits - left) & mask
        r[CARRY] = v & 1 if kind == ROL else v >> bits - 1
        r[OVERFLOW] = (v >> bits - 1 ^ (v if kind == ROL else v >> bits - 2)) & 1
        return v
    if kind == SHR:
        v, r[CARRY], r[OVERFLOW] = x >> count, x >> count - 1 & 1, x >> bits - 1
    elif kind == SAR:
        x = signed(x, bits // 8)
        v, r[CARRY], r[OVERFLOW] = x >> count & mask, x >> count - 1 & 1, 0
    else:
        v, r[CARRY] = x << count & mask, x << count >> bits & 1
        r[OVERFLOW] = v >> bits - 1 ^ r[CARRY]
    r[RESULT] = _result(v, bits)
    return v


def _through_carry(kind: int, x: int, count: int, bits: int, r: list[int]) -> int:
    wide = x | int(r[CARRY]) << bits
    left = count if kind == RCL else bits + 1 - count
    wide = (wide << left | wide >> bits + 1 - left) & ((2 << bits) - 1)
    r[CARRY] = wide >> bits
    v = wide & ((1 << bits) - 1)
    r[OVERFLOW] = (v >> bits - 1 ^ (r[CARRY] if kind == RCL else v >> bits - 2)) & 1
    return v


def double_shift(x: int, y: int, count: int, bits: int, left: bool, r: list[int]) -> int:
    """``shld`` and ``shrd``: shift ``x``, and ``y`` into it."""
    if not count or count > bits:
        return x
    mask = (1 << bits) - 1
    if left:
        v, r[CARRY] = (x << count | y >> bits - count) & mask, x >> bits - count & 1
    else:
        v, r[CARRY] = (x >> count | y << bits - count) & mask, x >> count - 1 & 1
    r[OVERFLOW] = (v ^ x) >> bits - 1
    r[RESULT] = _result(v, bits)
    return v


def flags(r: list[int]) -> int:
    """The register of flags; interrupts are always on."""
    z = r[RESULT]
    return (
        int(r[CARRY]) | 0x202 | EVEN[z & 0xFF] << 2 | (not z) << 6 | z >> 31 << 7
        | r[DIRECTION] << 10 | int(r[OVERFLOW]) << 11
    )  # fmt: skip


def unpack_flags(value: int) -> list[int]:
    """Carry, result, overflow and direction of a register of flags."""
    z = 0 if value & 0x40 else 0x80000000 if value & 0x80 else 0x100
    if z:
        z |= 3 if value & 4 else 1
    return [value & 1, z, value >> 11 & 1, value >> 10 & 1]


def _result(v: int, bits: int) -> int:
    return v if bits == 32 else v << 32 - bits | v


def multiply(r: list[int], y: int, size: int, *, is_signed: bool) -> None:
    """``mul`` and ``imul`` of the accumulator."""
    bits = 8 * size
    mask = (1 << bits) - 1
    x = r[EAX] & mask
    t = signed(x, size) * signed(y, size) if is_signed else x * y
    if size == 1:
        r[EAX] = r[EAX] & 0xFFFF0000 | t & 0xFFFF
    else:
        _set(r, EAX, t & mask, size)
        _set(r, EDX, t >> bits & mask, size)
    low = signed(t & mask, size) if is_signed else t & mask
    r[CARRY] = r[OVERFLOW] = t != low


def divide(r: list[int], y: int, size: int, *, is_signed: bool) -> None:
    """``div`` and ``idiv`` of the accumulator. Raises FaultError."""
    bits = 8 * size
    mask = (1 << bits) - 1
    x = r[EAX] & 0xFFFF if size == 1 else (r[EDX] & mask) << bits | r[EAX] & mask
    if is_signed:
        x, y = signed(x, 2 * size), signed(y, size)
    if not y:
        raise FaultError(DIVIDE_ERROR)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    rest = x - quotient * y
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, mask)
    if not low <= quotient <= high:
        raise FaultError(OVERFLOWED)
    if size == 1:
        r[EAX] = r[EAX] & 0xFFFF0000 | (rest & 0xFF) << 8 | quotient & 0xFF
    else:
        _set(r, EAX, quotient & mask, size)
        _set(r, EDX, rest & mask, size)


def _set(r: list[int], register: int, value: int, size: int) -> None:
    r[register] = value if size == 4 else r[register] & 0xFFFF0000 | value


class Strings:
    """``movs``, ``stos``, ``lods``, ``scas`` and ``cmps``, once or repeated."""

    def __init__(self, memory: Memory, steps: int) -> None:
        self._memory = memory
        self.steps_left = steps
        """Elements that may still be worked on."""

    def _count(self, r: list[int], repeat: int) -> int:
        count = r[ECX] if repeat else 1
        self.steps_left -= count >> 4
        if self.steps_left < 0:
            raise StepsSpentError
        return count

    def _range(self, address: int, count: int, size: int, down: int) -> int:
        """The offset of the lowest byte. Raises BadAddressError."""
        first = (address - (count - 1) * size) & MASK if down else address
        return self._memory.offset(first, count * size)

    def movs(self, r: list[int], size: int, repeat: int) -> bool:
        """Copy; whether that changed code."""
        count, down = self._count(r, repeat), r[DIRECTION]
        if not count:
            return False
        total = count * size
        content = self._memory.content
        source = self._range(r[ESI], count, size, down)
        to = self._range(r[EDI], count, size, down)
        ahead = source - to if down else to - source
        if 0 < ahead < total:  # it copies what it has copied just before
            period = -(-ahead // size) * size if ahead % size else ahead
            if ahead % size or down:
                return self._one_by_one(r, size, count)
            piece = bytes(content[source : source + period])
            content[to : to + total] = (piece * (total // period + 1))[:total]
        else:
            content[to : to + total] = content[source : source + total]
        self._advance(r, total, down, repeat)
        return self._memory.changed(to, total)

    def _one_by_one(self, r: list[int], size: int, count: int) -> bool:
        content, offset = self._memory.content, self._memory.offset
        by = -size if r[DIRECTION] else size
        self.steps_left -= count
        if self.steps_left < 0:
            raise StepsSpentError
        found = False
        for _ in range(count):
            source, to = offset(r[ESI], size), offset(r[EDI], size)
            content[to : to + size] = content[source : source + size]
            found |= self._memory.changed(to, size)
            r[ESI], r[EDI] = (r[ESI] + by) & MASK, (r[EDI] + by) & MASK
        r[ECX] = 0
        return found

    def _advance(self, r: list[int], total: int, down: int, repeat: int, *, only: int = 0) -> None:
        by = -total if down else total
        if only != EDI:
            r[ESI] = (r[ESI] + by) & MASK
        if only != ESI:
            r[EDI] = (r[EDI] + by) & MASK
        if repeat:
            r[ECX] = 0

    def stos(self, r: list[int], size: int, repeat: int) -> bool:
        """Fill; whether that changed code."""
        count = self._count(r, repeat)
        if not count:
            return False
        to = self._range(r[EDI], count, size, r[DIRECTION])
        one = (r[EAX] & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        self._memory.content[to : to + count * size] = one * count
        self._advance(r, count * size, r[DIRECTION], repeat, only=EDI)
        return self._memory.changed(to, count * size)

    def lods(self, r: list[int], size: int, repeat: int) -> None:
        """Load; repeated, the last."""
        count = self._count(r, repeat)
        if not count:
            return
        by = -size if r[DIRECTION] else size
        at = self._memory.offset((r[ESI] + by * (count - 1)) & MASK, size)
        value = int.from_bytes(self._memory.content[at : at + size], "little")
        mask = (1 << 8 * size) - 1
        r[EAX] = r[EAX] & ~mask | value
        self._advance(r, count * size, r[DIRECTION], repeat, only=ESI)

    def compare(self, r: list[int], size: int, repeat: int, *, with_accumulator: bool) -> None:
        """``scas`` (with the accumulator) and ``cmps``: until the flag of zero says so."""
        content, offset = self._memory.content, self._memory.offset
        mask, bits = (1 << 8 * size) - 1, 8 * size
        by = -size if r[DIRECTION] else size
        left = r[ECX] if repeat else 1
        while left:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise StepsSpentError
            at = offset(r[EDI], size)
            y = int.from_bytes(content[at : at + size], "little")
            x = r[EAX] & mask
            if not with_accumulator:
                at = offset(r[ESI], size)
                x = int.from_bytes(content[at : at + size], "little")
                r[ESI] = (r[ESI] + by) & MASK
            r[EDI] = (r[EDI] + by) & MASK
            v = (x - y) & mask
            r[CARRY], r[RESULT] = x < y, _result(v, bits)
            r[OVERFLOW] = ((x ^ y) & (x ^ v)) >> bits - 1
            left -= 1
            if repeat:
                r[ECX] = left
                if (v == 0) != (repeat == 0xF3):
                    return
