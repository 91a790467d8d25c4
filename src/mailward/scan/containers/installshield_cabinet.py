"""InstallShield's cabinets, versions 5 and later: a header, and volumes with the files.

The header (``data1.hdr``, or in the first volume) lists files; each is stored, or packed in chunks
of 64 KiB by deflate, in one volume or going on in the next. Layout: ``cabfile.h`` of unshield.
"""

import functools
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"ISc\("
MAGIC = re.compile(rb"ISc\(.{3}[\1\2\4].{4}\0[\0\2]\0\0", re.DOTALL)
"""With its version, and the list of files at its usual place."""

_COMMON = struct.Struct("<4xL4xLL")
_VOLUME_5 = struct.Struct("<10L")
_VOLUME_6 = struct.Struct("<QLLQQQQQQ")
_LIST = struct.Struct("<12xL4xLL L8xLL")
_FILE_5 = struct.Struct("<LLHLL20xL")
_FILE_6 = struct.Struct("<HQQQ32xLH12xLLBH")
_SPLIT, _GARBLED, _PACKED, _INVALID = 1, 2, 4, 8
_LINKED_BEFORE = 1
_UNICODE_FROM = 17
"""The version whose names are UTF-16."""
_FOREVER = 0x7FFFFFFF
_NAME_MAX_BYTES = 1024
_STEP = 1 << 20
_SET_MAX = 100
"""Cabinets in one program."""
_GARBLE_EVERY = 0x47
_NUMBERED = re.compile(r"(.*?)(\d*)(?:\.[^.]*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cabinet:
    """One file of a set, by name and content."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Volume:
    data: bytes
    starts_at: int
    first: tuple[int, int, int]
    """Number of the first file, where the piece of it here is, and its packed size."""
    last: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    flags: int
    size: int
    packed: int
    at: int
    volume: int
    linked: bool


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The files of a cabinet that is alone. Raises only Spent."""
    yield from read_set([Cabinet(name, data)], budget)


def carve(data: bytes, budget: Budget) -> Contents:
    """The files of cabinets that lie somewhere in a program. Raises only Spent."""
    starts = [found.start() for found in islice(MAGIC.finditer(data), _SET_MAX)]
    together = [Cabinet("", data[at:end]) for at, end in pairwise([*starts, len(data)])]
    if together:
        yield from read_set(together, budget)


def read_set(cabinets: Sequence[Cabinet], budget: Budget) -> Contents:
    """The files of cabinets that belong together. Raises only Spent."""
    header = next((c for c in cabinets if _has_list(c.data)), None)
    if header is None:
        why = "InstallShield cabinet: what is in it is told by a file that is not here (.hdr)"
        yield Shut(Reason.UNSUPPORTED, why)
        return
    try:
        files, version = _files(header.data, budget)
    except struct.error:
        yield Shut(Reason.MALFORMED, "truncated: the list of files ends too early")
        return
    volumes = _volumes(cabinets, version)
    missing = 0
    for number, file in enumerate(files):
        gone = file.flags & _INVALID or not file.at or file.linked or not file.size
        packed = None if gone else _packed(volumes, number, file, version)
        if packed is not None:
            yield from _member(file, packed, budget)
            continue
        budget.count_part(0)  # or thousands that are nowhere would cost nothing but time
        missing += not gone
    if missing:
        why = f"InstallShield cabinet: {missing} files are in volumes that are not here"
        yield Shut(Reason.UNSUPPORTED, why)


def _has_list(data: bytes) -> bool:
    return len(data) >= _COMMON.size and _COMMON.unpack_from(data)[2] > 0


def _major(version: int) -> int:
    if version >> 24 == 1:
        return version >> 12 & 0xF
    return (version & 0xFFFF) // 100


def _files(data: bytes, budget: Budget) -> tuple[list[_File], int]:
    """Raises struct.error, Spent."""
    raw_version, at, _ = _COMMON.unpack_from(data)
    version = _major(raw_version)
    table, _, _, folders, count, table_2 = _LIST.unpack_from(data, at)
    base = at + table
    files = []
    for number in range(min(count, budget.settings.max_parts + 1)):
        if version <= 5:
            place = base + 4 * (folders + number)
            place = base + struct.unpack_from("<L", data, place)[0]
            name_at, _, flags, size, packed, start = _FILE_5.unpack_from(data, place)
            volume, link = 0, 0
        else:
            place = base + table_2 + number * _FILE_6.size
            flags, size, packed, start, name_at, _, _, _, link, volume = _FILE_6.unpack_from(
                data, place
            )
        name = _text(data, base + name_at, wide=version >= _UNICODE_FROM) if name_at else ""
        linked = bool(link & _LINKED_BEFORE)
        files.append(_File(name, flags, size, packed, start, volume, linked))
    return files, version


def _text(data: bytes, at: int, *, wide: bool) -> str:
    raw = data[at : at + _NAME_MAX_BYTES]
    if wide:
        return raw[: len(raw) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
    return raw.partition(b"\0")[0].decode("cp1252", "replace")


def _volumes(cabinets: Sequence[Cabinet], version: int) -> dict[int, _Volume]:
    """By number: as in their names, else as they come."""
    volumes: dict[int, _Volume] = {}
    for cabinet in cabinets:
        volume = _volume(cabinet.data, version)
        if volume is None or (_has_list(cabinet.data) and volume.starts_at >= len(cabinet.data)):
            continue
        found = _NUMBERED.fullmatch(cabinet.name)
        number = int(found[2][-4:]) if found is not None and found[2] else 0
        if not number or number in volumes:
            number = max(volumes, default=0) + 1
        volumes[number] = volume
    return volumes


def _volume(data: bytes, version: int) -> _Volume | None:
    kind = _VOLUME_5 if version <= 5 else _VOLUME_6
    if len(data) < _COMMON.size + kind.size:
        return None
    fields = kind.unpack_from(data, _COMMON.size)
    if version <= 5:
        start, _, first, last, first_at, _, first_packed, last_at, _, last_packed = fields
        last_at = last_at or _FOREVER
    else:
        start, first, last, first_at, _, first_packed, last_at, _, last_packed = fields
    return _Volume(data, start, (first, first_at, first_packed), (last, last_at, last_packed))


def _packed(
    volumes: Mapping[int, _Volume], number: int, file: _File, version: int
) -> memoryview | None:
    """The packed bytes of a file; fewer than it has if a volume is cut, None if one is missing."""
    size = file.packed if file.flags & _PACKED else file.size
    at = file.volume
    if version <= 5:  # the list does not say it
        at = next((n for n in sorted(volumes) if number <= volumes[n].last[0]), 0)
    volume = volumes.get(at)
    if volume is None:
        return None
    split = file.flags & _SPLIT or (
        version <= 5 and number == volume.last[0] and 0 < volume.last[2] < size
    )
    if not split:
        return memoryview(volume.data)[file.at : file.at + size]
    pieces: list[memoryview] = []
    have = 0
    while have < size:
        volume = volumes.get(at)
        if volume is None:
            return None
        if number == volume.last[0] and volume.last[1] != _FOREVER:
            _, start, here = volume.last
        elif number == volume.first[0]:
            _, start, here = volume.first
        else:
            break
        piece = memoryview(volume.data)[start : start + min(here, size - have)]
        pieces.append(piece)
        have += len(piece)
        at += 1
    return memoryview(b"".join(pieces))


def _member(file: _File, packed: memoryview, budget: Budget) -> Contents:
    room = budget.room()
    wanted = file.packed if file.flags & _PACKED else file.size
    if file.flags & _GARBLED:
        packed = memoryview(clear(bytes(packed[: room + 1])))
    shut: Shut | None = None
    if file.flags & _PACKED:
        out = bytearray()
        shut = _chunks(packed, out, room, budget)
        if shut is not None and shut.reason is Reason.MALFORMED and len(out) < file.size:
            # Version 5 also has one stream whose pieces are flushed, without their sizes.
            done = inflate(deflate, packed, budget)
            if len(done.data) > len(out):
                out = bytearray(done.data)
                shut = done.shut if len(out) < file.size else None
        content = bytes(out)
    else:
        content = bytes(packed[: room + 1])
    yield Piece(content, Role.MEMBER, file.name)
    if shut is None and (len(packed) < wanted or len(content) < min(file.size, room)):
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the cabinet")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, file.name)


def _chunks(packed: memoryview, out: bytearray, room: int, budget: Budget) -> Shut | None:
    """Chunks of two bytes of size and a stream of deflate each, into ``out``."""
    at = 0
    while at + 2 <= len(packed):
        size = int.from_bytes(packed[at : at + 2], "little")
        data = bytes(packed[at + 2 : at + 2 + size])
        at += 2 + size
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            while True:
                budget.check_time()
                more = inflater.decompress(data, _STEP)
                out += more
                if len(out) > room:
                    del out[room:]
                    return budget.over_room(room)
                if budget.is_bomb(len(out), len(packed)):
                    return budget.bomb()
                data = inflater.unconsumed_tail
                if inflater.eof or not (data or more):
                    break
        except zlib.error as e:
            return Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
        if not size or not inflater.eof:
            return Shut(Reason.MALFORMED, "the compressed data is damaged: a chunk has no end")
    return None


def clear(garbled: bytes) -> bytes:
    """What InstallShield hid by turning its bits and adding a counter."""
    out = bytearray(len(garbled))
    for start, table in enumerate(_tables()):
        out[start::_GARBLE_EVERY] = garbled[start::_GARBLE_EVERY].translate(table)
    return bytes(out)


@functools.cache
def _tables() -> tuple[bytes, ...]:
    """For each state of the counter, what each byte means."""
    turned = [(b ^ 0xD5) >> 2 | ((b ^ 0xD5) << 6 & 0xFF) for b in range(256)]
    return tuple(bytes(t - n & 0xFF for t in turned) for n in range(_GARBLE_EVERY))
