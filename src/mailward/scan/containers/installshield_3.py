"""Archives of InstallShield 3: a list of folders and files at the end, packed by PKWARE's library.

Layout: W. Frisch, unshieldv3 (``ISArchiveV3.cpp``).
"""

import struct

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import dcl
from mailward.scan.containers.bits import DamagedError
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x13\x5d\x65\x8c\x3a\x01\x02\0"

_LIST_AT, _FOLDERS_AT = 41, 49
_FOLDER = struct.Struct("<HHH")
"""Files, bytes of this entry, bytes of the name that follows."""
_FILE = struct.Struct("<B2xLLL8xHBBxBB")
"""Last volume, size, packed size, place, bytes of this entry, attributes, whether it is split,
first volume, bytes of the name that follows."""
_STORED = 0x10


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        at = struct.unpack_from("<L", data, _LIST_AT)[0]
        folders = []
        for _ in range(struct.unpack_from("<H", data, _FOLDERS_AT)[0]):
            count, entry_bytes, name_bytes = _FOLDER.unpack_from(data, at)
            start = at + _FOLDER.size
            folders.append((count, encodings.text(data[start : start + name_bytes])))
            if entry_bytes < _FOLDER.size:
                raise DamagedError
            at += entry_bytes
        for count, folder in folders:
            budget.count_part(0)
            for _ in range(count):
                entry = _FILE.unpack_from(data, at)
                start = at + _FILE.size
                name = encodings.text(data[start : start + entry[8]])
                if entry[4] < _FILE.size:
                    raise DamagedError
                yield from _file(data, entry, f"{folder}\\{name}" if folder else name, budget)
                at += entry[4]
    except (struct.error, DamagedError):
        yield Shut(Reason.MALFORMED, "InstallShield archive: its list of files is damaged or cut")


def _file(data: bytes, entry: tuple[int, ...], name: str, budget: Budget) -> Contents:
    last, size, packed_bytes, start, _, attributes, is_split, first, _ = entry
    packed = memoryview(data)[start : start + packed_bytes]
    room = budget.room()
    out, shut = bytearray(), None
    if is_split or first != last:
        why = "InstallShield archive: a part of it is in another file"
        shut = Shut(Reason.UNSUPPORTED, why, name)
    elif len(packed) < packed_bytes:
        shut = Shut(Reason.MALFORMED, "truncated: it ends behind the archive", name)
    if attributes & _STORED:
        out += packed[: room + 1]
    else:
        try:
            dcl.unpack(packed, out, min(size, room + 1), budget)
        except DamagedError as e:
            shut = shut or Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}", name)
    if len(out) > room:
        del out[room:]
        over = budget.over_room(room)
        shut = Shut(over.reason, over.detail, name)
    yield Piece(bytes(out), Role.MEMBER, name)
    if shut is None and len(out) < size:
        shut = Shut(Reason.MALFORMED, "truncated: the compressed data ends too early", name)
    if shut is not None:
        yield shut
