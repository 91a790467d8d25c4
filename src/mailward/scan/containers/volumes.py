"""From a disk to files: its partitions (MBR, GPT, Apple), and the file systems in them.

What a partition holds that is none of these is said to be unscannable. Source: UEFI 2.10 chapter 5.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import apfs, exfat, ext, fat, hfs, iso, ntfs, squashfs
from mailward.scan.containers.disk_source import Source, Window
from mailward.scan.contents import Contents, Shut
from mailward.scan.verdict import Reason

_BOOT = re.compile(rb"(?:\xeb.\x90|\xe9..|\xeb.\0)", re.DOTALL)
_PARTITION = struct.Struct("<B3xB3xLL")
_PROTECTIVE = 0xEE
_EXTENDED = (0x05, 0x0F, 0x85)
_LOGICAL_MAX = 128
_GPT_MAX = 128
_APPLE_MAX = 64
_APPLE_OWN = (b"Apple_partition_map", b"Apple_Driver", b"Apple_Free", b"Apple_Patches")

Reader = Callable[[Source, str, Budget], Contents]


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One that is known by its beginning."""

    looks_so: Callable[[Source], bool]
    read: Reader | None
    """None if this release cannot open it."""
    what: str
    is_encrypted: bool = False


def _has(at: int, *magic: bytes) -> Callable[[Source], bool]:
    """Whether one of these (of the same length) is there."""
    return lambda source: source.read(at, len(magic[0])) in magic


def _boots(source: Source) -> bool:
    return _BOOT.match(source.read(0, 3)) is not None


def _is_fat(source: Source) -> bool:
    return _boots(source) and b"FAT" in (source.read(54, 3), source.read(82, 3))


def _is_ntfs(source: Source) -> bool:
    return _boots(source) and source.read(3, 8) == b"NTFS    "


_is_iso = _has(0x8001, b"CD001")


def _read_iso(source: Source, label: str, budget: Budget) -> Contents:
    room = budget.room()
    yield from iso.read(source.read(0, min(room, source.size)), label, budget)
    if source.size > room:
        shut = budget.over_room(room)
        yield Shut(shut.reason, shut.detail, label=label)


BARE: tuple[FileSystem, ...] = (
    FileSystem(_is_fat, fat.read, "FAT"),
    FileSystem(_is_ntfs, ntfs.read, "NTFS"),
    FileSystem(_has(3, b"EXFAT   "), exfat.read, "exFAT"),
    FileSystem(ext.looks_like_ext, ext.read, "ext"),
    FileSystem(apfs.looks_like_apfs, apfs.read, "APFS"),
    FileSystem(hfs.looks_like_hfs, hfs.read, "HFS+"),
    FileSystem(_has(0, squashfs.MAGIC), squashfs.read, "SquashFS"),
    FileSystem(_has(0, *squashfs.STRANGE), None, "SquashFS of another byte order"),
)
"""Also known without a partition table around them."""

_PARTITIONED: tuple[FileSystem, ...] = (
    *BARE,
    FileSystem(_has(3, b"-FVE-FS-"), None, "BitLocker", is_encrypted=True),
    FileSystem(_has(0, b"LUKS\xba\xbe"), None, "LUKS", is_encrypted=True),
    FileSystem(_has(3, b"ReFS\0\0\0\0"), None, "ReFS"),
    FileSystem(_is_iso, _read_iso, "ISO 9660"),
    FileSystem(_has(0, b"XFSB"), None, "XFS"),
    FileSystem(_has(0x10040, b"_BHRfS_M"), None, "Btrfs"),
    FileSystem(_has(536, b"LVM2"), None, "LVM"),
)


def bare(source: Source) -> FileSystem | None:
    """The file system that a disk without partitions is; None if it is none."""
    return next((known for known in BARE if known.looks_so(source)), None)


def has_table(first: bytes) -> bool:
    """Whether a first sector looks like a partition table."""
    return any(True for _ in _table(first)) and first[0] in (0x00, 0x33, 0xFA, 0xEB, 0xE9)


def has_apple_map(first: bytes, second: bytes) -> bool:
    """Whether two blocks begin as Apple's partition map."""
    return first[:2] == b"ER" and second[:2] == b"PM"


def read(source: Source, sector_bytes: int, budget: Budget) -> Contents:
    """The files of all partitions. Raises only Spent."""
    number = 0
    is_iso = _is_iso(source)  # then what it holds besides is told by another reader
    for number, window in enumerate(_partitions(source, sector_bytes, budget), 1):
        if not is_iso or (_known(window) is not None and not _is_iso(window)):
            yield from file_system(window, f"partition {number}", budget)
    if not number and _known(source) is not None:  # on a virtual disk, without partitions
        yield from file_system(source, "", budget)
        return
    first = source.read(0, sector_bytes)
    if not number and (any(first) or len(first) < min(sector_bytes, source.size)):
        yield Shut(Reason.UNSUPPORTED, "disk image: no partition that this release can open")


def opens(source: Source) -> bool:
    """Whether the files of this partition can be had."""
    found = _known(source)
    return found is not None and found.read is not None


def file_system(source: Source, label: str, budget: Budget) -> Contents:
    """The files of one partition. Raises only Spent."""
    found = _known(source)
    if found is not None and found.read is not None:
        yield from found.read(source, label, budget)
    elif found is not None and found.is_encrypted:
        yield Shut(Reason.ENCRYPTED, f"disk image: encrypted by {found.what}", label=label)
    elif found is not None or any(source.read(0, 512)):
        what = found.what if found is not None else "a file system"
        why = f"disk image: {what}, which this release cannot open"
        yield Shut(Reason.UNSUPPORTED, why, label=label)


def _known(source: Source) -> FileSystem | None:
    return next((known for known in _PARTITIONED if known.looks_so(source)), None)


def _partitions(source: Source, sector: int, budget: Budget) -> Iterator[Source]:
    if bare(source) is not None:
        yield source
        return
    first = source.read(0, 512)
    if has_apple_map(first, source.read(512, 2)):
        yield from _apple(source)
        return
    for kind, start, count in _table(first):
        if kind == _PROTECTIVE:
            yield from _gpt(source, sector)
        elif kind in _EXTENDED:
            yield from _logical(source, start, sector, budget)
        else:
            yield Window(source, start * sector, count * sector)


def _table(first: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, first sector, sectors."""
    if first[510:512] != b"\x55\xaa":
        return
    for at in range(446, 510, _PARTITION.size):
        active, kind, start, count = _PARTITION.unpack_from(first, at)
        if kind and start and count and active in (0, 0x80):
            yield kind, start, count


def _apple(source: Source) -> Iterator[Source]:
    """An Apple partition map, in blocks of 512 bytes whatever it says (TN2166)."""
    entries = 1
    for number in range(1, _APPLE_MAX):
        if number > entries:
            return
        raw = source.read(number * 512, 512)
        if raw[:2] != b"PM":
            return
        entries, start, count = struct.unpack_from(">LLL", raw, 4)
        if not raw[48:80].startswith(_APPLE_OWN):
            yield Window(source, start * 512, count * 512)


def _logical(source: Source, first: int, sector: int, budget: Budget) -> Iterator[Source]:
    """Partitions of an extended one: each table has one, and where the next table is."""
    at, seen = first, set[int]()
    while at not in seen and len(seen) < _LOGICAL_MAX:
        budget.check_time()
        seen.add(at)
        following = at
        for kind, start, count in _table(source.read(at * sector, 512)):
            if kind in _EXTENDED:
                following = first + start
            else:
                yield Window(source, (at + start) * sector, count * sector)
        at = following


def _gpt(source: Source, sector: int) -> Iterator[Source]:
    header = source.read(sector, 512)
    if not header.startswith(b"EFI PART") and sector == 512:
        sector = 4096
        header = source.read(sector, 512)
    if not header.startswith(b"EFI PART") or len(header) < 92:
        return
    table, count, size = struct.unpack_from("<QLL", header, 72)
    if not 128 <= size <= 4096:
        return
    for number in range(min(count, _GPT_MAX)):
        entry = source.read(table * sector + number * size, 128)
        if len(entry) == 128 and any(entry[:16]):
            start, last = struct.unpack_from("<QQ", entry, 32)
            if start <= last:
                yield Window(source, start * sector, (last - start + 1) * sector)
