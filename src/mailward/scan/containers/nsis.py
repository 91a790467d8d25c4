"""NSIS installers: the files behind the program, without their names.

Behind a first header (``Source/exehead/fileform.h`` of NSIS) the installer's script and files are
packed one by one, or all together ("solid"), by deflate, bzip2 or LZMA. Names are in the script,
which is not read: it is a part of its own, since malware also lives in it.
"""

import re
import struct
from collections.abc import Callable
from functools import partial

from mailward.scan.budget import Budget
from mailward.scan.containers import bare_bzip2
from mailward.scan.containers.inflate import Decompressor, Inflated, deflate, inflate, lzma_raw
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

MAGIC = b"\xef\xbe\xad\xdeNullsoftInst"
_FIRST_HEADER = struct.Struct("<L16sLL")
"""Flags, the magic number, size of the script once unpacked, of everything from here on."""
_PACKED = 1 << 31
_LZMA = re.compile(rb"[\0\1]?\x5d\0\0.{2}\0", re.DOTALL)
"""Perhaps whether a filter for programs is on, then the usual properties."""
_BZIP2 = re.compile(rb"1[\0-\x0e]")
"""Without the magic numbers that bzip2 has."""
_BLOCKS_MAX = 10_000


def find(data: bytes) -> int | None:
    """Where the first header begins; None if there is none."""
    at = data.find(MAGIC)
    while at >= 0:
        if at >= 4 and (at - 4) % 512 == 0 and at - 4 + _FIRST_HEADER.size <= len(data):
            return at - 4
        at = data.find(MAGIC, at + 1)
    return None


def read(data: bytes, at: int, budget: Budget) -> Contents:
    """Script and files. Raises only Spent. ``at``: where the first header is."""
    _, _, script_bytes, whole = _FIRST_HEADER.unpack_from(data, at)
    start = at + _FIRST_HEADER.size
    stop = min(len(data), at + whole) if whole > _FIRST_HEADER.size else len(data)
    body = memoryview(data)[start:stop]
    size = int.from_bytes(body[:4], "little")
    by_one = (
        bool(size & _PACKED)
        and 0 < size & ~_PACKED <= len(body) - 4
        and not (_is_packed(body[:16]) and not _is_packed(body[4:20]))
    )
    if by_one or size == script_bytes:
        yield from _blocks(body, budget)
    else:
        yield from _solid(body, budget)
    if at + whole > len(data):
        yield Shut(Reason.MALFORMED, "truncated: the installer says that it is longer")


def _is_packed(start: memoryview) -> bool:
    """By LZMA or bzip2, whose beginning can pass for a size: 8 MiB of dictionary are usual."""
    return _LZMA.match(start) is not None or _BZIP2.match(start) is not None


def _solid(body: memoryview, budget: Budget) -> Contents:
    done = _inflate(body, budget)
    if len(done.data) < 4:
        why = "NSIS installer: packed in a way that is not known"
        yield done.shut or Shut(Reason.UNSUPPORTED, why)
        return
    yield from _blocks(memoryview(done.data), budget, packed=False)
    if done.shut is not None and done.shut.reason is not Reason.MALFORMED:
        yield done.shut


def _blocks(body: memoryview, budget: Budget, *, packed: bool = True) -> Contents:
    """The script, then files: four bytes of size, of which the highest bit says packed."""
    at = 0
    for number in range(_BLOCKS_MAX):
        if at + 4 >= len(body):  # what is left is the installer's checksum
            return
        budget.check_time()
        stated = int.from_bytes(body[at : at + 4], "little")
        size = stated & ~_PACKED if packed else stated
        at += 4
        label = "script" if not number else f"file {number}"
        if size > len(body) - at:
            yield Shut(Reason.MALFORMED, "truncated: it ends behind the installer", label=label)
            return
        content = body[at : at + size]
        at += size
        if packed and stated & _PACKED:
            done = _inflate(content, budget)
            yield Piece(done.data, Role.MEMBER, label=label)
            if done.shut is not None:
                yield Shut(done.shut.reason, done.shut.detail, label=label)
        else:
            yield Piece(bytes(content[: budget.room() + 1]), Role.MEMBER, label=label)
    yield Shut(Reason.LIMIT, f"NSIS installer: more than {_BLOCKS_MAX} files")


def _inflate(packed: memoryview, budget: Budget) -> Inflated:
    start = bytes(packed[:16])
    if _BZIP2.match(start):
        return bare_bzip2.unpack(packed, bare_bzip2.NSIS, budget)
    make, skip = _codec(start)
    return inflate(make, packed[skip:], budget)


def _codec(start: bytes) -> tuple[Callable[[], Decompressor], int]:
    """What unpacks data that begins so, and how many bytes to pass over."""
    if _LZMA.match(start):
        filtered = 0 if start[0] == 0x5D else 1
        return partial(lzma_raw, start[filtered : filtered + 5], None), filtered + 5
    return deflate, 0
