"""Small programs that run nowhere, built field by field: what examples are put into."""

import struct
from collections.abc import Sequence

PE_HEADERS = 0x400
SECTION_BYTES = 0x200


def pe(
    sections: Sequence[bytes] = (b"code", b"data"),
    *,
    entry: int = 0x1004,
    address: int = 0x1000,
    file_alignment: int = 0x200,
    spacing: int = 0x1000,
    count: int | None = None,
    overlay: bytes = b"",
) -> bytes:
    """A PE file whose sections follow each other, each padded to 0x200 bytes, and
    ``spacing`` apart in memory."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    header = b"PE\0\0" + struct.pack(
        "<HHIIIHH", 0x14C, len(sections) if count is None else count, 0, 0, 0, 224, 0x102
    )
    optional = struct.pack("<HBBIIIIIIIII", 0x10B, 9, 0, 0x200, 0, 0, entry, 0x1000, 0x2000,
                           0x400000, 0x1000, file_alignment)  # fmt: skip
    optional += struct.pack("<HHHHHHIIIIHH", 4, 0, 0, 0, 4, 0, 0, 0x10000, PE_HEADERS, 0, 3, 0)
    optional = (optional + struct.pack("<IIIIII", 0, 0, 0, 0, 0, 16)).ljust(224, b"\0")
    table, body = b"", b""
    for i, content in enumerate(sections):
        size = -(-len(content) // SECTION_BYTES) * SECTION_BYTES
        table += struct.pack("<8sIIIIIIHHI", b".s%d" % i, len(content), address + spacing * i, size,
                             PE_HEADERS + len(body), 0, 0, 0, 0, 0x60000020)  # fmt: skip
        body += content.ljust(size, b"\0")
    return (dos.ljust(0x80, b"\0") + header + optional + table).ljust(PE_HEADERS, b"\0") + (
        body + overlay
    )


def with_version(strings: Sequence[tuple[str, str]], code: bytes = b"code") -> bytes:
    """A PE file with version information: its keys and values, for one language."""
    tables = [_block(key, _wide(value) + b"\0\0", words=len(value) + 1) for key, value in strings]
    info = _block("StringFileInfo", children=[_block("040904b0", children=tables)])
    fixed = struct.pack("<13I", 0xFEEF04BD, 0x10000, 0, 0, 0, 0, 0, 0x3F, 0, 4, 1, 0, 0)
    version = _block("VS_VERSION_INFO", fixed, [info], words=len(fixed))
    # Resources: of a type (16: versions), with a name, in a language.
    resources = _directory(16, 0x80000018) + _directory(1, 0x80000030) + _directory(0x409, 0x48)
    resources += struct.pack("<IIII", 0x2060, len(version), 0, 0)
    resources = resources.ljust(0x60, b"\0") + version
    data = bytearray(pe((code, resources)))
    struct.pack_into("<II", data, 0x80 + 24 + 96 + 16, 0x2000, len(resources))
    return bytes(data)


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le")


def _block(key: str, value: bytes = b"", children: Sequence[bytes] = (), words: int = 0) -> bytes:
    body = _padded(bytes(6) + _wide(key) + b"\0\0") + value
    for child in children:
        body = _padded(body) + child
    return struct.pack("<HHH", len(body), words, not children) + body[6:]


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _directory(identifier: int, points_to: int) -> bytes:
    return struct.pack("<12xHHII", 0, 1, identifier, points_to)


def elf(content: bytes = b"code", *, entry: int = 0x8000100, wide: bool = False) -> bytes:
    """An ELF program of one segment that maps the file at 0x8000000, and two sections."""
    at = 0x100
    sections_at = at + len(content)
    head = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + b"\0" * 9
    address = "Q" if wide else "I"
    sizes = (64, 56, 1, 64, 2, 0) if wide else (52, 32, 1, 40, 2, 0)
    head += struct.pack("<HHI" + address * 3 + "IHHHHHH", 2, 3, 1, entry, sizes[0], sections_at, 0,
                        *sizes)  # fmt: skip
    length = at + len(content)
    if wide:
        head += struct.pack("<IIQQQQQQ", 1, 5, 0, 0x8000000, 0x8000000, length, length, 0x1000)
        section = "<IIQQQQ16x"
    else:
        head += struct.pack("<IIIIIIII", 1, 0, 0x8000000, 0x8000000, length, length, 5, 0x1000)
        section = "<IIIIII16x"
    empty = struct.pack(section, 0, 0, 0, 0, 0, 0)
    text = struct.pack(section, 1, 1, 6, 0x8000000 + at, at, len(content)).ljust(
        64 if wide else 40, b"\0"
    )
    return head.ljust(at, b"\0") + content + empty.ljust(64 if wide else 40, b"\0") + text


def macho(content: bytes = b"code", *, entry: int = 0x2000) -> bytes:
    """A 32-bit Mach-O program of one segment with one section, beginning to run at ``entry``."""
    at = 0x200
    section = struct.pack("<16s16sIIIIIIIII", b"__text", b"__TEXT", 0x2000, len(content), at,
                          0, 0, 0, 0, 0, 0)  # fmt: skip
    segment = struct.pack("<II16sIIIIiiII", 1, 56 + 68, b"__TEXT", 0x2000, 0x1000, at,
                          len(content), 7, 5, 1, 0)  # fmt: skip
    thread = struct.pack("<IIII", 5, 16 + 64, 1, 16) + struct.pack("<10I", *[0] * 10)
    thread += struct.pack("<6I", entry, 0, 0, 0, 0, 0)
    head = struct.pack("<4sIIIIII", b"\xce\xfa\xed\xfe", 7, 3, 2, 2,
                       len(segment) + 68 + len(thread), 0)  # fmt: skip
    return (head + segment + section + thread).ljust(at, b"\0") + content
