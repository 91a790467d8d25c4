"""macOS disk images (UDIF): partitions in compressed pieces.

A file system that is known is read by place, unpacking the pieces that are asked for. Any other is
put together and given as it is: most keep files in one piece, so that content is found in it; that
its files are no parts of their own is said. Layout: J. Levin, "Demystifying the DMG file format".
"""

import bisect
import bz2
import functools
import plistlib
import struct
import zlib
from collections.abc import Callable, Iterator
from xml.parsers.expat import ExpatError

from mailward.scan.budget import Budget
from mailward.scan.containers import apple_lzfse, dmg_encrypted, volumes
from mailward.scan.containers.inflate import ERRORS, Decompressor, inflate, xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_TRAILER_BYTES = 512
_SECTOR = 512
_TABLE_MAX_BYTES = 16 * 1024 * 1024
_HEADER_BYTES = 204
_CHUNK = struct.Struct(">L4xQQQQ")
_ZEROS, _RAW, _IGNORED, _ADC, _LZFSE = 0, 1, 2, 0x80000004, 0x80000007
_PIECE_MAX_BYTES = 16 * 1024 * 1024
"""One that is unpacked by itself; usual ones have up to a MiB."""
_KEPT = 4
_COMMENT, _LAST = 0x7FFFFFFE, 0xFFFFFFFF


def _zlib() -> Decompressor:
    return _Zlib()


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj()

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


_PACKED: dict[int, Callable[[], Decompressor]] = {
    0x80000005: _zlib,
    0x80000006: bz2.BZ2Decompressor,
    0x80000008: xz,
}


def looks_like_dmg(data: bytes) -> bool:
    """By its trailer; encrypted ones by what they begin or end with."""
    return data[-_TRAILER_BYTES : 4 - _TRAILER_BYTES] == b"koly" or _is_encrypted(data)


def _is_encrypted(data: bytes) -> bool:
    """The second release of the format, or the first."""
    return data.startswith(dmg_encrypted.MAGIC) or data.endswith(b"cdsaencr")


def read(data: bytes, called: str, budget: Budget) -> Contents:
    """The partitions that hold something. Raises only Spent."""
    if data.startswith(dmg_encrypted.MAGIC):
        yield from dmg_encrypted.read(data, called, budget)
        return
    if _is_encrypted(data):
        yield Shut(Reason.ENCRYPTED, "encrypted macOS disk image")
        return
    at, size = struct.unpack_from(">QQ", data, len(data) - _TRAILER_BYTES + 0xD8)
    try:
        if size > _TABLE_MAX_BYTES:
            raise ValueError
        tables = plistlib.loads(data[at : at + size])["resource-fork"]["blkx"]
        partitions = [(str(table.get("Name", "")), bytes(table["Data"])) for table in tables]
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ExpatError,
        RecursionError,
        LookupError,
    ):
        yield Shut(Reason.MALFORMED, "macOS disk image: its table is damaged")
        return
    for number, (name, table) in enumerate(partitions, 1):
        label = f"partition {number}"
        pieces = _Pieces(data, table)
        if volumes.opens(pieces):
            yield from volumes.file_system(pieces, label, budget)
            continue
        out = bytearray()
        shut = _partition(data, table, out, budget)
        if any(out):
            yield Piece(bytes(out), Role.MEMBER, name, label=label)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, name, label)
        if out.startswith(b"BD", 1024):
            why = "macOS disk image: its files are not taken apart"
            yield Shut(Reason.UNSUPPORTED, why, name, label)


class _Pieces:
    """A partition by place. A piece that is damaged is not there, nor is what is behind it."""

    def __init__(self, data: bytes, table: bytes) -> None:
        self._data = data
        chunks = sorted(_chunks(table), key=lambda chunk: chunk[1])
        self._chunks = [chunk for chunk in chunks if chunk[2]]
        self._starts = [sector * _SECTOR for _, sector, _, _, _ in self._chunks]
        self.size = max(
            ((sector + count) * _SECTOR for _, sector, count, _, _ in self._chunks), default=0
        )
        self._unpacked = functools.lru_cache(_KEPT)(self._unpack)

    def read(self, at: int, size: int) -> bytes:
        """See ``Source``."""
        out = bytearray()
        size = max(0, min(size, self.size - at))
        while len(out) < size:
            place = at + len(out)
            number = bisect.bisect_right(self._starts, place) - 1
            if number < 0:
                break
            kind, sector, count, _, _ = self._chunks[number]
            inside = place - sector * _SECTOR
            wanted = min(size - len(out), count * _SECTOR - inside)
            if wanted <= 0:
                break
            if kind in (_ZEROS, _IGNORED):
                out += bytes(wanted)
                continue
            piece = self._unpacked(number)[inside : inside + wanted]
            out += piece
            if len(piece) < wanted:
                break
        return bytes(out)

    def _unpack(self, number: int) -> bytes:
        kind, _, count, at, size = self._chunks[number]
        plain_bytes = count * _SECTOR
        packed = self._data[at : at + size]
        if kind == _RAW:
            return packed[:plain_bytes]
        if plain_bytes > _PIECE_MAX_BYTES:
            return b""
        if kind == _ADC:
            out = bytearray()
            _adc(packed, out, plain_bytes)
            return bytes(out[:plain_bytes])
        try:
            if kind == _LZFSE:
                return apple_lzfse.unpack(packed, plain_bytes)
            return _PACKED[kind]().decompress(packed, plain_bytes)
        except (KeyError, IndexError, struct.error, *ERRORS):
            return b""


def _partition(data: bytes, table: bytes, out: bytearray, budget: Budget) -> Shut | None:
    room = budget.room()
    for kind, sector, count, at, size in _chunks(table):
        budget.check_time()
        start, plain_bytes = sector * _SECTOR, count * _SECTOR
        if start > room:
            return budget.over_room(room)
        out += bytes(max(0, start - len(out)))
        if kind in (_ZEROS, _IGNORED):
            out += bytes(min(plain_bytes, room + 1 - len(out)))
        elif kind == _RAW:
            out += data[at : at + min(size, room + 1 - len(out))]
        elif kind == _ADC:
            _adc(data[at : at + size], out, min(len(out) + plain_bytes, room + 1))
        elif kind == _LZFSE:
            try:
                out += apple_lzfse.unpack(data[at : at + size], min(plain_bytes, room + 1))
            except (ValueError, IndexError, struct.error):
                return Shut(Reason.MALFORMED, "the compressed data is damaged")
        elif kind in _PACKED:
            done = inflate(_PACKED[kind], memoryview(data)[at : at + size], budget)
            out += done.data
            if done.shut is not None:
                return done.shut
        else:
            return Shut(Reason.UNSUPPORTED, "macOS disk image: packed in a way that is not known")
        if len(out) > room:
            del out[room:]
            return budget.over_room(room)
        if budget.is_bomb(len(out), len(data)):
            return budget.bomb()
    return None


def _chunks(table: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    for at in range(_HEADER_BYTES, len(table) - _CHUNK.size + 1, _CHUNK.size):
        chunk = _CHUNK.unpack_from(table, at)
        if chunk[0] == _LAST:
            return
        if chunk[0] != _COMMENT:
            yield chunk


def _adc(packed: bytes, out: bytearray, stop: int) -> None:
    """Apple Data Compression: literals, and two kinds of references."""
    at = 0
    while at < len(packed) and len(out) < stop:
        first = packed[at]
        if first & 0x80:
            out += packed[at + 1 : at + 2 + (first & 0x7F)]
            at += 2 + (first & 0x7F)
            continue
        if first & 0x40:
            length, distance = (first & 0x3F) + 4, int.from_bytes(packed[at + 1 : at + 3], "big")
            at += 3
        else:
            length = (first >> 2 & 0x0F) + 3
            distance = (first & 3) << 8 | int.from_bytes(packed[at + 1 : at + 2], "big")
            at += 2
        if distance >= len(out):
            return
        for _ in range(length):
            out.append(out[-distance - 1])
