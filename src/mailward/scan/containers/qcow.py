"""QCOW2 and QCOW3 (QEMU, ``docs/interop/qcow2.txt``)."""

import functools
import struct
import zlib

from backports import zstd

from mailward.scan.containers.disk_source import Blocks, Disk, UnopenedError
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

STARTS = rb"QFI\xfb"

_HEADER = struct.Struct(">4sLQLLQLLQQLLQ")
_FEATURES = struct.Struct(">Q")
_ELSEWHERE = 1 << 2
"""Incompatible feature: the data is in a file beside it."""
_KNOWN = 0x0F
_PACKED, _ZEROS = 1 << 62, 1
_PLACE = 0x00FFFFFFFFFFFE00
_ZSTD = 1
_WINDOW_BITS = -12
_KEPT = 4
"""Unpacked clusters: a file system asks for a little here and there."""


def opened(data: bytes) -> Disk:
    """The disk. Raises UnopenedError, struct.error, OverflowError."""
    (_, version, behind, _, bits, size, crypt, tables, tables_at, _, _, snapshots, _) = (
        _HEADER.unpack_from(data)
    )
    features = _FEATURES.unpack_from(data, 72)[0] if version == 3 else 0
    packing = data[104] if version == 3 and len(data) > 104 and features & 8 else 0
    _look_at(version, features, behind, crypt)
    if not 9 <= bits <= 21 or packing > _ZSTD:
        raise UnopenedError(Reason.MALFORMED, "virtual disk (QCOW2): its header is damaged")
    cluster_bytes = 1 << bits
    per_table = cluster_bytes // 8
    place_bits = 62 - (bits - 8)

    def entry(number: int) -> int:
        first, second = divmod(number, per_table)
        if first >= tables:
            return 0
        at = _word(data, tables_at + 8 * first) & _PLACE
        return _word(data, at + 8 * second) if at else 0

    @functools.lru_cache(_KEPT)
    def unpacked(found: int) -> bytes:
        at = found & (1 << place_bits) - 1
        sectors = (found & _PACKED - 1) >> place_bits
        packed = data[at : (at // 512 + sectors + 1) * 512]
        try:
            if packing == _ZSTD:
                return zstd.ZstdDecompressor().decompress(packed, cluster_bytes)
            return zlib.decompressobj(_WINDOW_BITS).decompress(packed, cluster_bytes)
        except (zlib.error, zstd.ZstdError):
            return b""

    def block(number: int, inside: int, wanted: int) -> bytes | None:
        found = entry(number)
        if found & _PACKED:
            return unpacked(found)[inside : inside + wanted]
        at = found & _PLACE
        if not at or (version == 3 and found & _ZEROS):
            return None
        start = at + inside
        if start >= len(data):
            return b""
        return data[start : start + wanted].ljust(wanted, b"\0")  # the last may be shorter

    shut: tuple[Shut, ...] = ()
    if snapshots:
        why = "virtual disk (QCOW2): its snapshots are not looked into"
        shut = (Shut(Reason.UNSUPPORTED, why),)
    return Disk(Blocks(size, cluster_bytes, block), left_shut=shut)


def _look_at(version: int, features: int, behind: int, crypt: int) -> None:
    if version not in (2, 3):
        raise UnopenedError(Reason.UNSUPPORTED, f"virtual disk (QCOW{version}): an old format")
    if crypt:
        raise UnopenedError(Reason.ENCRYPTED, "encrypted virtual disk (QCOW2)")
    if behind or features & _ELSEWHERE:
        why = "virtual disk (QCOW2): most of it is in another file"
        raise UnopenedError(Reason.UNSUPPORTED, why)
    if features & ~_KNOWN:
        why = "virtual disk (QCOW2): a feature that this release does not know"
        raise UnopenedError(Reason.UNSUPPORTED, why)


def _word(data: bytes, at: int) -> int:
    found: int = struct.unpack_from(">Q", data, at)[0]
    return found
