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
        self._by_line: dict[int, list[tuple[int, Block]]] = {}

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
        for line in range(max(block.start - 3, 0) >> LINE_BITS, (block.end >> LINE_BITS) + 1):
            self.code[line] = 1
            self._by_line.setdefault(line, []).append((address, block))

    def changed(self, at: int, size: int) -> bool:
        """Forget the blocks whose instructions were written to; whether there were any."""
        first, last = at >> LINE_BITS, (at + size - 1) >> LINE_BITS
        found = False
        start = first
        while (line := self.code.find(1, start, last + 1)) >= 0:
            start = line + 1
            kept = []
            for address, block in self._by_line[line]:
                if block.start < at + size and at < block.end:
                    self.blocks.pop(address, None)
                    found = True
                elif self.blocks.get(address) is block:
                    kept.append((address, block))
            self._by_line[line] = kept
            self.code[line] = bool(kept)
        return found
