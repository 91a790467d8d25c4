"""InstallShield's ``setup.exe``: the files behind the program, cabinets put together.

There are three ways: records of text in front of each file (up to version 15, in one or two bytes a
letter), and two kinds of table whose files are hidden by their names (``InstallShield`` and
``ISSetupStream``) and often packed. Layout: the notes in ISx, which unpacks them.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import installshield_cabinet as cabinet
from mailward.scan.containers.inflate import Inflated, deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import portable
from mailward.scan.verdict import Reason

_TABLE = re.compile(rb"(?:InstallShield|ISSetupStream)\0")
_STREAM = b"ISSetupStream\0"
_HEADER = struct.Struct("<14sHL26x")
_ENTRY = struct.Struct("<260sL4xL8xH30x")
_STREAM_ENTRY = struct.Struct("<LL2xL8xH")
_KINDS_MAX = 4
_LONGER_ENTRIES = 4
"""The kind of a stream whose entries have a second record of the same size."""
_BY_BLOCK, _HIDDEN = 4, 6
"""Flags of an entry: hidden in blocks of 1024 bytes; hidden at all."""
_FLAGS_MAX = 15
_BLOCK = 1024
_KEY = b"\x13\x35\x86\x07"
_SWAPPED = bytes((b << 4 & 0xF0 | b >> 4) ^ 0xFF for b in range(256))
_STEP = 1024 * _BLOCK
_NAME_MAX = 260
_SEARCH_BYTES = 4096
"""Of what is behind the program: a note of the compiler can be in front of the table."""
_TEXTS = (
    re.compile(rb"([ -\xfe]{1,259})\0([ -\xfe]{1,259})\0([0-9.]{1,31})\0(\d{1,10})\0"),
    re.compile(
        rb"((?:[^\0]\0|.[^\0]){1,259})\0\0((?:[^\0]\0|.[^\0]){1,259})\0\0"
        rb"((?:[0-9.]\0){1,31})\0\0((?:\d\0){1,10})\0\0",
        re.DOTALL,
    ),
)
"""Name, path, version and size; in one byte a letter and in two."""
_COUNT_BYTES = 4
"""In front of records in two bytes a letter."""
_ZLIB_HEADER_BYTES = 2


@dataclass(frozen=True, slots=True)
class Installer:
    """Where the files of one begin."""

    at: int
    wide: bool = False
    kind: int | None = None
    """Of a table; None if there are records of text."""
    count: int = 0
    is_stream: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    """Empty: what is left behind all files, usually the program's signature."""
    content: memoryview
    size: int
    """As the installer says."""
    key: bytes = b""
    flags: int = 0
    packed: bool = False


def find(data: bytes) -> Installer | None:
    """What is behind a Windows program; None if no installer is."""
    program = portable.read(data)
    end = program.sections_end(len(data)) if program is not None else 0
    if not 0 < end < len(data):
        return None
    for table in _TABLE.finditer(data, end, end + _SEARCH_BYTES):
        if table.start() + _HEADER.size <= len(data):
            magic, count, kind = _HEADER.unpack_from(data, table.start())
            if count and kind <= _KINDS_MAX:
                start = table.start() + _HEADER.size
                return Installer(start, kind=kind, count=count, is_stream=magic == _STREAM)
    if _is_record(_TEXTS[0].match(data, end), wide=False):
        return Installer(end)
    if _is_record(_TEXTS[1].match(data, end + _COUNT_BYTES), wide=True):
        return Installer(end + _COUNT_BYTES, wide=True)
    return None


def _is_record(found: "re.Match[bytes] | None", *, wide: bool) -> bool:
    """Honest ones end their path with the name."""
    if found is None:
        return False
    name, path = _decode(found[1], wide=wide), _decode(found[2], wide=wide)
    return path.lower().endswith(name.lower())


def read(data: bytes, installer: Installer, budget: Budget) -> Contents:
    """The files; those of cabinets beside them. Raises only Spent."""
    cabinets: dict[tuple[str, str], list[cabinet.Cabinet]] = defaultdict(list)
    entries = _texts(data, installer) if installer.kind is None else _table(data, installer)
    found = 0
    for entry in entries:
        budget.check_time()
        if isinstance(entry, Shut):
            yield entry
            continue
        if not entry.path:
            yield Piece(bytes(entry.content[: budget.room() + 1]), Role.MEMBER, label="behind")
            continue
        found += 1
        done = _content(entry, budget)
        folder, _, name = entry.path.replace("\\", "/").rpartition("/")
        is_cabinet = cabinet.MAGIC.match(done.data) is not None
        if is_cabinet:
            stem = name.rpartition(".")[0].rstrip("0123456789").lower()
            cabinets[folder, stem].append(cabinet.Cabinet(name, done.data))
        yield Piece(done.data, Role.MEMBER, name, is_sealed=is_cabinet)
        shut = done.shut
        if shut is None and len(entry.content) < entry.size:
            shut = Shut(Reason.MALFORMED, "truncated: it ends behind the installer")
        if shut is not None:
            yield replace(shut, name=name)
    if installer.count > found:
        why = f"truncated: {installer.count - found} files of the installer are not there"
        yield Shut(Reason.MALFORMED, why)
    for (_, stem), together in cabinets.items():
        for inner in cabinet.read_set(together, budget):
            yield replace(inner, label=stem)


def _texts(data: bytes, installer: Installer) -> Iterator[_File | Shut]:
    at = installer.at
    while found := _TEXTS[installer.wide].match(data, at):
        size = int(_decode(found[4], wide=installer.wide))
        content = memoryview(data)[found.end() : found.end() + size]
        yield _File(_decode(found[2], wide=installer.wide), content, size)
        at = found.end() + size
    if at < len(data):
        yield _File("", memoryview(data)[at:], 0)


def _decode(raw: bytes, *, wide: bool) -> str:
    return raw.decode("utf-16-le", "replace") if wide else encodings.text(raw)


def _table(data: bytes, installer: Installer) -> Iterator[_File | Shut]:
    at = installer.at
    for _ in range(installer.count):
        try:
            if installer.is_stream:
                name_bytes, flags, size, packed = _STREAM_ENTRY.unpack_from(data, at)
                at += _STREAM_ENTRY.size * (2 if installer.kind == _LONGER_ENTRIES else 1)
                if not 0 < name_bytes < 2 * _NAME_MAX or at + name_bytes > len(data):
                    break
                path = data[at : at + name_bytes].decode("utf-16-le", "replace")
                path = path.partition("\0")[0].lstrip("\ufeff")
                key = path.encode("utf-8", "replace")
                at += name_bytes
            else:
                raw, flags, size, packed = _ENTRY.unpack_from(data, at)
                at += _ENTRY.size
                key = raw.partition(b"\0")[0]
                path = encodings.text(key)
        except struct.error:
            break
        if not key or flags > _FLAGS_MAX:
            yield Shut(Reason.MALFORMED, "the installer's table of files is damaged")
            break
        content = memoryview(data)[at : at + size]
        yield _File(path, content, size, key, flags, bool(packed))
        at += size
    if at < len(data):
        yield _File("", memoryview(data)[at:], 0)


def _content(file: _File, budget: Budget) -> Inflated:
    """In plain, and unpacked. Raises only Spent."""
    room = budget.room()
    hidden = file.content if file.packed else file.content[: room + 1]
    ways = [_BLOCK, len(hidden)] if file.flags & _BY_BLOCK else [len(hidden), _BLOCK]
    if not file.flags & _HIDDEN:
        ways = [0]
    elif file.packed:
        ways.append(0)
    if not file.packed:
        return Inflated(_show(hidden, file.key, ways[0]), len(hidden))
    # What is packed says itself which way is right.
    for way in ways:
        if _is_zlib(_show(hidden[:_ZLIB_HEADER_BYTES], file.key, way)):
            plain = memoryview(_show(hidden, file.key, way))
            return inflate(deflate, plain[_ZLIB_HEADER_BYTES:], budget)
    why = "the installer's file is packed in a way that is not known"
    return Inflated(bytes(hidden[: room + 1]), len(hidden), Shut(Reason.UNSUPPORTED, why))


def _is_zlib(start: bytes) -> bool:
    return (
        len(start) == _ZLIB_HEADER_BYTES
        and start[0] & 0xF == 8
        and not (int.from_bytes(start, "big") % 31)
    )


def _show(hidden: memoryview, key: bytes, block: int) -> bytes:
    """Bytes whose halves are swapped and that are turned by a key, which begins anew each block."""
    if not block:
        return bytes(hidden)
    turned = bytes(k ^ _KEY[n % len(_KEY)] for n, k in enumerate(key))
    if block == _BLOCK:
        turned = (turned * (_BLOCK // len(turned) + 1))[:_BLOCK]
    step = max(1, _STEP // len(turned)) * len(turned)
    pad = turned * (min(step, len(hidden)) // len(turned) + 1)
    out = bytearray()
    for at in range(0, len(hidden), step):
        piece = bytes(hidden[at : at + step]).translate(_SWAPPED)
        mask = int.from_bytes(pad[: len(piece)], "little")
        out += (int.from_bytes(piece, "little") ^ mask).to_bytes(len(piece), "little")
    return bytes(out)
