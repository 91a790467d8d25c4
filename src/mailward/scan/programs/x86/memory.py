"""All memory of the small computer: one piece, from the program's base on."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

MASK = 0xFFFFFFFF
LINE_BITS = 6
"""Writes are held against code in lines of 64 bytes."""

read2 = struct.Struct("<H").unpack_from
read4 = struct.Struct("<I").unpack_from
write2 = struct.Struct("<H").pack_into
write4 = struct.Struct("<I").pack_into

Runner = Callable[[list[int]], int]
"""Runs translated instructions on registers, and returns the address of what comes next."""


class BadAddressError(Exception):
    """Outside of the memory that there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A run of instructions, translated."""

    run: Runner
    start: int
    end: int
    """Offsets in memory, of all of its instructions."""
    lines: tuple[int, ...]
    """The addresses of its instructions, by line of the Python function."""


class Memory:
    """Addresses are the program's own; offsets count from ``base``."""

    def __init__(self, base: int, image: bytearray) -> None:
        self.base = base
        self.image_bytes = len(image)
        self.content = image
        self.code = bytearray((len(self.content) >> LINE_BITS) + 2)
        """By line: whether a block lies there, or begins just behind."""
        self.blocks: dict[int, Block] = {}
        """By address."""
        self._by_line: dict[int, dict[int, Block]] = {}

    def grow(self, end: int) -> None:
        """Add zeros up to the address ``end``."""
        more = end - self.base - len(self.content)
        if more > 0:
            self.content += bytes(more)
            self.code += bytes((len(self.content) >> LINE_BITS) + 2 - len(self.code))

    def offset(self, address: int, size: int = 1) -> int:
        """Where it is in ``content``. Raises BadAddressError."""
        at = (address - self.base) & MASK
        if at + size > len(self.content):
            raise BadAddressError
        return at

    def read(self, address: int) -> int:
        """32 bits. Raises BadAddressError."""
        number: int = read4(self.content, self.offset(address, 4))[0]
        return number

    def write(self, address: int, number: int) -> None:
        """32 bits. Raises BadAddressError."""
        self.put(address, (number & MASK).to_bytes(4, "little"))

    def put(self, address: int, data: bytes) -> None:
        """Raises BadAddressError."""
        at = self.offset(address, len(data))
        self.content[at : at + len(data)] = data
        self.changed(at, len(data))

    def text(self, address: int, limit: int = 256) -> bytes:
        """Up to the first zero. Raises BadAddressError."""
        at = self.offset(address)
        return bytes(self.content[at : at + limit]).partition(b"\0")[0]

    def keep(self, address: int, block: Block) -> None:
        """Remember a block until what it was made of is written to."""
        self.blocks[address] = block
        for line in _lines(block):
            self.code[line] = 1
            self._by_line.setdefault(line, {})[address] = block

    def changed(self, at: int, size: int) -> bool:
        """Forget the blocks whose instructions were written to; whether there were any."""
        end = at + size
        start, last = at >> LINE_BITS, (end - 1) >> LINE_BITS
        found = False
        while (line := self.code.find(1, start, last + 1)) >= 0:
            start = line + 1
            here = self._by_line[line].items()
            for address, block in [(a, b) for a, b in here if b.start < end and at < b.end]:
                self._forget(address, block)
                found = True
        return found

    def _forget(self, address: int, block: Block) -> None:
        del self.blocks[address]
        for line in _lines(block):
            there = self._by_line[line]
            there.pop(address, None)
            self.code[line] = bool(there)


def _lines(block: Block) -> range:
    """The lines that it lies in, or whose writes can reach it."""
    return range(max(block.start - 3, 0) >> LINE_BITS, (block.end >> LINE_BITS) + 1)
