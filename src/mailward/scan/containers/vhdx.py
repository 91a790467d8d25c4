"""VHDX ([MS-VHDX]): two tables of regions, of which one is right, metadata, a table of blocks.

A log that the last writer left is played back in memory; what the file is without that is another
reading, which programs have that do not know logs.
"""

import struct
import uuid
from dataclasses import dataclass

from mailward.scan.containers import vhdx_log
from mailward.scan.containers.crc32c import crc32c
from mailward.scan.containers.disk_source import Blocks, Disk, UnopenedError
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

STARTS = rb"vhdxfile"

_MIB = 1 << 20
_HEADERS = (0x10000, 0x20000)
_REGIONS = (0x30000, 0x40000)
_HEADER_BYTES, _REGIONS_BYTES = 0x1000, 0x10000
_ENTRIES_MAX = 2047
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le
_HAS_PARENT = 2
_FULL, _PARTIAL = 6, 7
"""States of a block that is in the file; any other is zeros."""
_SECTORS_OF_BITMAP = 1 << 23
"""That one block of bitmap, which the table of blocks has in between, tells of."""


@dataclass(frozen=True, slots=True)
class _Shape:
    size: int
    block_bytes: int
    sector_bytes: int


def opened(data: bytes) -> Disk:
    """The disk. Raises UnopenedError, struct.error, OverflowError."""
    regions = _regions(data)
    if _BAT not in regions or _METADATA not in regions:
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VHDX): its regions are damaged")
    shape = _shape(data, regions[_METADATA])
    table_at = regions[_BAT]
    ratio = _SECTORS_OF_BITMAP * shape.sector_bytes // shape.block_bytes

    def block(number: int, inside: int, wanted: int) -> bytes | None:
        at = table_at + 8 * (number + number // ratio)
        entry = struct.unpack_from("<Q", data, at)[0]
        if entry & 7 not in (_FULL, _PARTIAL):
            return None
        start = (entry & ~(_MIB - 1)) + inside
        return data[start : start + wanted]

    return Disk(Blocks(shape.size, shape.block_bytes, block), shape.sector_bytes)


def played_back(data: bytes) -> bytes | Shut | None:
    """The file once its log was written; why that cannot be; None if it has none."""
    found = []
    for at in _HEADERS:
        header = data[at : at + _HEADER_BYTES]
        if header[:4] == b"head" and len(header) == _HEADER_BYTES and _is_right(header):
            found.append((struct.unpack_from("<Q", header, 8)[0], header))
    newest = max(found)[1] if found else bytes(_HEADER_BYTES)
    log = newest[48:64]
    if not any(log):
        return None
    size, at = struct.unpack_from("<LQ", newest, 68)
    try:
        return bytes(vhdx_log.played_back(data, log, at, size))
    except vhdx_log.LogError as e:
        why = f"virtual disk (VHDX): its log cannot be played back, {e}"
        return Shut(Reason.MALFORMED, why)


def _regions(data: bytes) -> dict[bytes, int]:
    """What is where, by the first table whose checksum is right."""
    for at in _REGIONS:
        table = data[at : at + _REGIONS_BYTES]
        if table[:4] == b"regi" and len(table) == _REGIONS_BYTES and _is_right(table):
            count = min(struct.unpack_from("<L", table, 8)[0], _ENTRIES_MAX)
            entries = (struct.unpack_from("<16sQ", table, 16 + 32 * n) for n in range(count))
            return dict(entries)
    return {}


def _shape(data: bytes, at: int) -> _Shape:
    if data[at : at + 8] != b"metadata":
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VHDX): its metadata is damaged")
    count = min(struct.unpack_from("<H", data, at + 10)[0], _ENTRIES_MAX)
    entries = (struct.unpack_from("<16sL", data, at + 32 + 32 * n) for n in range(count))
    items = {name: at + offset for name, offset in entries}
    if not {_PARAMETERS, _SIZE, _SECTOR} <= items.keys():
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VHDX): its metadata is incomplete")
    block_bytes, flags = struct.unpack_from("<LL", data, items[_PARAMETERS])
    size = struct.unpack_from("<Q", data, items[_SIZE])[0]
    sector_bytes = struct.unpack_from("<L", data, items[_SECTOR])[0]
    if flags & _HAS_PARENT:
        why = "virtual disk (VHDX): most of it is in another file"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    if not _MIB <= block_bytes <= 256 * _MIB or sector_bytes not in (512, 4096):
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VHDX): impossible sizes")
    return _Shape(size, block_bytes, sector_bytes)


def _is_right(block: bytes) -> bool:
    """Whether the checksum at byte 4 is that of all, itself taken for zeros."""
    return crc32c(block[:4] + bytes(4) + block[8:]) == int.from_bytes(block[4:8], "little")
