"""ALZip's archives, ``.alz`` and ``.egg``: their files.

Layout: unalz for the first; for the second ESTsoft's "EGG Archive File Format Specification".
"""

import bz2
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from mailward.scan.budget import Budget
from mailward.scan.containers import alzip_crypt, bare_bzip2
from mailward.scan.containers.inflate import Decompressor, Inflated, deflate, inflate, lzma_raw
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

ALZ_STARTS = rb"ALZ\x01"
EGG_STARTS = rb"EGGA"

_ALZ_HEADER_BYTES = 8
_ALZ_FILE, _ALZ_LIST, _ALZ_END = b"BLZ\x01", b"CLZ\x01", b"CLZ\x02"
_ALZ_HEAD = struct.Struct("<4sHBLBx")
_ALZ_ENCRYPTED, _ALZ_CHECKED_BY_TIME = 1, 8
_ALZ_LOCK_BYTES = 12
_ALZ_FOLDER = 0x10
_SIZE_BYTES = (1, 2, 4, 8)

_EGG_HEADER_BYTES = 14
_END, _FILE, _NAME, _BLOCK = 0x08E28222, 0x0A8590E3, 0x0A8591AC, 0x02B50C13
_ENCRYPTED, _ALL_ENCRYPTED, _SPLIT, _SOLID = 0x08D1470F, 0x08D144A8, 0x24F5A262, 0x24E5A060
_EXTRAS = frozenset(
    (_NAME, _ENCRYPTED, _ALL_ENCRYPTED, _SPLIT, _SOLID, 0x04C63672, 0x2C86950B, 0x1EE922E5,
     0x07463307, 0xFFFF0000)
)  # fmt: skip
"""What has its size in front."""
_LONG_SIZE, _HIDDEN_NAME, _HAS_LOCALE, _HAS_PARENT = 1, 4, 8, 16
_BLOCK_HEAD = struct.Struct("<BBLLL")
_EGG_STORED, _EGG_DEFLATE, _EGG_BZIP2, _, _EGG_LZMA = range(5)
_LZMA_PROPERTIES_AT, _LZMA_DATA_AT = 4, 9
_RECORDS_MAX = 100_000
_CUT = "truncated: the archive ends too early"


def read_alz(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files of an ``.alz``. Raises only Spent."""
    at = _ALZ_HEADER_BYTES
    for _ in range(_RECORDS_MAX):
        budget.check_time()
        mark = data[at : at + 4]
        if mark in (_ALZ_LIST, _ALZ_END):
            return
        try:
            if mark != _ALZ_FILE:
                raise struct.error
            _, name_bytes, attributes, time, descriptor = _ALZ_HEAD.unpack_from(data, at)
            at += _ALZ_HEAD.size
            method = checksum = packed_bytes = plain_bytes = 0
            width = descriptor >> 4
            if width:
                if width not in _SIZE_BYTES:
                    raise struct.error
                method, checksum = struct.unpack_from("<BxL", data, at)
                at += 6
                packed_bytes = int.from_bytes(data[at : at + width], "little")
                plain_bytes = int.from_bytes(data[at + width : at + 2 * width], "little")
                at += 2 * width
        except struct.error:
            yield Shut(Reason.MALFORMED, _CUT)
            return
        name = data[at : at + name_bytes].decode("cp949", "replace").replace("\\", "/")
        at += name_bytes
        if descriptor & _ALZ_ENCRYPTED:
            check = (time >> 8 if descriptor & _ALZ_CHECKED_BY_TIME else checksum >> 24) & 0xFF
            lock = alzip_crypt.alz_lock(data[at : at + _ALZ_LOCK_BYTES], check)
            at += _ALZ_LOCK_BYTES
            packed = memoryview(data)[at : at + packed_bytes]
            at += packed_bytes
            yield from _alz_locked(lock, packed, method, name, checksum, budget)
            continue
        packed = memoryview(data)[at : at + packed_bytes]
        at += packed_bytes
        if not width or attributes & _ALZ_FOLDER:
            budget.count_part(0)  # or millions of folders would cost nothing but time
            continue
        done = _alz_unpacked(packed, method, budget)
        yield from _checked(done, name, plain_bytes, checksum, len(packed) < packed_bytes)
    yield Shut(Reason.LIMIT, f"ALZ archive: more than {_RECORDS_MAX} files")


def _alz_locked(
    lock: alzip_crypt.Lock,
    packed: memoryview,
    method: int,
    name: str,
    checksum: int,
    budget: Budget,
) -> Contents:
    for password, plain in alzip_crypt.opened(lock, (packed,), budget):
        done = _alz_unpacked(plain, method, budget)
        over = done.shut is not None and done.shut.reason is Reason.LIMIT
        if over or zlib.crc32(done.data) == checksum:
            budget.passwords.worked(password)
            yield Unlocked(name)
            yield Piece(done.data, Role.MEMBER, name)
            if done.shut is not None:
                yield Shut(done.shut.reason, done.shut.detail, name)
            return
    yield Shut(Reason.ENCRYPTED, "encrypted archive member", name)


def _alz_unpacked(packed: memoryview, method: int, budget: Budget) -> Inflated:
    match method:
        case 0:
            return _stored(packed, budget)
        case 1:
            if bytes(packed[:3]) == b"BZh":  # none is known, but programs read it
                return inflate(bz2.BZ2Decompressor, packed, budget)
            return bare_bzip2.unpack(packed, bare_bzip2.ALZIP, budget)
        case 2:
            return inflate(deflate, packed, budget)
    why = f"ALZ archive: method {method}: this release cannot open it"
    return Inflated(b"", len(packed), Shut(Reason.UNSUPPORTED, why))


def _stored(packed: memoryview, budget: Budget) -> Inflated:
    room = budget.room()
    shut = budget.over_room(room) if len(packed) > room else None
    return Inflated(bytes(packed[:room]), len(packed), shut)


def _checked(done: Inflated, name: str, size: int, checksum: int | None, cut: bool) -> Contents:
    yield Piece(done.data, Role.MEMBER, name)
    shut = done.shut
    if shut is None and (cut or len(done.data) < size):
        shut = Shut(Reason.MALFORMED, _CUT)
    if shut is None and checksum is not None and zlib.crc32(done.data) != checksum:
        shut = Shut(Reason.MALFORMED, "a checksum is wrong")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


class _Block(NamedTuple):
    method: int
    hint: int
    plain_bytes: int
    packed_bytes: int
    checksum: int


@dataclass(slots=True)
class _EggFile:
    name: str = ""
    size: int = 0
    is_encrypted: bool = False
    lock: alzip_crypt.Lock | None = None
    blocks: list[tuple[memoryview, _Block]] = field(default_factory=list)
    """Of an encrypted one, which is opened when all are there."""
    data: bytearray = field(default_factory=bytearray)
    shut: Shut | None = None


def read_egg(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files of an ``.egg``. Raises only Spent."""
    at = _EGG_HEADER_BYTES
    file: _EggFile | None = None
    solid = ended = False
    for _ in range(_RECORDS_MAX):
        budget.check_time()
        if at + 4 > len(data):
            break
        kind = int.from_bytes(data[at : at + 4], "little")
        at += 4
        ended = kind == _END
        if kind == _FILE and at + 12 <= len(data):
            yield from _egg_file(file, len(data), budget)
            file = _EggFile(size=int.from_bytes(data[at + 4 : at + 12], "little"))
            at += 12
        elif kind == _BLOCK and file is not None and at + _BLOCK_HEAD.size + 4 <= len(data):
            at = _egg_block(data, at, file, budget, solid=solid)
        elif kind in _EXTRAS:
            flags = data[at] if at < len(data) else 0
            width = 4 if flags & _LONG_SIZE else 2
            size = int.from_bytes(data[at + 1 : at + 1 + width], "little")
            body = data[at + 1 + width : at + 1 + width + size]
            at += 1 + width + size
            if kind == _NAME and file is not None:
                file.name = _egg_name(body, flags)
            elif kind == _ENCRYPTED and file is not None:
                file.is_encrypted = True
                file.lock = alzip_crypt.egg_lock(body)
            elif kind == _ALL_ENCRYPTED:
                yield Shut(Reason.ENCRYPTED, "encrypted EGG archive, names included")
                return
            elif kind == _SPLIT:
                yield Shut(Reason.UNSUPPORTED, "EGG archive: a part of several volumes")
            elif kind == _SOLID:
                solid = True
        elif kind != _END:
            break
    yield from _egg_file(file, len(data), budget)
    if not ended or at < len(data) or file is None:
        yield Shut(Reason.MALFORMED, f"EGG archive: a record is damaged, or {_CUT}")


def _egg_name(body: bytes, flags: int) -> str:
    if flags & _HIDDEN_NAME:
        return ""
    at = (2 if flags & _HAS_LOCALE else 0) + (4 if flags & _HAS_PARENT else 0)
    korean = flags & _HAS_LOCALE and int.from_bytes(body[:2], "little") not in (0, 65001)
    return body[at:].decode("cp949" if korean else "utf-8", "replace").replace("\\", "/")


def _egg_block(data: bytes, at: int, file: _EggFile, budget: Budget, *, solid: bool) -> int:
    """Unpack it behind what the file has already; where it ends."""
    block = _Block(*_BLOCK_HEAD.unpack_from(data, at))
    end: int = at + _BLOCK_HEAD.size
    # Behind the header there may be extra fields, then the mark of its end.
    start = data.find(_END.to_bytes(4, "little"), end) + 4
    if start < 4:
        file.shut = file.shut or Shut(Reason.MALFORMED, _CUT)
        return len(data)
    packed = memoryview(data)[start : start + block.packed_bytes]
    end = start + block.packed_bytes
    if file.is_encrypted:
        file.blocks.append((packed, block))
        return end
    if file.shut is not None:
        return end
    if solid and block.method != _EGG_STORED:
        why = "solid EGG archive: this release cannot open it"
        file.shut = Shut(Reason.UNSUPPORTED, why)
        return end
    _egg_add(file, packed, block, len(data), budget)
    return end


def _egg_add(
    file: _EggFile, packed: memoryview, block: _Block, archive_bytes: int, budget: Budget
) -> None:
    done = _egg_unpacked(packed, block.method, budget)
    file.shut = done.shut
    short = len(packed) < block.packed_bytes or len(done.data) < block.plain_bytes
    if file.shut is None and short:
        file.shut = Shut(Reason.MALFORMED, _CUT)
    if file.shut is None and zlib.crc32(done.data) != block.checksum:
        file.shut = Shut(Reason.MALFORMED, "a checksum is wrong")
    room = budget.room()
    file.data += done.data[: room + 1 - len(file.data)]
    if len(file.data) > room:
        file.shut = budget.over_room(room)
    elif file.shut is None and budget.is_bomb(len(file.data), archive_bytes):
        file.shut = budget.bomb()


def _egg_unpacked(packed: memoryview, method: int, budget: Budget) -> Inflated:
    if method == _EGG_STORED:
        return _stored(packed, budget)
    make: Callable[[], Decompressor]
    skip = 0
    if method == _EGG_DEFLATE:
        make = deflate
    elif method == _EGG_BZIP2:
        make = bz2.BZ2Decompressor
    elif method == _EGG_LZMA:
        properties = bytes(packed[_LZMA_PROPERTIES_AT:_LZMA_DATA_AT])
        make, skip = partial(lzma_raw, properties, None), _LZMA_DATA_AT
    else:
        why = f"EGG archive: method {method}: this release cannot open it"
        return Inflated(b"", len(packed), Shut(Reason.UNSUPPORTED, why))
    done = inflate(make, packed[skip:], budget)
    if method == _EGG_LZMA and done.shut is not None and done.shut.detail.startswith("truncated"):
        return Inflated(done.data, len(packed))  # it need not have an end; sizes are looked at
    return done


def _egg_opened(file: _EggFile, archive_bytes: int, budget: Budget) -> _EggFile | None:
    """The file with the first password that fits; None if there is none."""
    if file.lock is None or not file.blocks:
        return None
    pieces = [packed for packed, _ in file.blocks]
    for password, plain in alzip_crypt.opened(file.lock, pieces, budget):
        whole = _EggFile(file.name, file.size)
        at = 0
        for packed, block in file.blocks:
            if whole.shut is None:
                _egg_add(whole, plain[at : at + len(packed)], block, archive_bytes, budget)
            at += len(packed)
        if whole.shut is None or whole.shut.reason is not Reason.MALFORMED:
            budget.passwords.worked(password)
            return whole
    return None


def _egg_file(file: _EggFile | None, archive_bytes: int, budget: Budget) -> Contents:
    if file is None:
        return
    if file.is_encrypted:
        whole = _egg_opened(file, archive_bytes, budget)
        if whole is None:
            yield Shut(Reason.ENCRYPTED, "encrypted archive member", file.name)
            return
        yield Unlocked(file.name)
        file = whole
    if file.name or file.data or file.shut is not None:
        shut = file.shut
        if shut is None and len(file.data) < file.size:
            shut = Shut(Reason.MALFORMED, _CUT)
        yield Piece(bytes(file.data), Role.MEMBER, file.name)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, file.name)
