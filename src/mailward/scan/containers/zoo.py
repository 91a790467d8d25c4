"""ZOO archives: stored files, those packed by LZW, and those packed as LHA packs (``lh5``).

The last are put into an LHA archive, which libarchive reads. Layout: ``zoo.h`` of zoo 2.1.
"""

import struct
from collections.abc import Iterator

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive, lzw
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb".{20}\xdc\xa7\xc4\xfd"

_MARK = b"\xdc\xa7\xc4\xfd"
_FIRST_AT = 24
_ENTRY = struct.Struct("<4sBBLL4xHLL4xL2x13s")
"""Mark, kind, method, the next entry, where the data is, checksum, sizes, comment, short name."""
_LONG_NAME_AT, _LONG_NAME_KIND = 56, 2
_STORED, _LZW, _LZH = range(3)
_ENTRIES_MAX = 20_000
_END, _FIRST_FREE, _BITS_MAX = 257, 258, 13


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    at = int.from_bytes(data[_FIRST_AT : _FIRST_AT + 4], "little")
    seen = set[int]()
    while at and at not in seen and len(seen) < _ENTRIES_MAX:
        budget.check_time()
        seen.add(at)
        if at + _ENTRY.size > len(data) or not data.startswith(_MARK, at):
            break
        _, kind, method, following, start, checksum, size, packed_bytes, _, short = (
            _ENTRY.unpack_from(data, at)
        )
        if not following:  # the last entry only says that it is the last
            return
        name = _long_name(data, at) if kind == _LONG_NAME_KIND else b""
        shown = encodings.text(name or short.partition(b"\0")[0])
        packed = memoryview(data)[start : start + packed_bytes]
        yield from _file(packed, packed_bytes, size, method, checksum, shown, budget)
        at = following
    yield Shut(Reason.MALFORMED, "ZOO archive: its list of files is damaged or cut")


def _long_name(data: bytes, at: int) -> bytes:
    size = data[at + _LONG_NAME_AT : at + _LONG_NAME_AT + 1]
    start = at + _LONG_NAME_AT + 2
    return data[start : start + size[0]].partition(b"\0")[0] if size else b""


def _file(
    packed: memoryview, packed_bytes: int, size: int, method: int, checksum: int, name: str,
    budget: Budget,
) -> Contents:  # fmt: skip
    room = budget.room()
    out = bytearray()
    shut: Shut | None = None
    match method:
        case 0:
            out += packed[: room + 1]
            if len(out) > room:
                del out[room:]
                shut = budget.over_room(room)
        case 1:
            shut = _lzw(packed, out, size, budget)
        case 2:
            yield from _lzh(packed, size, checksum, name, budget)
            return
        case _:
            why = f"ZOO archive: method {method}: this release cannot open it"
            yield Shut(Reason.UNSUPPORTED, why, name)
            return
    yield Piece(bytes(out), Role.MEMBER, name)
    if shut is None and (len(packed) < packed_bytes or len(out) < size):
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


def _lzh(packed: memoryview, size: int, checksum: int, name: str, budget: Budget) -> Contents:
    """As the only file of an LHA archive (level 0)."""
    sizes = struct.pack("<5sLLLBBBcH", b"-lh5-", len(packed), size, 0, 0x20, 0, 1, b"a", checksum)
    archive = bytes([len(sizes), sum(sizes) & 0xFF]) + sizes + bytes(packed) + b"\0"
    for found in libarchive.read(libarchive.LHA, archive, "", budget):
        if isinstance(found, Piece):
            yield Piece(found.data, Role.MEMBER, name)
        elif isinstance(found, Shut):
            yield Shut(found.reason, found.detail, name)


def _lzw(packed: memoryview, out: bytearray, size: int, budget: Budget) -> Shut | None:
    """Into ``out``; why it is not all. Raises Spent."""
    return lzw.unpack(
        _Codes(packed),
        out,
        budget,
        packed_bytes=len(packed),
        wanted=min(size, budget.room() + 1),
        bits_max=_BITS_MAX,
        clear=lzw.CLEAR,
        first=_FIRST_FREE,
        end=_END,
    )


class _Codes:
    """Codes one behind the other, whatever their width."""

    def __init__(self, packed: memoryview) -> None:
        self._packed = packed
        self.bits = lzw.BITS_MIN

    def width(self, bits: int) -> None:
        self.bits = bits

    def __iter__(self) -> Iterator[int]:
        held = count = at = 0
        while True:
            if count < self.bits:
                more = bytes(self._packed[at : at + 8])
                at += len(more)
                held |= int.from_bytes(more, "little") << count
                count += 8 * len(more)
                if count < self.bits:
                    return
            code = held & (1 << self.bits) - 1
            held >>= self.bits
            count -= self.bits
            yield code
