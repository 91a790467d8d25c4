"""VHD: fixed and dynamic (Microsoft, "Virtual Hard Disk Image Format Specification")."""

import struct

from mailward.scan.containers.disk_source import Blocks, Bytes, Disk, UnopenedError
from mailward.scan.verdict import Reason

_SECTOR = 512
_MAGIC = b"conectix"
_DYNAMIC, _DIFFERENCING = 3, 4
_NOWHERE = 0xFFFFFFFF


def looks_like_vhd(data: bytes) -> bool:
    """By its end, or the copy of it in front."""
    return data[-_SECTOR : 8 - _SECTOR] == _MAGIC or data.startswith(_MAGIC)


def opened(data: bytes) -> Disk:
    """The disk. Raises UnopenedError, struct.error, OverflowError."""
    footer = data[-_SECTOR:] if data[-_SECTOR : 8 - _SECTOR] == _MAGIC else data[:_SECTOR]
    kind = int.from_bytes(footer[60:64], "big")
    if kind == _DIFFERENCING:
        why = "virtual disk (VHD): most of it is in another file"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    if kind != _DYNAMIC:
        return Disk(Bytes(data))
    size = int.from_bytes(footer[48:56], "big")
    at = int.from_bytes(footer[16:24], "big")
    header = data[at : at + 1024]
    if not header.startswith(b"cxsparse"):
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VHD): its header is damaged")
    table_at, _, count, block_bytes = struct.unpack_from(">QLLL", header, 16)
    if not _SECTOR <= block_bytes <= 1 << 28 or table_at + 4 * count > len(data):
        why = "virtual disk (VHD): its table of blocks is damaged"
        raise UnopenedError(Reason.MALFORMED, why)
    bitmap_bytes = max(_SECTOR, -(-block_bytes // _SECTOR // 8 // _SECTOR) * _SECTOR)

    def block(number: int, inside: int, wanted: int) -> bytes | None:
        if number >= count:
            return None
        sector = struct.unpack_from(">L", data, table_at + 4 * number)[0]
        if sector == _NOWHERE:
            return None
        start = sector * _SECTOR + bitmap_bytes + inside
        return data[start : start + wanted]

    return Disk(Blocks(size, block_bytes, block))
