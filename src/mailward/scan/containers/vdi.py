"""VDI: VirtualBox's own disks (layout: VirtualBox, ``VDICore.h``; QEMU, ``block/vdi.c``)."""

import struct

from mailward.scan.containers.disk_source import Blocks, Disk, UnopenedError
from mailward.scan.verdict import Reason

STARTS = rb".{64}\x7f\x10\xda\xbe"

_KIND_AT, _PLACES_AT, _SIZES_AT = 0x4C, 0x154, 0x170
_WHOLE = (1, 2)
"""Dynamic, fixed; others say what differs from another file."""
_ZEROS = 0xFFFFFFFE
"""And above."""


def opened(data: bytes) -> Disk:
    """The disk. Raises UnopenedError, struct.error, OverflowError."""
    kind = struct.unpack_from("<L", data, _KIND_AT)[0]
    table_at, first = struct.unpack_from("<LL", data, _PLACES_AT)
    size, block_bytes, extra, count = struct.unpack_from("<QLLL", data, _SIZES_AT)
    if kind not in _WHOLE:
        why = "virtual disk (VDI): most of it is in another file"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    if not 512 <= block_bytes <= 1 << 28 or extra > block_bytes:
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VDI): impossible sizes")

    def block(number: int, inside: int, wanted: int) -> bytes | None:
        if number >= count:
            return b""
        place = struct.unpack_from("<L", data, table_at + 4 * number)[0]
        if place >= _ZEROS:
            return None
        start = first + place * (block_bytes + extra) + extra + inside
        return data[start : start + wanted]

    return Disk(Blocks(size, block_bytes, block))
