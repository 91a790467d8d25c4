"""Files of RAR 1.3 to 4, also those that libarchive does not open: of solid archives.

Format: RARLAB's ``technote.txt`` of release 3; names: M. Kreen, ``rarfile.py``.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.rar4_blocks import (
    BLOCK,
    BLOCKS_MAX,
    END,
    FILE,
    FROM_BEFORE,
    GOES_ON,
    IS_ENCRYPTED,
    IS_LARGE,
    IS_SOLID,
    MAGIC,
    MAIN,
    Header,
    plain_header,
)
from mailward.scan.containers.rar_lz15 import Unpacker15
from mailward.scan.containers.rar_lz20 import Unpacker20
from mailward.scan.containers.rar_lz29 import Unpacker29
from mailward.scan.containers.rar_unpacker import Unpacker
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

MAGIC_14 = b"RE~^"

_FIELDS = struct.Struct("<LLBLLBBHL")
_GOES_ON_SOLID, _FOLDER, _UNICODE = 0x10, 0xE0, 0x200
_COMMENTS = {MAIN: 0x02, FILE: 0x08}
"""Said in a header, which is old then: what it holds is not part of its checksum."""
_UNCHECKED = range(0x75, 0x7A)
"""Old blocks, whose checksums are made in ways of their own."""
_STORED, _PACKED = 0x30, range(0x31, 0x36)
_FIELDS_14 = struct.Struct("<LLHH4xBBBBB")
_FOLDER_ATTRIBUTE = 0x10
_OLDEST = 13
"""The version that RAR 1.3 and 1.4 need."""
_SOLID_BY_FILE = 20
"""Version from which on a file says whether it goes on from the one before."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    flags: int
    version: int
    method: int
    size: int
    crc: int
    packed: memoryview
    is_cut: bool
    """The archive ends in it."""
    is_solid: bool
    """It goes on from the one before."""


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The files of an archive in which nothing is encrypted. Raises only Spent.

    By libarchive, which is faster, if it opens them all. ``name``: of the archive.
    """
    if data.startswith(MAGIC_14):
        yield from _Reader(_members_14(data), len(data), budget).read()
    elif _are_ours(data):
        yield from _Reader(_members(data), len(data), budget).read()
    else:
        yield from libarchive.read(libarchive.RAR, data, name, budget)
        with suppress(DamagedError, struct.error):  # then it said so
            for member in _members(data):
                if member.flags & (FROM_BEFORE | GOES_ON):
                    why = "RAR archive: the file is in several volumes"
                    yield Shut(Reason.UNSUPPORTED, why, member.name)


def _are_ours(data: bytes) -> bool:
    try:
        return any(m.is_solid or (m.version < 29 and m.method in _PACKED) for m in _members(data))
    except (DamagedError, struct.error):
        return False


def _members(data: bytes) -> Iterator[_Member]:
    """Raises DamagedError, struct.error."""
    at = len(MAGIC)
    is_first, is_solid = True, False
    view = memoryview(data)
    for _ in range(BLOCKS_MAX):
        if at == len(data):
            return
        header = plain_header(data, at)
        kind, flags = header.kind, header.flags
        is_checked = kind not in _UNCHECKED and not flags & _COMMENTS.get(kind, 0)
        if is_checked and not header.is_right:
            raise DamagedError("a header is damaged")
        at = header.after + header.data_bytes
        if kind == MAIN:
            is_solid = bool(flags & IS_SOLID)
        elif kind == FILE:
            packed = view[header.after : at]
            is_cut = at > len(data)
            yield _member(header, packed, is_cut=is_cut, follows=is_solid and not is_first)
            is_first = False
        if kind == END:
            return


def _members_14(data: bytes) -> Iterator[_Member]:
    """Of RAR 1.3 and 1.4. Raises DamagedError, struct.error."""
    at, flags = struct.unpack_from("<HB", data, len(MAGIC_14))
    is_solid = False
    view = memoryview(data)
    for _ in range(BLOCKS_MAX):
        if at == len(data):
            return
        added, size, check, head_bytes, attributes, said, _, name_bytes, method = (
            _FIELDS_14.unpack_from(data, at)
        )
        start = at + head_bytes
        name_at = at + _FIELDS_14.size
        if head_bytes < _FIELDS_14.size + name_bytes:
            raise DamagedError("a header is damaged")
        if start > len(data):
            raise DamagedError("a header is cut")
        name = encodings.text(data[name_at : name_at + name_bytes]).replace("\\", "/")
        kept = said & (FROM_BEFORE | GOES_ON | IS_ENCRYPTED)
        kept |= _FOLDER if attributes & _FOLDER_ATTRIBUTE else 0
        packed = view[start : start + added]
        ratio = 0x30 + min(method, 5)
        is_cut = len(packed) < added
        yield _Member(name, kept, _OLDEST, ratio, size, check, packed, is_cut, is_solid)
        is_solid = bool(flags & IS_SOLID)
        at = start + added


def _sum_14(plain: bytes | bytearray) -> int:
    """The checksum of RAR 1.3 and 1.4."""
    value = 0
    for byte in plain:
        value = value + byte & 0xFFFF
        value = (value << 1 | value >> 15) & 0xFFFF
    return value


def _member(header: Header, packed: memoryview, *, is_cut: bool, follows: bool) -> _Member:
    head, flags = header.raw, header.flags
    _, size, _, crc, _, version, method, name_bytes, _ = _FIELDS.unpack_from(head, BLOCK.size)
    at = BLOCK.size + _FIELDS.size
    if flags & IS_LARGE:
        size |= struct.unpack_from("<L", head, at + 4)[0] << 32
        at += 8
    name = _name(head[at : at + name_bytes], flags).replace("\\", "/")
    goes_on = bool(flags & _GOES_ON_SOLID) if version >= _SOLID_BY_FILE else follows
    return _Member(name, flags, version, method, size, crc, packed, is_cut, goes_on)


def _name(raw: bytes, flags: int) -> str:
    """As it was written: some archivers add how letters differ from what they are in one byte."""
    plain, zero, coded = raw.partition(b"\0")
    if not flags & _UNICODE:
        return encodings.text(plain)
    if not zero:
        return raw.decode("utf-8", "replace")
    letters: list[int] = []
    high, at = (coded[0] if coded else 0), 1
    try:
        while at < len(coded):
            kinds = coded[at]
            at += 1
            for shift in (6, 4, 2, 0):
                if at >= len(coded):
                    break
                value = coded[at]
                at += 1
                match kinds >> shift & 3:
                    case 0:
                        letters.append(value)
                    case 1:
                        letters.append(high << 8 | value)
                    case 2:
                        letters.append(coded[at] << 8 | value)
                        at += 1
                    case _:
                        start = len(letters)
                        same = plain[start : start + (value & 0x7F) + 2]
                        if value & 0x80:
                            add = coded[at]
                            at += 1
                            letters += [high << 8 | one + add & 0xFF for one in same]
                        else:
                            letters += same
    except IndexError:
        return encodings.text(plain)
    return struct.pack(f"<{len(letters)}H", *letters).decode("utf-16-le", "replace")


class _Reader:
    """One walk through one archive."""

    def __init__(self, members: Iterator[_Member], size: int, budget: Budget) -> None:
        self._members = members
        self._size = size
        """Bytes of the archive."""
        self._budget = budget
        self._unpacker: Unpacker | None = None
        self._is_lost = False
        """What a file may go on from was not unpacked."""
        self._unpacked = 0
        """Of all files: in a solid archive they share what they are packed in."""

    def read(self) -> Contents:
        """The files. Raises only Spent."""
        is_empty = True
        try:
            for member in self._members:
                is_empty = False
                self._budget.check_time()
                if member.flags & _FOLDER == _FOLDER:
                    self._budget.count_part(0)  # or millions of folders would cost nothing but time
                    continue
                yield from self._file(member)
                if self._is_lost and member.is_solid:
                    return
        except (DamagedError, struct.error):
            yield Shut(Reason.MALFORMED, "RAR archive: a header is damaged or cut")
            return
        if is_empty:
            yield Shut(Reason.MALFORMED, "RAR archive: nothing in it can be read")

    def _file(self, member: _Member) -> Contents:
        if member.flags & IS_ENCRYPTED:
            shut: Shut | None = Shut(Reason.ENCRYPTED, "encrypted archive member")
        elif member.flags & FROM_BEFORE:
            shut = Shut(Reason.UNSUPPORTED, "RAR archive: the file begins in another volume")
        elif member.method == _STORED:
            room = self._budget.room()
            out = bytes(member.packed[: min(member.size, room)])
            shut = self._budget.over_room(room) if member.size > room else None
            shut = shut or self._fault(member, out)
            yield Piece(out, Role.MEMBER, member.name)
        elif member.method not in _PACKED or member.version not in _UNPACKERS:
            version = f"{member.version // 10}.{member.version % 10}"
            why = f"RAR archive: method {member.method:#x} of {version}, which is not known"
            shut = Shut(Reason.UNSUPPORTED, why)
        elif member.is_solid and self._is_lost:
            shut = Shut(Reason.LIMIT, "RAR archive: neither it nor what is behind it was read")
        else:
            out, shut = self._unpack(member)
            yield Piece(out, Role.MEMBER, member.name)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, member.name)

    def _unpack(self, member: _Member) -> tuple[bytes, Shut | None]:
        """What came out of it, and why it is not all."""
        kind = _UNPACKERS[member.version]
        if not member.is_solid or not isinstance(self._unpacker, kind):
            self._unpacker = kind()
            self._is_lost = False
        unpacker = self._unpacker
        budget, room = self._budget, self._budget.room()
        out = bytearray()
        shut: Shut | None = None
        if len(member.packed):
            try:
                for _ in unpacker.unpack(member.packed, out, min(member.size, room + 1), budget):
                    budget.check_time()
                    if budget.is_bomb(self._unpacked + len(out), self._size):
                        shut = budget.bomb()
                        break
            except DamagedError as e:
                shut = Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
        self._unpacked += len(out)
        if len(out) > room:
            shut = budget.over_room(room)
            del out[room:]
        self._is_lost = shut is not None and shut.reason is Reason.LIMIT
        if shut is None and unpacker.lost_filters:
            why = "RAR archive: packed by a program of its own, which is not run: read as it is"
            shut = Shut(Reason.UNSUPPORTED, why)
        return bytes(out), shut or self._fault(member, out)

    def _fault(self, member: _Member, out: bytes | bytearray) -> Shut | None:
        """What is wrong with a file."""
        if member.flags & GOES_ON:
            return Shut(Reason.UNSUPPORTED, "RAR archive: the file goes on in another volume")
        if member.is_cut:
            return Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
        if member.version == _OLDEST:  # that of what is stored would cost more than it says
            is_right = member.method == _STORED or _sum_14(out) == member.crc
        else:
            is_right = zlib.crc32(out) == member.crc
        if len(out) < member.size or not is_right:
            return Shut(Reason.MALFORMED, "a checksum is wrong")
        return None


_UNPACKERS: dict[int, type[Unpacker]] = {
    _OLDEST: Unpacker15,
    15: Unpacker15,
    20: Unpacker20,
    26: Unpacker20,  # a file of more than 2 GiB
    29: Unpacker29,
    36: Unpacker29,
}
"""By the version that is needed to unpack."""
