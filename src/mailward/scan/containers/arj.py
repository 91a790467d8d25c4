"""ARJ archives: stored, and its four ways of packing (R. Jung, ``technote.txt`` of ARJ).

Methods 1 to 3 are LHA's scheme with a window of 26 KiB, 4 is a simpler one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import lzh
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.contents import Contents, Listed, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x60\xea(?!\0\0).[\0-\x0a][\x1e-\x30].[\0-\x10][\0-\x0b]"
"""Header size of at most 2600 bytes, size of its first part, versions, host system."""

_MAGIC = b"\x60\xea"
_FIELDS = struct.Struct("<BBBBBBBBLLLLHHH")
_HEADER_MAX_BYTES = 2600
_GARBLED = 1
_STORED, _FASTEST = 0, 4
_MAIN, _FOLDER = 2, 3
_LOOK_EVERY = 4096
"""Symbols between two looks at time and ratio."""
_WAY = lzh.Way(distance_codes=17, count_bits=5, ends=False)


@dataclass(frozen=True, slots=True)
class _Header:
    """Of a file or folder."""

    name: str
    kind: int
    flags: int
    method: int
    packed_bytes: int
    plain_bytes: int
    at: int
    """Where its packed content begins."""


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    for header in _headers(data):
        if header is None:
            yield Shut(Reason.MALFORMED, "truncated: the archive has no end")
        elif header.kind == _FOLDER:
            budget.count_part(0)  # or millions of folders would cost nothing but time
        else:
            yield from _member(data, header, budget)


def listed(data: bytes) -> Iterator[Listed]:
    """What its headers say."""
    for position, header in enumerate(_headers(data), 1):
        if header is not None:
            encrypted = bool(header.flags & _GARBLED)
            size, packed = header.plain_bytes, header.packed_bytes
            yield Listed(header.name, size, packed, encrypted, position)


def _headers(data: bytes) -> Iterator[_Header | None]:
    """None at the end if the archive has none."""
    at = 0
    while data.startswith(_MAGIC, at) and at + 4 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "little")
        if not size:
            return
        header = data[at + 4 : at + 4 + size]
        if size > _HEADER_MAX_BYTES or len(header) < max(size, _FIELDS.size):
            break
        (first, _, _, _, flags, method, kind, _, _, packed_bytes, plain_bytes, *_) = (
            _FIELDS.unpack_from(header)
        )
        name = header[first:].partition(b"\0")[0].decode("cp437")
        at += 4 + size + 4
        while (extra := int.from_bytes(data[at : at + 2], "little")) and at < len(data):
            at += 2 + extra + 4
        at += 2
        if kind == _MAIN:
            continue
        yield _Header(name, kind, flags, method, packed_bytes, plain_bytes, at)
        at += packed_bytes
    yield None


def _member(data: bytes, header: _Header, budget: Budget) -> Contents:
    name, flags, method = header.name, header.flags, header.method
    packed_bytes, plain_bytes = header.packed_bytes, header.plain_bytes
    packed = memoryview(data)[header.at : header.at + packed_bytes]
    if flags & _GARBLED:
        yield Shut(Reason.ENCRYPTED, "encrypted archive member", name)
        return
    shut: Shut | None = None
    out = bytearray()
    if method == _STORED:
        out += packed[: budget.room() + 1]
    elif method <= _FASTEST:
        try:
            if method == _FASTEST:
                shut = _fastest(packed, plain_bytes, out, budget)
            else:
                shut = lzh.unpack(packed, plain_bytes, out, _WAY, budget)
        except DamagedError:
            shut = Shut(Reason.MALFORMED, "the compressed data is damaged")
    else:
        why = f"ARJ archive: method {method}: this release cannot open it"
        yield Shut(Reason.UNSUPPORTED, why, name)
        return
    yield Piece(bytes(out), Role.MEMBER, name)
    if shut is None and len(packed) < packed_bytes:
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


def _fastest(packed: memoryview, wanted: int, out: bytearray, budget: Budget) -> Shut | None:
    bits = Bits(packed)
    room = budget.room()
    turns = 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 1:
            shut = lzh.over(out, packed, room, budget)
            if shut is not None:
                return shut
        length = _stepped(bits, 0, 7)
        if not length:
            out.append(bits.take(8))
        else:
            lzh.copy(out, _stepped(bits, 9, 13) + 1, length + 2)
    del out[wanted:]
    return None


def _stepped(bits: Bits, width: int, most: int) -> int:
    """A number whose width is given by ones in front of it."""
    plus, power = 0, 1 << width
    while width < most and bits.take(1):
        plus += power
        power <<= 1
        width += 1
    return plus + (bits.take(width) if width else 0)
