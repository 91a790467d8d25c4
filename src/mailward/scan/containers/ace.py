"""ACE archives, 1 and 2: their files.

Layout: M. Lemke, "Technical information of the archiver ACE v1.2", and the package ``acefile``.
"""

import struct
import zlib
from dataclasses import dataclass

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import ace_crypt
from mailward.scan.containers.ace_codes import UnknownModeError, Unpacker
from mailward.scan.containers.bits import DamagedError
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb".{7}\*\*ACE\*\*"
MAGIC = b"**ACE**"
MAGIC_AT = 7

_HEAD = struct.Struct("<HHBH")
_HEAD_MIN = 3
"""Bytes of a header behind its checksum and size."""
_MAIN, _FILE, _FILE_64 = 0, 1, 3
_ADDED, _64_BIT = 1, 1 << 2
_FROM_BEFORE, _GOES_ON, _PASSWORD = 1 << 12, 1 << 13, 1 << 14
_FOLDER = 0x10
_FIELDS = struct.Struct("<4xLLBBHHH")
_STORED, _LZ77, _BLOCKED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    flags: int
    packed: int
    size: int
    attributes: int
    checksum: int
    method: int


def looks_so(data: bytes, at: int) -> bool:
    """Whether a whole first header begins there."""
    found = _header(data, at)
    return found is not None and found[0] == _MAIN


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    at = 0
    unpacker = Unpacker()
    is_empty = True
    while at < len(data):
        budget.check_time()
        header = _header(data, at)
        if header is None:
            yield Shut(Reason.MALFORMED, "ACE archive: a header is damaged or cut")
            return
        kind, flags, body, at = header
        try:
            member = _member(kind, flags, body) if kind in (_FILE, _FILE_64) else None
            added = member.packed if member is not None else _added(flags, body)
        except struct.error:
            yield Shut(Reason.MALFORMED, "ACE archive: a header is damaged")
            return
        packed = memoryview(data)[at : at + added]
        at += added
        if member is None:
            continue
        is_empty = False
        if member.attributes & _FOLDER:
            budget.count_part(0)  # or millions of folders would cost nothing but time
            continue
        yield from _file(member, packed, unpacker, budget)
    if is_empty:
        yield Shut(Reason.MALFORMED, "truncated: the archive ends behind its first header")


def _header(data: bytes, at: int) -> tuple[int, int, bytes, int] | None:
    """Kind, flags, the whole of it behind its size, and where it ends."""
    if at + _HEAD.size > len(data):
        return None
    checksum, size, kind, flags = _HEAD.unpack_from(data, at)
    body = data[at + 4 : at + 4 + size]
    if len(body) < max(size, _HEAD_MIN) or ~zlib.crc32(body) & 0xFFFF != checksum:
        return None
    return kind, flags, body, at + 4 + size


def _added(flags: int, body: bytes) -> int:
    if not flags & _ADDED:
        return 0
    return int(struct.unpack_from("<Q" if flags & _64_BIT else "<L", body, _HEAD_MIN)[0])


def _member(kind: int, flags: int, body: bytes) -> _Member:
    """Raises struct.error."""
    sizes = struct.Struct("<QQ" if kind == _FILE_64 else "<LL")
    packed, plain = sizes.unpack_from(body, _HEAD_MIN)
    at = _HEAD_MIN + sizes.size
    attributes, checksum, method, _, _, _, name_bytes = _FIELDS.unpack_from(body, at)
    at += _FIELDS.size
    name = encodings.text(body[at : at + name_bytes].partition(b"\0")[0])
    return _Member(name, flags, packed, plain, attributes, checksum, method)


def _file(member: _Member, packed: memoryview, unpacker: Unpacker, budget: Budget) -> Contents:
    name = member.name.replace("\\", "/")
    if member.flags & (_FROM_BEFORE | _GOES_ON):
        unpacker.forget()
        yield Shut(Reason.UNSUPPORTED, "ACE archive: the file is in several volumes", name)
        return
    if member.method not in (_STORED, _LZ77, _BLOCKED):
        why = f"ACE archive: method {member.method}: this release cannot open it"
        yield Shut(Reason.UNSUPPORTED, why, name)
        return
    if not member.flags & _PASSWORD or not member.size:
        out, shut = _unpacked(member, packed, unpacker, budget)
    else:
        opened = _opened(member, packed, unpacker, budget)
        if opened is None:
            unpacker.forget()
            yield Shut(Reason.ENCRYPTED, "encrypted archive member", name)
            return
        out, shut = opened
        yield Unlocked(name)
    if shut is not None:
        unpacker.forget()
    yield Piece(out, Role.MEMBER, name)
    if shut is not None:
        yield Shut(shut.reason, shut.detail, name)


def _opened(
    member: _Member, packed: memoryview, unpacker: Unpacker, budget: Budget
) -> tuple[bytes, Shut | None] | None:
    """With the first password that fits; None if there is none."""
    before = unpacker.state()
    for password, plain in ace_crypt.opened(packed, budget):
        out, shut = _unpacked(member, plain, unpacker, budget)
        if shut is None or shut.reason is Reason.LIMIT:
            budget.passwords.worked(password)
            return out, shut
        unpacker.restore(before)
    return None


def _unpacked(
    member: _Member, packed: memoryview, unpacker: Unpacker, budget: Budget
) -> tuple[bytes, Shut | None]:
    """The file, and why it is not all of it."""
    room = budget.room()
    shut: Shut | None = None
    out = bytearray()
    if member.method == _STORED:
        out += packed[: min(member.size, room + 1)]
        unpacker.remember(out)
    else:
        wanted = min(member.size, room + 1)
        try:
            shut = unpacker.unpack(
                packed, out, wanted, blocked=member.method == _BLOCKED, budget=budget
            )
        except UnknownModeError as e:
            why = f"ACE archive: {e}: this release cannot open it"
            shut = Shut(Reason.UNSUPPORTED, why)
        except DamagedError as e:
            shut = Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
    if shut is None and len(out) > room:
        shut = budget.over_room(room)
    if shut is None and len(out) < member.size:
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the archive")
    if shut is None and ~zlib.crc32(out) & 0xFFFFFFFF != member.checksum:
        shut = Shut(Reason.MALFORMED, "a checksum is wrong")
    return bytes(out[:room]), shut
