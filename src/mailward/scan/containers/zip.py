"""Zip archives, read as tolerantly as the programs that open them (PKWARE APPNOTE.TXT 6.3).

The central directory says what there is. Local headers that it does not mention, or all of them
when it is damaged, are read as well: programs differ in which of the two they believe.
"""

import bz2
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive, zip_crypto, zip_legacy
from mailward.scan.containers.inflate import (
    Decompressor,
    Inflated,
    deflate,
    deflate64,
    inflate,
    inflate_frames,
    lzma_raw,
    xz,
)
from mailward.scan.containers.recognised import COMPOUND_FILE
from mailward.scan.contents import Ambiguous, Contents, Found, Listed, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Doubt, Reason

LOCAL = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_END = b"PK\x05\x06"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_CENTRAL_HEADER = struct.Struct("<4s6H3L5H2L")
_END_RECORD = struct.Struct("<4s4H2LH")
_END64_RECORD = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_ANY_RECORD = re.compile(rb"PK(\x03\x04|\x01\x02|\x07\x08|\x05\x06)")
_END_SEARCH_BYTES = _END_RECORD.size + 0xFFFF
"""An end record and the longest comment behind it."""

_ENCRYPTED, _HAS_DESCRIPTOR, _UTF8 = 1, 1 << 3, 1 << 11
_LZMA_END_MARKER = 1 << 1
_UNKNOWN = 0xFFFFFFFF
_STRONG_ENCRYPTION = 1 << 6
_AES = 99
_IN_FRAMES = (20, 93, 95)
"""Zstandard (once 20) and xz, of which several in a row are one file."""
_METHODS = {18: "TERSE", 94: "MP3", 96: "JPEG", 97: "WavPack"}


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    packed_bytes: int | None
    """None if only the data itself tells."""
    plain_bytes: int
    offset: int
    """Of the local header."""
    crc: int
    time: int
    """As MS-DOS has it: its upper byte can be what a password is checked against."""
    extra: bytes


def looks_like_zip(data: bytes) -> bool:
    """Whether it starts as a zip, or ends as one (self-extracting, or glued to something else)."""
    if data.startswith((LOCAL, _END, b"PK00PK", b"PK\x07\x08PK\x03\x04")):
        return True
    if data.startswith(COMPOUND_FILE):
        return False  # Office keeps zips in pieces in there
    end = _find_end(data)
    return end is not None and next(_central_directory(data, end), None) is not None


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The members. Encrypted ones are shut, the others are read all the same. Raises only Spent."""
    end = _find_end(data)
    seen: list[tuple[int, int]] = []
    used = 0
    listed = _central_directory(data, end) if end is not None else iter(())
    for entry in listed:
        start, stop, found = _open(data, entry, budget)
        yield from found
        other = _other_reading(data, entry)
        if other is not None:
            yield Ambiguous(Doubt.HEADER, "its own header says otherwise", entry.name)
            _, other_stop, found = _open(data, other, budget)
            yield from found
            stop = max(stop, other_stop)
        seen.append((start, stop))
        used += stop - start
        if used > len(data):
            yield Shut(Reason.MALFORMED, "its members overlap, as in a zip bomb")
            return
    unlisted = _unlisted(data, sorted(seen), budget)
    first = next(unlisted, None)
    if first is not None:
        yield Shut(Reason.MALFORMED, "its directory is damaged or does not list every member")
        yield from first
        for found in unlisted:
            yield from found
    elif not seen and (end is None or end.count):
        yield Shut(Reason.MALFORMED, "no directory and no members can be read")


def listed(data: bytes) -> Iterator[Listed]:
    """What the directory says, and where a member's own header says otherwise, that as well."""
    end = _find_end(data)
    for position, entry in enumerate(_central_directory(data, end) if end is not None else (), 1):
        yield _as_listed(entry, position)
        other = _other_reading(data, entry)
        if other is not None:
            yield _as_listed(other, position)


def _as_listed(entry: _Entry, position: int) -> Listed:
    encrypted = bool(entry.flags & _ENCRYPTED)
    size, packed = entry.plain_bytes, entry.packed_bytes
    return Listed(entry.name, size, packed, encrypted, position, entry.crc)


@dataclass(frozen=True, slots=True)
class _End:
    count: int
    start: int
    stop: int
    shift: int
    """How far everything lies behind where it says it is: bytes in front of the archive."""


def _find_end(data: bytes) -> _End | None:
    at = data.rfind(_END, max(0, len(data) - _END_SEARCH_BYTES))
    if at < 0 or len(data) - at < _END_RECORD.size:
        return None
    _, _, _, _, count, size, offset, _ = _END_RECORD.unpack_from(data, at)
    stop = at
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and data.startswith(b"PK\x06\x07", locator):
        record = data.rfind(b"PK\x06\x06", 0, locator)
        if record >= 0 and record + _END64_RECORD.size <= locator:
            *_, count, size, offset = _END64_RECORD.unpack_from(data, record)
            stop = record
    start = stop - size
    if start < 0 or (size and not data.startswith(_CENTRAL, start)):
        start = offset  # there is something between directory and end record
    return _End(count, start, stop, max(0, start - offset))


def _central_directory(data: bytes, end: _End) -> Iterator[_Entry]:
    at = end.start
    while at + _CENTRAL_HEADER.size <= end.stop and data.startswith(_CENTRAL, at):
        (_, _, _, flags, method, time, _, crc, packed, plain, name_bytes, extra_bytes,
         comment_bytes, _, _, _, offset) = _CENTRAL_HEADER.unpack_from(data, at)  # fmt: skip
        at += _CENTRAL_HEADER.size
        name = data[at : at + name_bytes]
        extra = data[at + name_bytes : at + name_bytes + extra_bytes]
        plain, packed, offset = _zip64(extra, plain, packed, offset)
        at += name_bytes + extra_bytes + comment_bytes
        offset += end.shift
        yield _Entry(_decode(name, flags), flags, method, packed, plain, offset, crc, time, extra)


def _zip64(extra: bytes, *values: int) -> list[int]:
    """The 32-bit fields that are full are given again with 64 bits, in this order."""
    result = list(values)
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 1:
            for i, value in enumerate(result):
                if value == _UNKNOWN and len(field) >= 8:
                    result[i], field = int.from_bytes(field[:8], "little"), field[8:]
    return result


def _open(data: bytes, entry: _Entry, budget: Budget) -> tuple[int, int, list[Found]]:
    """From where to where a member reaches, and what came of it."""
    start = entry.offset
    if start + _LOCAL_HEADER.size > len(data) or not data.startswith(LOCAL, start):
        problem = Shut(Reason.MALFORMED, "it is not where the directory says", entry.name)
        return start, start, [problem]
    *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(data, start)
    body = start + _LOCAL_HEADER.size + name_bytes + extra_bytes
    stop = len(data) if entry.packed_bytes is None else body + entry.packed_bytes
    packed = memoryview(data)[body:stop]
    if entry.name.endswith(("/", "\\")) and not entry.plain_bytes and not packed:
        budget.count_part(0)  # or millions of folders would cost nothing but time
        return start, stop, []
    found: list[Found] = []
    if stop > len(data):
        found.append(Shut(Reason.MALFORMED, "truncated: it ends behind the archive", entry.name))
    if entry.flags & _ENCRYPTED:
        return start, stop, found + _decrypt(entry, packed, budget)
    inflated = _unpack(entry, entry.method, packed, budget)
    if entry.packed_bytes is None:
        stop = body + inflated.used
    found += _as_found(inflated, entry)
    declared = entry.plain_bytes
    if inflated.shut is None and 0 < declared < len(inflated.data) and declared != _UNKNOWN:
        found.append(Ambiguous(Doubt.HEADER, "it is longer than declared", entry.name))
        found.append(Piece(inflated.data[:declared], Role.MEMBER, entry.name))
    return start, stop, found


def _other_reading(data: bytes, entry: _Entry) -> _Entry | None:
    """A member as its local header has it, if that is another file or another way to read it."""
    own = _local_entry(data, entry.offset) if data.startswith(LOCAL, entry.offset) else None
    if own is None:
        return None
    same_name = own.name.replace("\\", "/") == entry.name.replace("\\", "/")
    same_way = (own.method, own.flags & _ENCRYPTED) == (entry.method, entry.flags & _ENCRYPTED)
    same_size = own.flags & _HAS_DESCRIPTOR or own.packed_bytes == entry.packed_bytes
    return None if same_name and same_way and same_size else own


def _as_found(inflated: Inflated, entry: _Entry) -> list[Found]:
    shut = inflated.shut
    if shut is None:
        return [Piece(inflated.data, Role.MEMBER, entry.name)]
    said = Shut(shut.reason, shut.detail, entry.name)
    if shut.reason is Reason.UNSUPPORTED:
        return [said]
    return [Piece(inflated.data, Role.MEMBER, entry.name), said]


def _unpack(entry: _Entry, method: int, packed: memoryview, budget: Budget) -> Inflated:
    match method:
        case 0:
            return Inflated(bytes(packed), len(packed))
        case 1:
            return zip_legacy.unshrink(packed, entry.plain_bytes, budget)
        case 2 | 3 | 4 | 5:
            return zip_legacy.expand(packed, entry.plain_bytes, method, budget)
        case 10:
            return zip_legacy.unpack_library(packed, entry.plain_bytes, budget)
        case 6:
            return zip_legacy.explode(packed, entry.plain_bytes, entry.flags, budget)
        case 98:
            return _unpack_ppmd(entry, packed, budget)
    make = _decompressor(entry, method, packed)
    if make is None:
        called = _METHODS.get(method, f"method {method}")
        why = f"packed with {called}: this release cannot open it"
        return Inflated(b"", len(packed), Shut(Reason.UNSUPPORTED, why))
    if method in _IN_FRAMES and entry.packed_bytes is not None:
        return inflate_frames(make, packed, budget)
    skip = _lzma_header_bytes(packed) if method == 14 else 0
    inflated = inflate(make, packed[skip:], budget)
    return replace(inflated, used=inflated.used + skip)


def _unpack_ppmd(entry: _Entry, packed: memoryview, budget: Budget) -> Inflated:
    """By libarchive, in an archive that holds nothing else."""
    sizes = struct.pack("<LLL", entry.crc, len(packed), min(entry.plain_bytes, _UNKNOWN - 1))
    told = struct.pack("<HHHHH", 63, 0, 98, 0, 0x21) + sizes
    local = LOCAL + told + struct.pack("<HH", 1, 0) + b"a"
    central = _CENTRAL + b"\x3f\0" + told + struct.pack("<HHHHHLL", 1, 0, 0, 0, 0, 0, 0) + b"a"
    at = len(local) + len(packed)
    end = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, 1, 1, len(central), at, 0)
    archive = b"".join((local, packed, central, end))
    out, shut = b"", None
    for found in libarchive.read(libarchive.ZIP_PPMD, archive, "", budget):
        if isinstance(found, Piece):
            out = found.data
        elif isinstance(found, Shut):
            shut = Shut(found.reason, found.detail)
    damaged = shut is not None and shut.reason is Reason.MALFORMED
    return Inflated(out, len(packed), shut, damaged=damaged)


def _decrypt(entry: _Entry, packed: memoryview, budget: Budget) -> list[Found]:
    """With the passwords that the message gives."""
    shut = Shut(Reason.ENCRYPTED, "encrypted archive member", entry.name)
    aes = zip_crypto.aes_field(entry.extra) if entry.method == _AES else None
    if entry.flags & _STRONG_ENCRYPTION or (entry.method == _AES and aes is None):
        return [shut]
    method = entry.method if aes is None else aes[1]
    check = (entry.time if entry.flags & _HAS_DESCRIPTOR else entry.crc >> 16) >> 8
    for password in budget.passwords.candidates():
        budget.check_time()
        if aes is not None:
            plain = zip_crypto.aes(packed, password.encode(), aes[0])
        else:
            plain = zip_crypto.zip_crypto(packed, password.encode(), check, budget)
        if plain is None:
            continue
        inflated = _unpack(entry, method, memoryview(plain), budget)
        wrong = inflated.damaged or (entry.crc and zlib.crc32(inflated.data) != entry.crc)
        if aes is None and wrong and (inflated.shut is None or inflated.damaged):
            continue  # one in 256 wrong passwords passes the check
        budget.passwords.worked(password)
        return [Unlocked(entry.name), *_as_found(inflated, entry)]
    return [shut]


def _decompressor(
    entry: _Entry, method: int, packed: memoryview
) -> Callable[[], Decompressor] | None:
    match method:
        case 8:
            return deflate
        case 9:
            return deflate64
        case 12:
            return bz2.BZ2Decompressor
        case 14:
            size = None if entry.flags & _LZMA_END_MARKER else entry.plain_bytes
            return partial(lzma_raw, bytes(packed[4:9]), size)
        case 20 | 93:
            return zstd.ZstdDecompressor
        case 95:
            return xz
    return None


def _lzma_header_bytes(packed: memoryview) -> int:
    """Version (2), size of the properties (2), properties."""
    return 4 + int.from_bytes(packed[2:4], "little")


def _unlisted(data: bytes, seen: list[tuple[int, int]], budget: Budget) -> Iterator[list[Found]]:
    """Members whose local headers lie in none of the ranges ``seen``."""
    at = 0
    ranges = iter([*seen, (len(data), len(data))])
    start, stop = next(ranges)
    while (at := data.find(LOCAL, at)) >= 0:
        while at >= stop and stop < len(data):
            start, stop = next(ranges)
        if start <= at < stop:
            at = stop
            continue
        entry = _local_entry(data, at)
        if entry is None:
            at += len(LOCAL)
            continue
        _, end, found = _open(data, entry, budget)
        yield found
        at = max(end, at + len(LOCAL))


def _local_entry(data: bytes, at: int) -> _Entry | None:
    if at + _LOCAL_HEADER.size > len(data):
        return None
    (_, version, flags, method, time, _, crc, packed, plain, name_bytes, extra_bytes) = (
        _LOCAL_HEADER.unpack_from(data, at)
    )
    named = at + _LOCAL_HEADER.size
    body = named + name_bytes + extra_bytes
    name = data[named : named + name_bytes]
    if version & 0xFF > 63 or method > 99 or not name or b"\0" in name or body > len(data):
        return None  # four bytes that happen to look like one
    extra = data[named + name_bytes : body]
    plain, packed = _zip64(extra, plain, packed)
    size: int | None = packed
    if flags & _HAS_DESCRIPTOR and not packed:
        size = _bytes_to_next(data, body) if method == 0 else None
    return _Entry(_decode(name, flags), flags, method, size, plain, at, crc, time, extra)


def _bytes_to_next(data: bytes, body: int) -> int:
    found = _ANY_RECORD.search(data, body)
    return (found.start() if found else len(data)) - body


def _decode(name: bytes, flags: int) -> str:
    if flags & _UTF8:
        return name.decode("utf-8", "replace")
    try:
        return name.decode("utf-8")  # what most write nowadays without saying so
    except UnicodeDecodeError:
        return name.decode("cp437")
