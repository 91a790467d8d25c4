"""Blocks of RAR 5. Format: RARLAB, "RAR 5.0 archive format" (``technote.txt``)."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"Rar!\x1a\x07\x01\0"
MAIN, FILE, SERVICE, CRYPT, END = 1, 2, 3, 4, 5
BLOCKS_MAX = 20_000
HAS_EXTRA, HAS_DATA = 1, 2
FROM_BEFORE, GOES_ON = 8, 16
"""Parts of a file that is in several volumes."""


@dataclass(frozen=True, slots=True)
class Block:
    """One that is not encrypted."""

    kind: int
    flags: int
    body: bytes
    """Its header, without checksum and size."""
    fields: int
    """Where in ``body`` begins what only blocks of this kind have."""
    extra_bytes: int
    """At the end of ``body``."""
    start: int
    stop: int
    """Of its data, in the archive."""

    @property
    def extra(self) -> bytes:
        """What is optional."""
        return self.body[len(self.body) - self.extra_bytes :] if self.extra_bytes else b""

    def made(self, flags: int, size: int) -> bytes:
        """The header anew, with other flags and so many bytes of data."""
        head = encoded(self.kind) + encoded(flags)
        head += encoded(self.extra_bytes) if flags & HAS_EXTRA else b""
        head += encoded(size) if flags & HAS_DATA else b""
        return sized(head + self.body[self.fields :])


def block(body: bytes, after: int) -> Block:
    """``after``: where its data begins. Raises IndexError."""
    kind, at = number(body, 0)
    flags, at = number(body, at)
    extra_bytes = data_bytes = 0
    if flags & HAS_EXTRA:
        extra_bytes, at = number(body, at)
    if flags & HAS_DATA:
        data_bytes, at = number(body, at)
    return Block(kind, flags, body, at, extra_bytes, after, after + data_bytes)


def blocks(data: bytes) -> Iterator[Block]:
    """Of an archive, up to one that is encrypted, or its end. Raises IndexError."""
    at = len(MAGIC)
    for _ in range(BLOCKS_MAX):
        if at + 7 > len(data):
            return
        size, start = number(data, at + 4)
        one = block(data[start : start + size], start + size)
        yield one
        at = one.stop
        if one.kind in (CRYPT, END):
            return


def sized(body: bytes) -> bytes:
    """A header with its checksum and size in front."""
    made = encoded(len(body)) + body
    return struct.pack("<L", zlib.crc32(made)) + made


def number(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; and where it ends. Raises IndexError."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80 or shift > 63:
            return value, at


def encoded(value: int) -> bytes:
    """As ``number`` reads it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
