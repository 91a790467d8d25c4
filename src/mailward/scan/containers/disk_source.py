"""Where file systems are read from: bytes, a stretch of something, a disk with holes."""

from dataclasses import dataclass
from typing import Protocol


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
