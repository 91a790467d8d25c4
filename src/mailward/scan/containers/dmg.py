"""macOS disk images (UDIF): partitions in compressed pieces, each put together again.

What is in HFS+ or APFS is not taken apart: those file systems keep most files in one piece, so that
content is found in the image; that their files are no parts of their own is said. Layout: J. Levin,
"Demystifying the DMG file format".
"""

import bz2
import plistlib
import struct
import zlib
from collections.abc import Callable, Iterator
from xml.parsers.expat import ExpatError

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import Decompressor, inflate, xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_TRAILER_BYTES = 512
_SECTOR = 512
_TABLE_MAX_BYTES = 16 * 1024 * 1024
_HEADER_BYTES = 204
_CHUNK = struct.Struct(">L4xQQQQ")
_ZEROS, _RAW, _IGNORED, _ADC = 0, 1, 2, 0x80000004
_COMMENT, _LAST = 0x7FFFFFFE, 0xFFFFFFFF


def _zlib() -> Decompressor:
    return _Zlib()


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


_PACKED: dict[int, Callable[[], Decompressor]] = {
    0x80000005: _zlib,
    0x80000006: bz2.BZ2Decompressor,
    0x80000008: xz,
}


def looks_like_dmg(data: bytes) -> bool:
    """By its trailer."""
    return data[-_TRAILER_BYTES : 4 - _TRAILER_BYTES] == b"koly"


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The partitions that hold something. Raises only Spent."""
    at, size = struct.unpack_from(">QQ", data, len(data) - _TRAILER_BYTES + 0xD8)
    try:
        if size > _TABLE_MAX_BYTES:
            raise ValueError
        tables = plistlib.loads(data[at : at + size])["resource-fork"]["blkx"]
        partitions = [(str(table.get("Name", "")), bytes(table["Data"])) for table in tables]
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ExpatError,
        RecursionError,
        LookupError,
    ):
        yield Shut(Reason.MALFORMED, "macOS disk image: its table is damaged")
        return
    for number, (name, table) in enumerate(partitions, 1):
        label = f"partition {number}"
        out = bytearray()
        shut = _partition(data, table, out, budget)
        if any(out):
            yield Piece(bytes(out), Role.MEMBER, name, label=label)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, name, label)
        if out.startswith((b"H+", b"HX", b"BD"), 1024) or out.startswith(b"NXSB", 32):
            why = "macOS disk image: its files are not taken apart"
            yield Shut(Reason.UNSUPPORTED, why, name, label)


def _partition(data: bytes, table: bytes, out: bytearray, budget: Budget) -> Shut | None:
    room = budget.room()
    for kind, sector, count, at, size in _chunks(table):
        budget.check_time()
        start, plain_bytes = sector * _SECTOR, count * _SECTOR
        if start > room:
            return budget.over_room(room)
        out += bytes(max(0, start - len(out)))
        if kind in (_ZEROS, _IGNORED):
            out += bytes(min(plain_bytes, room + 1 - len(out)))
        elif kind == _RAW:
            out += data[at : at + min(size, room + 1 - len(out))]
        elif kind == _ADC:
            _adc(data[at : at + size], out, min(len(out) + plain_bytes, room + 1))
        elif kind in _PACKED:
            done = inflate(_PACKED[kind], memoryview(data)[at : at + size], budget)
            out += done.data
            if done.shut is not None:
                return done.shut
        else:
            return Shut(Reason.UNSUPPORTED, "macOS disk image: packed in a way that is not known")
        if len(out) > room:
            del out[room:]
            return budget.over_room(room)
        if budget.is_bomb(len(out), len(data)):
            return budget.bomb()
    return None


def _chunks(table: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    for at in range(_HEADER_BYTES, len(table) - _CHUNK.size + 1, _CHUNK.size):
        chunk = _CHUNK.unpack_from(table, at)
        if chunk[0] == _LAST:
            return
        if chunk[0] != _COMMENT:
            yield chunk


def _adc(packed: bytes, out: bytearray, stop: int) -> None:
    """Apple Data Compression: literals, and two kinds of references."""
    at = 0
    while at < len(packed) and len(out) < stop:
        first = packed[at]
        if first & 0x80:
            out += packed[at + 1 : at + 2 + (first & 0x7F)]
            at += 2 + (first & 0x7F)
            continue
        if first & 0x40:
            length, distance = (first & 0x3F) + 4, int.from_bytes(packed[at + 1 : at + 3], "big")
            at += 3
        else:
            length = (first >> 2 & 0x0F) + 3
            distance = (first & 3) << 8 | int.from_bytes(packed[at + 1 : at + 2], "big")
            at += 2
        if distance >= len(out):
            return
        for _ in range(length):
            out.append(out[-distance - 1])
