"""Blocks of RAR 1.5 to 4. Format: RARLAB's ``technote.txt`` of release 3."""

import struct
import zlib
from dataclasses import dataclass

from mailward.scan.containers.bits import DamagedError

MAGIC = b"Rar!\x1a\x07\0"
MAIN, FILE, SERVICE, END = 0x73, 0x74, 0x7A, 0x7B
BLOCKS_MAX = 20_000
HAS_DATA = 0x8000
IS_SOLID, HEADERS_ENCRYPTED = 0x08, 0x80
"""Of an archive, in its main header."""
FROM_BEFORE, GOES_ON, IS_ENCRYPTED, IS_LARGE = 0x01, 0x02, 0x04, 0x100
"""Of a file."""
BLOCK = struct.Struct("<HBHH")
"""Checksum, kind, flags, size."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of a block."""

    kind: int
    flags: int
    raw: bytes
    after: int
    """Where what belongs to it begins."""

    @property
    def data_bytes(self) -> int:
        """What belongs to it. Raises struct.error."""
        if self.kind not in (FILE, SERVICE) and not self.flags & HAS_DATA:
            return 0
        size: int = struct.unpack_from("<L", self.raw, 7)[0]
        if self.kind in (FILE, SERVICE) and self.flags & IS_LARGE:
            size |= struct.unpack_from("<L", self.raw, 32)[0] << 32
        return size

    @property
    def is_right(self) -> bool:
        """Whether its checksum is."""
        check: int = struct.unpack_from("<H", self.raw)[0]
        return zlib.crc32(self.raw[2:]) & 0xFFFF == check


def plain_header(data: bytes, at: int) -> Header:
    """One that is not encrypted. Raises DamagedError, struct.error."""
    _, kind, flags, size = BLOCK.unpack_from(data, at)
    if size < BLOCK.size or at + size > len(data):
        raise DamagedError("a header is cut")
    return Header(kind, flags, data[at : at + size], at + size)


def remade(raw: bytes, flags: int) -> bytes:
    """A header with other flags, its size and checksum made anew."""
    body = raw[2:3] + struct.pack("<HH", flags, len(raw)) + raw[7:]
    return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body
