"""One compressed file without a directory: gzip (RFC 1952), bzip2, xz, zstd (RFC 8878).

Several streams in a row are one file, as the tools of these formats have it.
"""

import bz2
import io
import re
from collections.abc import Callable

from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import Decompressor, deflate, inflate, xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_GZIP = re.compile(rb"\x1f\x8b\x08")
_GZIP_HEADER_BYTES = 10
_GZIP_TRAILER_BYTES = 8
_NAME_MAX_BYTES = 1024
_HAS_HEADER_CRC, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 2, 4, 8, 16

_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[], Decompressor]], ...] = (
    (_GZIP, deflate),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.BZ2Decompressor),
    (re.compile(rb"\xfd7zXZ\x00"), xz),
    (re.compile(rb"\x28\xb5\x2f\xfd"), zstd.ZstdDecompressor),
)
"""How a stream of each begins, and what unpacks it."""

_PADDING = re.compile(rb"\0*")


def find(data: bytes, at: int = 0) -> Callable[[], Decompressor] | None:
    """What unpacks the stream that begins at ``at``; None if there is none."""
    return next((make for magic, make in _FORMATS if magic.match(data, at)), None)


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The file inside, as far as it can be unpacked. Raises only Spent.

    ``name``: of what it is in.
    """
    out = io.BytesIO()
    shut: Shut | None = None
    room = budget.room()
    at = 0
    while shut is None and (make := find(data, at)) is not None:
        is_gzip = make is deflate
        start = at + (_gzip_header(data, at)[0] if is_gzip else 0)
        inflated = inflate(make, memoryview(data)[start:], budget)
        end = start + inflated.used + (_GZIP_TRAILER_BYTES if is_gzip else 0)
        out.write(inflated.data)
        shut = inflated.shut
        if shut is None and end > len(data):
            shut = Shut(Reason.MALFORMED, "truncated: its checksum is missing")
        if out.tell() > room:
            shut = budget.over_room(room)
        elif budget.is_bomb(out.tell(), len(data)):
            shut = budget.bomb()
        padding = _PADDING.match(data, max(end, at + 1))
        at = padding.end() if padding is not None else len(data)
    yield Piece(out.getvalue()[:room], Role.MEMBER, _inner_name(data, name))
    if shut is not None:
        yield shut
    elif at < len(data):
        yield Shut(Reason.MALFORMED, "something follows the compressed data")


def _inner_name(data: bytes, name: str) -> str:
    """The name that gzip gives, else the outer one without its last extension."""
    if _GZIP.match(data):
        given = _gzip_header(data, 0)[1]
        if given:
            return given
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return name
    return stem + (".tar" if extension.lower() in ("tgz", "tbz", "tbz2", "txz", "tzst") else "")


def _gzip_header(data: bytes, at: int) -> tuple[int, str]:
    """Its size and the name in it (RFC 1952 section 2.3)."""
    start, at, name = at, at + _GZIP_HEADER_BYTES, ""
    flags = data[start + 3] if start + 3 < len(data) else 0
    if flags & _HAS_EXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (_HAS_NAME, _HAS_COMMENT):
        if flags & flag:
            end = data.find(b"\0", at)
            end = end if end >= 0 else len(data)
            if flag == _HAS_NAME:
                name = data[at : min(end, at + _NAME_MAX_BYTES)].decode("utf-8", "replace")
            at = end + 1
    if flags & _HAS_HEADER_CRC:
        at += 2
    return at - start, name
