"""Files of the kinds that attackers use, made by hand and inert: headers with nothing behind."""

import struct
import uuid
from collections.abc import Mapping

SECTOR = 512
_END, _FAT_SECTOR, _FREE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def pe(size: int = 1024) -> bytes:
    """A program for Windows without code (PE/COFF specification, sections 2 and 3)."""
    dos = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    stub = b"\x0e\x1f\xba\x0e\0\xb4\x09\xcd\x21".ljust(0x40, b"\0")
    header = b"PE\0\0" + struct.pack("<HHIIIHHH", 0x8664, 0, 0, 0, 0, 0xF0, 0x22, 0x20B)
    return (dos + stub + header).ljust(size, b"\0")


def elf() -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHI", 2, 62, 1) + bytes(40)


def mach_o() -> bytes:
    return struct.pack("<IIIIIIII", 0xFEEDFACF, 0x01000007, 3, 2, 0, 0, 0, 0)


def mach_o_fat() -> bytes:
    return struct.pack(">IIIIIII", 0xCAFEBABE, 1, 0x01000007, 3, 4096, 32, 12) + bytes(100)


def java_class() -> bytes:
    return struct.pack(">IHHH", 0xCAFEBABE, 0, 61, 10) + bytes(50)


def compound(
    streams: Mapping[str, bytes], root_class: str = "00000000-0000-0000-0000-000000000000"
) -> bytes:
    """A compound file ([MS-CFB], version 3), every stream padded to 4,096 bytes or more."""
    names = sorted(streams, key=lambda name: (len(name), name.upper()))
    contents = [streams[name].ljust(4096, b"\0") for name in names]
    counts = [-(-len(content) // SECTOR) for content in contents]
    directory_sectors = -(-(len(names) + 1) // 4)
    chains = [1, *range(2, directory_sectors + 1)]
    fat = [_FAT_SECTOR, *chains[1:], _END]
    starts = []
    for count in counts:
        starts.append(len(fat))
        fat += [*range(len(fat) + 1, len(fat) + count), _END]
    if len(fat) > 128:
        raise ValueError("one sector of allocation table is all there is")
    table = struct.pack("<128I", *(fat + [_FREE] * (128 - len(fat))))
    entries = [_entry("Root Entry", 5, 1 if names else _FREE, _FREE, _END, 0, root_class)]
    for number, name in enumerate(names):
        following = number + 2 if number + 1 < len(names) else _FREE
        entries.append(_entry(name, 2, _FREE, following, starts[number], len(contents[number])))
    directory = b"".join(entries).ljust(directory_sectors * SECTOR, b"\0")
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, _END, 0, _END, 0)
    header += struct.pack("<109I", 0, *[_FREE] * 108)
    padded = b"".join(
        content.ljust(count * SECTOR, b"\0")
        for content, count in zip(contents, counts, strict=True)
    )
    return header + table + directory + padded


def _entry(
    name: str, kind: int, child: int, right: int, start: int, size: int, class_id: str = ""
) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    identity = uuid.UUID(class_id).bytes_le if class_id else bytes(16)
    return (
        text.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(text), kind, 1, _FREE, right, child)
        + identity
        + struct.pack("<IQQIQ", 0, 0, 0, start, size)
    )


def vba_compressed(source: bytes) -> bytes:
    """[MS-OVBA] 2.4.1: chunks of at most 4,096 bytes, eight tokens to a flag byte."""
    out = b"\x01"
    for begin in range(0, len(source), 4096):
        data = _vba_chunk(source[begin : begin + 4096])
        out += struct.pack("<H", (len(data) + 2 - 3) | 0xB000) + data
    return out


def _vba_chunk(chunk: bytes) -> bytes:
    out, at = bytearray(), 0
    while at < len(chunk):
        flags, tokens = 0, b""
        for bit in range(8):
            if at >= len(chunk):
                break
            offset_bits = max(4, (at - 1).bit_length())
            longest, offset = _longest_match(chunk, at, (0xFFFF >> offset_bits) + 3)
            if longest >= 3:
                flags |= 1 << bit
                tokens += struct.pack("<H", (offset - 1) << (16 - offset_bits) | (longest - 3))
                at += longest
            else:
                tokens += chunk[at : at + 1]
                at += 1
        out += bytes([flags]) + tokens
    return bytes(out)


def _longest_match(chunk: bytes, at: int, limit: int) -> tuple[int, int]:
    longest, offset = 0, 0
    for candidate in range(at):
        length = 0
        while (
            at + length < len(chunk)
            and length < limit
            and chunk[candidate + length] == chunk[at + length]
        ):
            length += 1
        if length > longest:
            longest, offset = length, at - candidate
    return longest, offset


def shell_link(target: str, arguments: str = "") -> bytes:
    """A shortcut ([MS-SHLLINK] 2.1 and 2.4) with a relative path and arguments, in Unicode."""
    flags = 0x80 | 0x08 | (0x20 if arguments else 0)
    header = struct.pack("<I", 0x4C) + uuid.UUID("00021401-0000-0000-c000-000000000046").bytes_le
    header += struct.pack("<II", flags, 0x20) + bytes(24) + struct.pack("<III", 0, 0, 7) + bytes(12)
    texts = [target, arguments] if arguments else [target]
    return header + b"".join(
        struct.pack("<H", len(text)) + text.encode("utf-16-le") for text in texts
    )


def iso(members: Mapping[str, bytes], *, joliet: bool = False) -> bytes:
    """An ISO 9660 volume (ECMA-119) with one folder, whose names are plain or Joliet's."""
    sector = 2048
    first = 20
    records, contents = b"", b""
    for name, content in members.items():
        at = first + len(contents) // sector
        identifier = name.encode("utf-16-be") if joliet else f"{name.upper()};1".encode()
        records += _record(identifier, at, len(content))
        contents += content.ljust(-(-max(1, len(content)) // sector) * sector, b"\0")
    folder = _record(b"\0", 19, sector, 2) + _record(b"\1", 19, sector, 2) + records
    volume = (b"\x01CD001\x01".ljust(156, b"\0") + _record(b"\0", 19, sector, 2)).ljust(
        sector, b"\0"
    )
    supplementary = (b"\x02CD001\x01".ljust(88, b"\0") + b"%/E").ljust(156, b"\0")
    supplementary = (supplementary + _record(b"\0", 19, sector, 2)).ljust(sector, b"\0")
    end = b"\xffCD001\x01".ljust(sector, b"\0")
    return (
        bytes(16 * sector) + volume + supplementary + end + folder.ljust(sector, b"\0") + contents
    )


def _record(identifier: bytes, sector: int, size: int, flags: int = 0) -> bytes:
    both = struct.pack("<I", sector) + struct.pack(">I", sector)
    both += struct.pack("<I", size) + struct.pack(">I", size)
    data = b"\0" + both + bytes(7) + bytes([flags, 0, 0]) + b"\x01\0\0\x01"
    data += bytes([len(identifier)]) + identifier
    data += b"\0" * (len(data) % 2 == 0)
    return bytes([len(data) + 1]) + data


def udf(names: list[str], *, wide: bool = False) -> bytes:
    """What matters of a UDF volume (ECMA-167): its recognition sequence and file identifiers."""
    sequence = b"".join(
        (b"\0" + kind + b"\x01").ljust(2048, b"\0") for kind in (b"BEA01", b"NSR02", b"TEA01")
    )
    identifiers = b""
    for name in names:
        text = b"\x10" + name.encode("utf-16-be") if wide else b"\x08" + name.encode("latin-1")
        tag = struct.pack("<HHBBHHHI", 257, 2, 0, 0, 1, 0, 0, 300)
        identifiers += tag + struct.pack("<HBB", 1, 0, len(text)) + bytes(16) + b"\0\0" + text
        identifiers += bytes(-len(identifiers) % 4)
    return bytes(16 * 2048) + sequence + identifiers.ljust(4096, b"\0")


def fat_disk(name: str, content: bytes) -> bytes:
    """A diskette's file system with one file, its name in 8.3 (FAT specification, section 6)."""
    boot = b"\xeb\x3c\x90MSDOS5.0".ljust(510, b"\0") + b"\x55\xaa"
    stem, _, extension = name.upper().partition(".")
    entry = stem.ljust(8).encode() + extension.ljust(3).encode() + b"\x20\0"
    folder = entry.ljust(26, b"\0") + struct.pack("<HI", 2, len(content))
    return (boot + bytes(18 * SECTOR) + folder.ljust(SECTOR, b"\0") + content).ljust(163840, b"\0")


def vhd(disk: bytes) -> bytes:
    """A fixed virtual hard disk: the disk and a footer (Virtual Hard Disk Image Format)."""
    return disk + b"conectix".ljust(SECTOR, b"\0")


def ntfs_name(name: str) -> bytes:
    """A file name attribute of a master file table: length, name space, name."""
    return bytes(64) + bytes([len(name), 1]) + name.encode("utf-16-le") + b"\0\0"


def onenote(*embedded: bytes) -> bytes:
    """A OneNote section with files in it ([MS-ONESTORE] 2.3.1 and 2.6.13)."""
    header = uuid.UUID("7b5c52e4-d88c-4da7-aeb1-5378d02996d3").bytes_le
    guid = uuid.UUID("bde316e7-2665-4511-a4c4-8d4d0b7a9eac").bytes_le
    footer = uuid.UUID("71fba722-0f79-4a0b-bb13-899256426b24").bytes_le
    objects = b"".join(
        guid + struct.pack("<QIQ", len(data), 0, 0) + data + bytes(-len(data) % 8) + footer
        for data in embedded
    )
    return header.ljust(1024, b"\0") + objects + bytes(200)


def rtf(content: str) -> bytes:
    return (
        b"{\\rtf1\\ansi\\deff0{\\fonttbl{\\f0 Arial;}}\\pard Dear reader,\\par\n%s}"
        % content.encode()
    )


def pdf(*objects: str, catalog: str = "") -> bytes:
    """Objects are numbered from 10."""
    numbered = "".join(f"{n} 0 obj\n{text}\nendobj\n" for n, text in enumerate(objects, start=10))
    return (
        "%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R "
        f"{catalog} >>\nendobj\n2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n"
        "3 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 144] >>\nendobj\n"
        f"{numbered}trailer\n<< /Root 1 0 R >>\n%%EOF\n"
    ).encode("latin-1")
