"""Disk images: raw ones and VHD (fixed and dynamic), their partitions, the FAT and NTFS in them.

What a partition holds that is neither is said to be unscannable. Sources: Microsoft, "Virtual Hard
Disk Image Format Specification"; UEFI 2.10 chapter 5 (GPT).
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import fat, ntfs
from mailward.scan.containers.disk_source import Bytes, Source, Window
from mailward.scan.contents import Contents, Shut
from mailward.scan.verdict import Reason

_SECTOR = 512
_BOOT = re.compile(rb"(?:\xeb.\x90|\xe9..|\xeb.\0)", re.DOTALL)
_PARTITION = struct.Struct("<B3xB3xLL")
_PROTECTIVE = 0xEE
_FOOTER = b"conectix"
_DYNAMIC, _DIFFERENCING = 3, 4
_BLOCKS_MAX = 1 << 20


def looks_like_disk(data: bytes) -> bool:
    """By a boot sector of FAT or NTFS, a partition table, or the end of a VHD."""
    if data[-_SECTOR : 8 - _SECTOR] == _FOOTER or data.startswith(_FOOTER):
        return True
    if data[510:512] != b"\x55\xaa" or len(data) < 4 * _SECTOR:
        return False
    if _is_file_system(data[:_SECTOR]):
        return True
    return any(True for _ in _table(data[:_SECTOR])) and data[0] in (0x00, 0x33, 0xFA, 0xEB, 0xE9)


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files of all partitions. Raises only Spent."""
    source: Source = Bytes(data)
    footer = data[-_SECTOR:] if data[-_SECTOR : 8 - _SECTOR] == _FOOTER else b""
    if footer or data.startswith(_FOOTER):
        footer = footer or data[:_SECTOR]
        kind = int.from_bytes(footer[60:64], "big")
        if kind == _DIFFERENCING:
            yield Shut(Reason.UNSUPPORTED, "virtual disk (VHD): most of it is in another file")
            return
        if kind == _DYNAMIC:
            made = _dynamic(data, footer)
            if made is None:
                yield Shut(Reason.MALFORMED, "virtual disk (VHD): its table of blocks is damaged")
                return
            source = made
    number = 0
    for number, window in enumerate(_partitions(source), 1):
        yield from _file_system(window, f"partition {number}", budget)
    if not number:
        yield Shut(Reason.UNSUPPORTED, "disk image: no partition that this release can open")


def _partitions(source: Source) -> Iterator[Source]:
    first = source.read(0, _SECTOR)
    if _is_file_system(first):
        yield source
        return
    for kind, start, count in _table(first):
        if kind == _PROTECTIVE:
            yield from _gpt(source)
        else:
            yield Window(source, start * _SECTOR, count * _SECTOR)


def _table(first: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, first sector, sectors."""
    if first[510:512] != b"\x55\xaa":
        return
    for at in range(446, 510, _PARTITION.size):
        active, kind, start, count = _PARTITION.unpack_from(first, at)
        if kind and start and count and active in (0, 0x80):
            yield kind, start, count


def _gpt(source: Source) -> Iterator[Source]:
    header = source.read(_SECTOR, _SECTOR)
    if not header.startswith(b"EFI PART"):
        return
    table, count, size = struct.unpack_from("<QLL", header, 72)
    if not 128 <= size <= 4096:
        return
    for number in range(min(count, 128)):
        entry = source.read(table * _SECTOR + number * size, 128)
        if len(entry) == 128 and any(entry[:16]):
            start, last = struct.unpack_from("<QQ", entry, 32)
            if start <= last:
                yield Window(source, start * _SECTOR, (last - start + 1) * _SECTOR)


def _is_file_system(first: bytes) -> bool:
    return _BOOT.match(first) is not None and (
        first[3:11] == b"NTFS    " or first[54:57] == b"FAT" or first[82:85] == b"FAT"
    )


def _file_system(source: Source, label: str, budget: Budget) -> Contents:
    first = source.read(0, _SECTOR)
    if first[3:11] == b"NTFS    ":
        yield from ntfs.read(source, label, budget)
    elif first[54:57] == b"FAT" or first[82:85] == b"FAT":
        yield from fat.read(source, label, budget)
    elif any(first):
        why = "disk image: a file system that this release cannot open"
        yield Shut(Reason.UNSUPPORTED, why, label=label)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """A dynamic VHD: blocks that are there, zeros where there are none."""

    data: bytes
    table: tuple[int, ...]
    block_bytes: int
    bitmap_bytes: int
    size: int

    def read(self, at: int, size: int) -> bytes:
        """See ``Source``."""
        out = bytearray()
        size = max(0, min(size, self.size - at))
        while len(out) < size:
            number, inside = divmod(at + len(out), self.block_bytes)
            count = min(size - len(out), self.block_bytes - inside)
            if number >= len(self.table) or self.table[number] == 0xFFFFFFFF:
                out += bytes(count)
                continue
            start = self.table[number] * _SECTOR + self.bitmap_bytes + inside
            piece = self.data[start : start + count]
            out += piece.ljust(count, b"\0")
        return bytes(out)


def _dynamic(data: bytes, footer: bytes) -> Source | None:
    size = int.from_bytes(footer[48:56], "big")
    at = int.from_bytes(footer[16:24], "big")
    header = data[at : at + 1024]
    if not header.startswith(b"cxsparse") or len(header) < 1024:
        return None
    table_at, _, count, block_bytes = struct.unpack_from(">QLLL", header, 16)
    table = data[table_at : table_at + 4 * count]
    if count > _BLOCKS_MAX or len(table) < 4 * count or not _SECTOR <= block_bytes <= 1 << 28:
        return None
    bitmap = -(-block_bytes // _SECTOR // 8 // _SECTOR) * _SECTOR
    bitmap = max(bitmap, _SECTOR)
    return _Blocks(data, struct.unpack(f">{count}L", table), block_bytes, bitmap, size)
