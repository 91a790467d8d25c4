"""Where file systems are read from: bytes, a stretch of something, a disk with holes."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason


class Source(Protocol):
    """Bytes by place; there may be more than would fit into memory."""

    @property
    def size(self) -> int: ...  # noqa: D102

    def read(self, at: int, size: int) -> bytes:
        """So many bytes, or as many as there are."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """A whole image."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read(self, at: int, size: int) -> bytes:
        """See ``Source``."""
        return self.data[at : at + size]


@dataclass(frozen=True, slots=True)
class Window:
    """A partition."""

    source: Source
    start: int
    size: int

    def read(self, at: int, size: int) -> bytes:
        """See ``Source``."""
        return self.source.read(self.start + at, max(0, min(size, self.size - at)))


@dataclass(frozen=True, slots=True)
class Blocks:
    """A virtual disk: blocks that are somewhere in a file, and zeros where there are none."""

    size: int
    block_bytes: int
    stretch: Callable[[int, int, int], bytes | None]
    """Of a block (number, first byte, how many): None if it is zeros, short if it is damaged.
    May raise struct.error, OverflowError."""

    def read(self, at: int, size: int) -> bytes:
        """See ``Source``; what is behind damage is not there."""
        out = bytearray()
        size = max(0, min(size, self.size - at))
        while len(out) < size:
            number, inside = divmod(at + len(out), self.block_bytes)
            count = min(size - len(out), self.block_bytes - inside)
            try:
                piece = self.stretch(number, inside, count)
            except (struct.error, OverflowError):  # its table ends too early
                break
            out += bytes(count) if piece is None else piece
            if piece is not None and len(piece) < count:
                break
        return bytes(out)


@dataclass(frozen=True, slots=True)
class Disk:
    """What a virtual disk shows to a computer."""

    source: Source
    sector_bytes: int = 512
    left_shut: tuple[Shut, ...] = ()
    """What is in the file besides."""


class UnopenedError(Exception):
    """A disk that cannot be read; ``shut`` says why."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.shut = Shut(reason, detail)
