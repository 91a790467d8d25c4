"""Disk images, made byte by byte."""

import struct

from mailward.testing import EICAR

SECTOR = 512


def fat12(name: bytes = b"EICAR   COM", content: bytes = EICAR) -> bytes:
    """One file in the root of the smallest of FATs: a cluster is a sector."""
    clusters = -(-len(content) // SECTOR)
    boot = b"\xeb\x3c\x90MSDOS5.0" + struct.pack("<HBHBHHBH", SECTOR, 1, 1, 1, 16, 64, 0xF8, 1)
    boot = boot.ljust(54, b"\0") + b"FAT12   "
    boot = boot.ljust(510, b"\0") + b"\x55\xaa"
    numbers = [0xFF8, 0xFFF, *range(3, 2 + clusters), 0xFFF]
    numbers += [0] * (len(numbers) % 2)
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    table = b"".join((low | high << 12).to_bytes(3, "little") for low, high in pairs)
    entry = name + b"\x20" + bytes(14) + struct.pack("<HL", 2, len(content))
    root = entry.ljust(16 * 32, b"\0")
    data = content.ljust(60 * SECTOR, b"\0")
    return boot + table.ljust(SECTOR, b"\0") + root + data


def partitioned(image: bytes) -> bytes:
    """Behind a master boot record, from sector 8 on."""
    entry = struct.pack("<B3xB3xLL", 0x80, 1, 8, len(image) // SECTOR)
    record = b"\xfa".ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"
    return record.ljust(8 * SECTOR, b"\0") + image
