"""One compressed file without a directory: gzip (RFC 1952), bzip2, xz, lzma, lzip, zstd (RFC 8878).

Several streams in a row are one file, as the tools of these formats have it.
"""

import bz2
import io
import re
from collections.abc import Callable

from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import Decompressor, deflate, inflate, lzma_raw, xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_GZIP = re.compile(rb"\x1f\x8b\x08")
_GZIP_HEADER_BYTES = 10
_GZIP_TRAILER_BYTES = 8
_LZIP_HEADER_BYTES = 6
_LZIP_TRAILER_BYTES = 20
_NAME_MAX_BYTES = 1024
_HAS_HEADER_CRC, _HAS_EXTRA, _HAS_NAME, _HAS_COMMENT = 2, 4, 8, 16


def _lzip() -> Decompressor:
    """LZMA with lc 3, lp 0, pb 2 and an end marker; 128 MiB hold any usual dictionary."""
    return lzma_raw(b"\x5d\0\0\0\x08", None)


_FORMATS: tuple[tuple[bytes, Callable[[], Decompressor]], ...] = (
    (rb"\x1f\x8b\x08", deflate),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", bz2.BZ2Decompressor),
    (rb"\xfd7zXZ\x00", xz),
    (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", zstd.ZstdDecompressor),
    (rb"\x5d\0\0..(?:\xff{8}|.{4}[\0-\x3f]\0{3})\0", xz),
    (rb"LZIP\x01[\x0c-\xff]", _lzip),
)
"""How a stream of each begins, and what unpacks it. zstd may begin with a frame that is skipped;
.lzma has no magic number, but its usual properties, a size that is possible, and a zero."""
STARTS = b"|".join(magic for magic, _ in _FORMATS)
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _FORMATS), re.DOTALL)
_FRAME: dict[Callable[[], Decompressor], tuple[int, int]] = {
    deflate: (_GZIP_HEADER_BYTES, _GZIP_TRAILER_BYTES),
    _lzip: (_LZIP_HEADER_BYTES, _LZIP_TRAILER_BYTES),
}
"""Bytes around the compressed data, of those that aren't taken off by what unpacks them."""

_OF_TAR = ("tgz", "tbz", "tbz2", "txz", "tzst", "tlz", "taz")
_PADDING = re.compile(rb"\0*")


def find(data: bytes, at: int = 0) -> Callable[[], Decompressor] | None:
    """What unpacks the stream that begins at ``at``; None if there is none."""
    start = _START.match(data, at)
    return _FORMATS[start.lastindex - 1][1] if start is not None and start.lastindex else None


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The file inside, as far as it can be unpacked. Raises only Spent.

    ``name``: of what it is in.
    """
    out = io.BytesIO()
    shut: Shut | None = None
    room = budget.room()
    at = 0
    while shut is None and (make := find(data, at)) is not None:
        header, trailer = _FRAME.get(make, (0, 0))
        start = at + (_gzip_header(data, at)[0] if make is deflate else header)
        inflated = inflate(make, memoryview(data)[start:], budget)
        end = start + inflated.used + trailer
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
    given = _gzip_header(data, 0)[1] if _GZIP.match(data) else ""
    yield Piece(out.getvalue()[:room], Role.MEMBER, given or inner_name(name))
    if shut is not None:
        yield shut
    elif at < len(data):
        yield Shut(Reason.MALFORMED, "something follows the compressed data")


def inner_name(name: str) -> str:
    """The outer name without its last extension."""
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return name
    return stem + (".tar" if extension.lower() in _OF_TAR else "")


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
