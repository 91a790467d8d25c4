"""Reading instructions: prefixes, ModRM and SIB bytes, immediates.

Source: Intel's manual of the architecture, volume 2, chapter 2 and appendix A.
"""

from dataclasses import dataclass

from mailward.scan.programs.x86.memory import MASK, Memory

EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, CARRY, RESULT, OVERFLOW, DIRECTION = range(12)
"""Places in the list of registers. RESULT: of the last operation, its sign in bit 31 and its low
byte in the low byte, so that the flags of zero, sign and parity come from it."""

INSTRUCTION_MAX_BYTES = 15
PREFIXES = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3}
_FS = 0x64


class UnknownInstructionError(Exception):
    """Not an instruction that the small computer has."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A register or a place in memory, as Python."""

    register: int
    """Its number; -1 for memory."""
    address: str = ""
    """An expression, masked."""


class Cursor:
    """Reads one instruction."""

    def __init__(self, memory: Memory, at: int, fs_base: int) -> None:
        self._content = memory.content
        self._base = memory.base
        self._fs_base = fs_base
        self.start = self.at = at
        self.operand_bytes = 4
        self.repeat = 0
        self._segment = 0
        self._is_short_address = False
        self.opcode = self._opcode()

    @property
    def next(self) -> int:
        """The address behind what was read so far."""
        return (self.at + self._base) & MASK

    def _opcode(self) -> int:
        while (byte := self.u8()) in PREFIXES:
            if byte == 0x66:
                self.operand_bytes = 2
            elif byte == 0x67:
                self._is_short_address = True
            elif byte in (0xF2, 0xF3):
                self.repeat = byte
            elif byte != 0xF0:
                self._segment = byte
        return 0x0F00 | self.u8() if byte == 0x0F else byte

    def u8(self) -> int:
        """The next byte. Raises UnknownInstructionError where instructions end."""
        if self.at >= len(self._content) or self.at - self.start >= INSTRUCTION_MAX_BYTES:
            raise UnknownInstructionError
        self.at += 1
        return self._content[self.at - 1]

    def number(self, size: int) -> int:
        """An immediate of ``size`` bytes, without sign."""
        return sum(self.u8() << 8 * i for i in range(size))

    def signed(self, size: int) -> int:
        """An immediate of ``size`` bytes with a sign, as 32 bits."""
        value = self.number(size)
        return (value - (1 << 8 * size) if value >> 8 * size - 1 else value) & MASK

    def modrm(self) -> tuple[int, Operand]:
        """The middle field, and the operand."""
        byte = self.u8()
        mode, middle, low = byte >> 6, byte >> 3 & 7, byte & 7
        if mode == 3:
            return middle, Operand(low)
        if self._is_short_address:
            return middle, Operand(-1, self._short(mode, low))
        terms: list[str] = []
        displacement = 0
        if low == 4:
            displacement, terms = self._sib(mode)
        elif low == 5 and mode == 0:
            displacement = self.number(4)
        else:
            terms = [f"r[{low}]"]
        if mode:
            displacement += self.signed(1) if mode == 1 else self.number(4)
        return middle, self._memory(terms, displacement)

    def _sib(self, mode: int) -> tuple[int, list[str]]:
        byte = self.u8()
        scale, index, base = byte >> 6, byte >> 3 & 7, byte & 7
        displacement = 0
        terms = []
        if base == 5 and mode == 0:
            displacement = self.number(4)
        else:
            terms.append(f"r[{base}]")
        if index != 4:
            terms.append(f"r[{index}]*{1 << scale}" if scale else f"r[{index}]")
        return displacement, terms

    def _short(self, mode: int, low: int) -> str:
        """Addresses of 16 bits: only the absolute one is seen in programs of 32 bits."""
        if mode or low != 6:
            raise UnknownInstructionError
        return self._memory([], self.number(2)).address

    def direct(self) -> Operand:
        """An address that follows by itself."""
        return self._memory([], self.number(2 if self._is_short_address else 4))

    def string(self, register: int) -> Operand:
        """Where a string instruction reads, with its segment."""
        return self._memory([f"r[{register}]"], 0)

    def _memory(self, terms: list[str], displacement: int) -> Operand:
        if self._segment == _FS:
            displacement += self._fs_base
        constant = (displacement - self._base) & MASK
        return Operand(-1, "+".join([*terms, str(constant)]) + "&4294967295")
