"""Installers of Inno Setup made by hand: whole enough for innoextract to read them.

Layout: ``Shared.Struct.pas`` of Inno Setup in the versions that are named.
"""

import bz2
import hashlib
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
from cryptography.hazmat.primitives.ciphers import Cipher

_SUBBLOCK = 4096


@dataclass(frozen=True)
class Version:
    """What differs between versions."""

    name: str
    strings: tuple[int, ...]
    """Of the header: by turns texts, and strings of bytes."""
    lead_bytes: bool
    counts: int
    middle: int
    """Bytes between the counts and the number of slices."""
    between: int
    """Bytes between that and the way of packing."""
    behind: int
    """Bytes from there to the end, flags included."""
    file: tuple[int, int, int, int]
    """Of a file: texts, strings of bytes, bytes before Windows versions and behind its place."""
    digest: str
    offset_bytes: int = 4
    flag_bytes: int = 2
    icon_texts: int = 13
    images_counted: bool = True
    long_table: bool = False
    encryption: bool = False

    @property
    def wide(self) -> bool:
        """Whether its texts have two bytes a letter."""
        return not self.lead_bytes


V5_2 = Version("5.2.3", (13, 3, 7, 1, 4, 1), True, 16, 20 + 12 + 16 + 8 + 8, 5, 2 + 8 + 6,
               (9, 0, 0, 19), "md5", icon_texts=12, images_counted=False)  # fmt: skip
V5_5 = Version("5.5.7) (u", (28, 4), False, 16, 20 + 8 + 1 + 20 + 8 + 8, 5, 2 + 2 + 8 + 6,
               (10, 0, 0, 19), "sha1", images_counted=False)  # fmt: skip
V6_0 = Version("6.0.0) (u", (30, 4), False, 16, 20 + 8 + 9 + 1 + 20 + 8 + 8, 6, 12 + 6,
               (10, 0, 0, 19), "sha1")  # fmt: skip
V6_4 = Version("6.4.3", (33, 4), False, 16, 86, 6, 10 + 6, (10, 0, 0, 19), "sha256", flag_bytes=1)
V6_5 = Version("6.5.2", (34, 4), False, 17, 46, 6, 16, (15, 1, 33, 20), "sha256", offset_bytes=8,
               flag_bytes=1, long_table=True, encryption=True)  # fmt: skip
VERSIONS = {"5.2": V5_2, "5.5": V5_5, "6.0": V6_0, "6.4": V6_4, "6.5": V6_5}


def _lzma_1(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    return b"\x5d\0\0\1\0" + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def _lzma_2(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    return b"\x10" + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "stored": lambda data: data,
    "zlib": lambda data: zlib.compress(data),
    "bzip2": bz2.compress,
    "lzma1": _lzma_1,
    "lzma2": _lzma_2,
}
"""In the order of Inno Setup's numbers for them."""


def block(data: bytes, *, packed: bool = True) -> bytes:
    """Pieces with checksums behind a header with one."""
    stored = _lzma_1(data) if packed else data
    pieces = (stored[at : at + _SUBBLOCK] for at in range(0, len(stored), _SUBBLOCK))
    body = b"".join(struct.pack("<L", zlib.crc32(piece)) + piece for piece in pieces)
    head = struct.pack("<LB", len(body), packed)
    return struct.pack("<L", zlib.crc32(head)) + head + body


def with_calls(data: bytes, *, flips: bool) -> bytes:
    """Targets of calls made absolute, as the compiler of installers does (5.2 and later)."""
    out = bytearray(data)
    at = 0
    while at + 5 <= len(out):
        if out[at] not in (0xE8, 0xE9):
            at += 1
            continue
        if 0x10000 - at % 0x10000 < 5:
            at += 1
            continue
        if out[at + 4] in (0, 0xFF):
            target = int.from_bytes(out[at + 1 : at + 4], "little")
            if flips and target & 0x800000:
                out[at + 4] ^= 0xFF
            out[at + 1 : at + 4] = (target + at + 5 & 0xFFFFFF).to_bytes(3, "little")
        at += 5
    return bytes(out)


def _text(version: Version, text: str) -> bytes:
    raw = text.encode("utf-16-le" if version.wide else "cp1252")
    return struct.pack("<L", len(raw)) + raw


def _script(version: Version, names: Sequence[str], method: int) -> bytes:
    out = b"".join(
        _text(version, "Example") if not turn % 2 else struct.pack("<L", 4) + b"\0{a\xff"
        for turn, count in enumerate(version.strings)
        for _ in range(count)
    )
    if version.lead_bytes:
        out += bytes(32)
    counts = [0] * version.counts
    extra = version.counts - 16
    counts[6], counts[7 + extra], counts[8 + extra] = 1, len(names), len(names)
    counts[9 + extra] = 1
    out += struct.pack(f"<{version.counts}L", *counts)
    out += bytes(version.middle) + struct.pack("<L", 1) + bytes(version.between)
    out += bytes([method]) + bytes(version.behind)
    empty = _text(version, "")
    out += _text(version, r"{app}\folder") + empty * 6 + bytes(4 + 20 + 2 + 1)
    for number, name in enumerate(names):
        texts, strings, before, behind = version.file
        out += empty + _text(version, "{app}\\" + name) + empty * (texts - 2 + strings)
        out += bytes(before + 20) + struct.pack("<L", number) + bytes(behind)
    out += _text(version, r"{group}\Icon") + _text(version, r"{app}\a.exe")
    out += empty * (version.icon_texts - 2) + bytes(20 + 4 + 4 + 1 + 2 + 1)
    images = struct.pack("<L", 1) if version.images_counted else b""
    out += (images + struct.pack("<L", 0)) * 2
    if method in (1, 2):  # a library to unpack with
        out += struct.pack("<L", 3) + b"dll"
    return out


def _program(table: bytes) -> bytes:
    """With a resource."""
    rva, start = 0x1000, 0x400
    data_at = 88
    rsrc = struct.pack("<12xHH", 0, 1) + struct.pack("<LL", 10, 24 | 1 << 31)
    rsrc += struct.pack("<12xHH", 0, 1) + struct.pack("<LL", 11111, 48 | 1 << 31)
    rsrc += struct.pack("<12xHH", 0, 1) + struct.pack("<LL", 1033, 72)
    rsrc += struct.pack("<LLLL", rva + data_at, len(table), 0, 0) + table
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<L", 0x40)
    head += b"PE\0\0" + struct.pack("<HHLLLHH", 0x14C, 1, 0, 0, 0, 0xE0, 0x102)
    optional = struct.pack("<H", 0x10B).ljust(0x5C, b"\0") + struct.pack("<L", 16)
    head += (optional + bytes(16) + struct.pack("<LL", rva, len(rsrc))).ljust(0xE0, b"\0")
    head += struct.pack("<8sLLLL16x", b".rsrc", len(rsrc), rva, len(rsrc), start)
    return head.ljust(start, b"\0") + rsrc


def locked(packed: bytes, password: str, version: Version) -> bytes:
    salt = bytes(range(8))
    made = hashlib.new("md5" if version is V5_2 else "sha1", salt)
    made.update(password.encode("utf-16-le" if version.wide else "cp1252"))
    stream = Cipher(ARC4(made.digest()), mode=None).encryptor()
    stream.update(bytes(1000))
    return salt + stream.update(packed)


def inno(
    files: Mapping[str, bytes], version: Version = V6_0, *, method: str = "lzma2",
    solid: bool = True, calls: bool = False, password: str = "", elsewhere: bool = False,
) -> bytes:  # fmt: skip
    """``solid``: all files in one chunk."""
    plain: list[bytes] = list(files.values())
    if calls:
        plain = [with_calls(data, flips=version is not V5_2) for data in plain]
    groups = [plain] if solid else [[data] for data in plain]
    chunks, entries = b"", b""
    front = "<LLLQQQ" if version.offset_bytes == 4 else "<LLQQQQ"
    slim = version.digest == "sha256"
    flags = calls << (2 if slim else 4) | bool(password) << (3 if slim else 6)
    flags |= (method != "stored") << (4 if slim else 7)
    contents = iter(files.values())
    for group in groups:
        packed = PACKERS[method](b"".join(group))
        at = 0
        for data in group:
            digest = hashlib.new(version.digest, next(contents)).digest()
            entries += struct.pack(
                front, elsewhere, elsewhere, len(chunks), at, len(data), len(packed)
            )
            entries += digest + bytes(16) + flags.to_bytes(version.flag_bytes, "little")
            at += len(data)
        chunks += b"zlb\x1a" + (locked(packed, password, version) if password else packed)
    numbers = {"stored": 0, "zlib": 1, "bzip2": 2, "lzma1": 3, "lzma2": 4}
    mark = f"Inno Setup Setup Data ({version.name})".encode().ljust(64, b"\0")
    if version.encryption:
        head = bytes(49)
        mark += struct.pack("<L", zlib.crc32(head)) + head
    setup_0 = mark + block(_script(version, list(files), numbers[method])) + block(entries)
    engine = b"MZ the program that installs"
    table_bytes = 64 if version.long_table else 44
    first = len(_program(bytes(table_bytes)))
    setup_at = first + len(chunks)
    engine_at = setup_at + len(setup_0)
    total = engine_at + len(block(engine))
    if version.long_table:
        table = struct.pack(
            "<12sLQQLLQQ4x", b"rDlPtS\xcd\xe6\xd7\x7b\x0b\x2a", 2, total, engine_at, len(engine),
            zlib.crc32(engine), setup_at, 0 if elsewhere else first,
        )  # fmt: skip
    else:
        table = struct.pack(
            "<12s7L", b"rDlPtS\xcd\xe6\xd7\x7b\x0b\x2a", 1, total, engine_at, len(engine),
            zlib.crc32(engine), setup_at, 0 if elsewhere else first,
        )  # fmt: skip
    table += struct.pack("<L", zlib.crc32(table))
    return _program(table) + chunks + setup_0 + block(engine)
