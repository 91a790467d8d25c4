"""Blocks that macOS packs installers and Apple Archives in (``pbzx`` and its like), and the latter.

Each block is packed by itself; one as long as what it holds is plain. The archive is a header for
each file, of fields, and behind it the contents that the header names. Layouts: N. Rosenstein,
"pbzx stream parser"; S. Fullmer, libNeoAppleArchive.
"""

import struct
import zlib
from collections.abc import Iterator

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import apple_lzfse, lz4_block, stream
from mailward.scan.containers.inflate import ERRORS, xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

BLOCKS_START = rb"pbz[xez4\-]\0\0\0\0"
ARCHIVE_STARTS = rb"AA01|YAA1"
LZFSE_STARTS = rb"bvx[-12n]"

_BLOCKS_AT = 12
_BLOCK = struct.Struct(">QQ")
"""Size, packed size."""
_BLOCK_MAX_BYTES = 64 << 20
_LZ4_BLOCK, _LZ4_STORED = b"bv41", b"bv4-"
_ERRORS = (IndexError, struct.error, *ERRORS)
_MAGIC_BYTES = 4
_HEADER = struct.Struct("<4sH")
_NUMBERS = {b"1": 1, b"2": 2, b"4": 4, b"8": 8, b"S": 8, b"T": 12}
_HASHES = {b"F": 4, b"G": 20, b"H": 32, b"I": 48, b"J": 64}
_BLOBS = {b"A": 2, b"B": 4, b"C": 8}
_FIELD_BYTES = 4


def read_blocks(data: bytes, name: str, budget: Budget) -> Contents:
    """What is packed, a cpio archive or an Apple Archive. Raises only Spent."""
    out = bytearray()
    shut: Shut | None = None
    at, room = _BLOCKS_AT, budget.room()
    try:
        while at < len(data) and shut is None:
            budget.check_time()
            size, packed_bytes = _BLOCK.unpack_from(data, at)
            at += _BLOCK.size
            packed = data[at : at + packed_bytes]
            at += packed_bytes
            if len(packed) < packed_bytes or size > _BLOCK_MAX_BYTES:
                raise ValueError("a block that cannot be")
            wanted = min(size, room + 1 - len(out))
            if not wanted:
                continue
            if packed_bytes == size and not packed.startswith(b"\xfd7zXZ"):
                out += packed[:wanted]
            else:
                block = _unpack(data[3:4], packed, size)[:wanted]
                out += block
                if len(block) < wanted:
                    raise ValueError("a block that is shorter than it says")
            if len(out) > room:
                del out[room:]
                shut = budget.over_room(room)
            elif budget.is_bomb(len(out), at):
                shut = budget.bomb()
    except _ERRORS:
        shut = Shut(Reason.MALFORMED, "packed blocks of macOS: truncated or damaged")
    yield Piece(bytes(out), Role.MEMBER, stream.inner_name(name))
    if shut is not None:
        yield shut


def _unpack(how: bytes, packed: bytes, wanted: int) -> bytes:
    """At most so many bytes, which is more than none. Raises _ERRORS."""
    match how:
        case b"x":
            return xz().decompress(packed, wanted)
        case b"e":
            return apple_lzfse.unpack(packed, wanted)
        case b"z":
            window = zlib.MAX_WBITS if packed[:1] == b"\x78" else -zlib.MAX_WBITS
            return zlib.decompressobj(window).decompress(packed, wanted)
        case b"4":
            return _lz4(packed, wanted)
    raise ValueError("packed in an unknown way")


def _lz4(packed: bytes, wanted: int) -> bytes:
    out = bytearray()
    at = 0
    while len(out) < wanted and packed[at : at + 4] in (_LZ4_BLOCK, _LZ4_STORED):
        size = int.from_bytes(packed[at + 4 : at + 8], "little")
        limit = min(size, wanted - len(out))
        if packed[at : at + 4] == _LZ4_STORED:
            out += packed[at + 8 : at + 8 + limit]
            at += 8 + size
        else:
            packed_bytes = int.from_bytes(packed[at + 8 : at + 12], "little")
            out += lz4_block.unpack(packed[at + 12 : at + 12 + packed_bytes], limit)
            at += 12 + packed_bytes
    return bytes(out)


def read_lzfse(data: bytes, name: str, budget: Budget) -> Contents:
    """One file of Apple's ``lzfse``. Raises only Spent."""
    room = budget.room()
    try:
        out = apple_lzfse.unpack(data, room + 1)
    except _ERRORS:
        yield Shut(Reason.MALFORMED, "file of lzfse: damaged, or larger than a part may be")
        return
    yield Piece(out[:room], Role.MEMBER, stream.inner_name(name))
    if len(out) > room:
        yield budget.over_room(room)


def read_archive(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    at = 0
    try:
        while at < len(data):
            budget.check_time()
            magic, size = _HEADER.unpack_from(data, at)
            if magic not in (b"AA01", b"YAA1") or size < _HEADER.size or at + size > len(data):
                raise ValueError("no header")
            path, blobs = "", list[tuple[bytes, int]]()
            for key, value, blob_bytes in _fields(data[at + _HEADER.size : at + size]):
                if key == b"PAT":
                    path = encodings.text(value)
                if blob_bytes is not None:
                    blobs.append((key, blob_bytes))
            at += size
            if not any(key == b"DAT" for key, _ in blobs):
                budget.count_part(0)
            for key, blob_bytes in blobs:
                content = data[at : at + blob_bytes]
                at += blob_bytes
                if content:
                    shown = path if key == b"DAT" else f"{path}:{key.decode('latin-1')}"
                    room = budget.room()
                    yield Piece(content[:room], Role.MEMBER, shown)
                    if len(content) > room:
                        over = budget.over_room(room)
                        yield Shut(over.reason, over.detail, shown)
                if len(content) < blob_bytes:
                    yield Shut(Reason.MALFORMED, "truncated: it ends behind the archive", path)
    except (struct.error, ValueError):
        yield Shut(Reason.MALFORMED, "Apple Archive: truncated or damaged")


def _fields(header: bytes) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Key, value, and if the value is behind the header, how long it is. Raises ValueError."""
    at = 0
    while at < len(header):
        key, kind = header[at : at + 3], header[at + 3 : at + 4]
        at += _FIELD_BYTES
        blob_bytes = None
        if kind == b"P":
            width = 2 + int.from_bytes(header[at : at + 2], "little")
            value = header[at + 2 : at + width]
        elif kind in _BLOBS:
            width = _BLOBS[kind]
            value = header[at : at + width]
            blob_bytes = int.from_bytes(value, "little")
        elif kind == b"*":
            width, value = 0, b""
        else:
            width = _NUMBERS.get(kind) or _HASHES.get(kind) or 0
            value = header[at : at + width]
            if not width:
                raise ValueError("a field of an unknown kind")
        at += width
        if at > len(header):
            raise ValueError("a field that ends behind its header")
        yield key, value, blob_bytes
