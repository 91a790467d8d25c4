"""VMDK: sparse disks, also stream-optimised ones (VMware, "Virtual Disk Format 5.0")."""

import functools
import re
import struct
import zlib

from mailward.scan.containers.disk_source import Blocks, Disk, UnopenedError
from mailward.scan.verdict import Reason

STARTS = rb"KDMV|# Disk DescriptorFile|COWD"

_SECTOR = 512
_HEADER = struct.Struct("<4sLLQQQQLQQQB4sH")
_AT_THE_END = 0xFFFFFFFFFFFFFFFF
_FOOTER_BYTES = 1024
_IS_PACKED, _DEFLATE = 1 << 16, 1
_NOTHING, _ZEROS = 0, 1
_DESCRIPTOR_MAX_SECTORS = 128
_PARENT = re.compile(rb"(?im)^\s*parentCID\s*=\s*(?!ffffffff)[0-9a-f]+")
_KEPT = 4
"""Unpacked grains: a file system asks for a little here and there."""


def opened(data: bytes) -> Disk:
    """The disk. Raises UnopenedError, struct.error, OverflowError."""
    if not data.startswith(b"KDMV"):
        why = "virtual disk (VMDK): its content is in another file"
        if data.startswith(b"COWD"):
            why = "virtual disk (VMDK of ESX): this release cannot open it"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    header = _HEADER.unpack_from(data)
    if header[9] == _AT_THE_END:
        header = _HEADER.unpack_from(data, max(0, len(data) - _FOOTER_BYTES))
    flags, capacity, grain, text_at, text_sectors, per_table = header[2:8]
    directory_at, packing = header[9], header[13]
    text_bytes = min(text_sectors, _DESCRIPTOR_MAX_SECTORS) * _SECTOR
    if _PARENT.search(data[text_at * _SECTOR : text_at * _SECTOR + text_bytes]):
        why = "virtual disk (VMDK): most of it is in another file"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    if header[0] != b"KDMV" or not 1 <= grain <= 1 << 14 or not 1 <= per_table <= 1 << 16:
        raise UnopenedError(Reason.MALFORMED, "virtual disk (VMDK): its header is damaged")
    is_packed = bool(flags & _IS_PACKED)
    if is_packed and packing != _DEFLATE:
        raise UnopenedError(Reason.UNSUPPORTED, "virtual disk (VMDK): an unknown packing")
    grain_bytes = grain * _SECTOR

    def place(number: int) -> int:
        table_at = _word(data, directory_at * _SECTOR + 4 * (number // per_table)) * _SECTOR
        return _word(data, table_at + 4 * (number % per_table)) if table_at else _NOTHING

    @functools.lru_cache(_KEPT)
    def unpacked(at: int) -> bytes:
        size = _word(data, at + 8)
        try:
            return zlib.decompressobj().decompress(data[at + 12 : at + 12 + size], grain_bytes)
        except zlib.error:
            return b""

    def block(number: int, inside: int, wanted: int) -> bytes | None:
        sector = place(number)
        if sector in (_NOTHING, _ZEROS):
            return None
        if is_packed:
            return unpacked(sector * _SECTOR)[inside : inside + wanted]
        start = sector * _SECTOR + inside
        return data[start : start + wanted]

    return Disk(Blocks(capacity * _SECTOR, grain_bytes, block))


def _word(data: bytes, at: int) -> int:
    found: int = struct.unpack_from("<L", data, at)[0]
    return found
