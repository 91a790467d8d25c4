"""How Inno Setup packs: blocks with checksums, chunks of files, and calls made easier to pack."""

import bz2
import lzma
import re
import struct
import zlib
from functools import partial

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import Decompressor, Inflated, deflate, inflate, lzma_raw
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_HEADERS = (struct.Struct("<LLB"), struct.Struct("<LQB"))
"""Checksum of what follows, packed size, whether it is packed at all; larger from 6.7 on."""
_SUBBLOCK_BYTES = 4096
_CRC_BYTES = 4
_LZMA = re.compile(rb"[\0-\xe0].{4}\0", re.DOTALL)
_LZMA_2 = re.compile(rb"[\0-\x28][\1\xe0-\xff]")
_LZMA_PROPERTIES = 5
_ZLIB_HEADER_BYTES = 2
_CALL = re.compile(rb"[\xe8\xe9]")
_CALL_BYTES = 5
_CALL_BLOCK = 0x10000
_LOOK_EVERY = 65_536
"""Calls between two looks at the time."""


def read_block(data: bytes, at: int, budget: Budget) -> tuple[Inflated, int] | None:
    """What a block holds, and where it ends; None if none begins ``at``. Raises Spent."""
    for header in _HEADERS:
        if at + header.size > len(data):
            continue
        checksum, size, packed = header.unpack_from(data, at)
        if zlib.crc32(data[at + 4 : at + header.size]) != checksum:
            continue
        start = at + header.size
        body = data[start : start + size]
        plain, right = bytearray(), len(body) == size
        for place in range(0, len(body), _SUBBLOCK_BYTES + _CRC_BYTES):
            piece = body[place + _CRC_BYTES : place + _CRC_BYTES + _SUBBLOCK_BYTES]
            right &= zlib.crc32(piece) == int.from_bytes(body[place : place + _CRC_BYTES], "little")
            plain += piece
        done = unpack_chunk(memoryview(plain), bool(packed), budget)
        if not right and done.shut is None:
            why = "a block of the installer is cut, or a checksum in it is wrong"
            done = Inflated(done.data, done.used, Shut(Reason.MALFORMED, why))
        return done, start + size
    return None


def unpack_chunk(packed: memoryview, compressed: bool, budget: Budget) -> Inflated:
    """By the way that its first bytes show. Raises Spent."""
    if not compressed:
        room = budget.room()
        shut = budget.over_room(room) if len(packed) > room else None
        return Inflated(bytes(packed[:room]), len(packed), shut)
    start = bytes(packed[: _LZMA_PROPERTIES + 1])
    if start[:1] == b"\x78" and len(start) >= 2 and not int.from_bytes(start[:2], "big") % 31:
        return inflate(deflate, packed[_ZLIB_HEADER_BYTES:], budget)
    if start.startswith(b"BZh"):
        return inflate(bz2.BZ2Decompressor, packed, budget)
    if _LZMA_2.match(start):
        return _without_end(inflate(partial(_lzma_2, start[0]), packed[1:], budget), packed)
    if _LZMA.match(start):
        make = partial(lzma_raw, start[:_LZMA_PROPERTIES], None)
        return _without_end(inflate(make, packed[_LZMA_PROPERTIES:], budget), packed)
    why = "Inno Setup installer: packed in a way that is not known"
    return Inflated(b"", len(packed), Shut(Reason.UNSUPPORTED, why))


def _without_end(done: Inflated, packed: memoryview) -> Inflated:
    """LZMA need not have an end; what its files are is known from elsewhere."""
    if done.shut is not None and done.shut.detail.startswith("truncated"):
        return Inflated(done.data, len(packed))
    return done


def _lzma_2(size_code: int) -> Decompressor:
    size = (2 | size_code & 1) << size_code // 2 + 11
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": min(size, 1 << 28)}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)


def undo_calls(content: bytes, version: tuple[int, int, int], budget: Budget) -> bytes:
    """Targets of calls and jumps, made absolute for packing, relative again. Raises Spent."""
    out = bytearray(content)
    by_block, flips = version >= (5, 2, 0), version >= (5, 3, 9)
    at = turns = 0
    while (found := _CALL.search(out, at)) is not None:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
        at = found.start()
        if at + _CALL_BYTES > len(out):
            break
        if not by_block:
            target = int.from_bytes(out[at + 1 : at + 5], "little") - (at + _CALL_BYTES)
            out[at + 1 : at + 5] = (target & 0xFFFFFFFF).to_bytes(4, "little")
        elif _CALL_BLOCK - at % _CALL_BLOCK < _CALL_BYTES:
            at += 1
            continue
        elif out[at + 4] in (0, 0xFF):
            target = int.from_bytes(out[at + 1 : at + 4], "little") - (at + _CALL_BYTES)
            target &= 0xFFFFFF
            out[at + 1 : at + 4] = target.to_bytes(3, "little")
            if flips and target & 0x800000:
                out[at + 4] ^= 0xFF
        at += _CALL_BYTES
    return bytes(out)
