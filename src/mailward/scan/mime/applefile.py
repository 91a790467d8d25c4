"""AppleSingle and AppleDouble (RFC 1740): the forks of a Macintosh file, with its name."""

import struct

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\0\x05\x16[\0\x07]\0[\x01\x02]\0\0"

_COUNT_AT, _ENTRIES_AT = 24, 26
_ENTRY = struct.Struct(">LLL")
_DATA_FORK, _RESOURCE_FORK, _REAL_NAME = 1, 2, 3
_ENTRIES_MAX = 100


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    budget.check_time()
    entries: list[tuple[int, int, bytes]] = []
    count = int.from_bytes(data[_COUNT_AT:_ENTRIES_AT], "big")
    for number in range(min(count, _ENTRIES_MAX)):
        at = _ENTRIES_AT + number * _ENTRY.size
        if at + _ENTRY.size > len(data):
            break
        kind, offset, size = _ENTRY.unpack_from(data, at)
        entries.append((kind, size, data[offset : offset + size]))
    names = (content for kind, _, content in entries if kind == _REAL_NAME)
    name = encodings.text(next(names, b""))
    forks = {_DATA_FORK: name, _RESOURCE_FORK: f"{name or 'resource'}.rsrc"}
    for kind, size, content in entries:
        if kind in forks and content:
            yield Piece(content, Role.MEMBER, forks[kind])
        if kind in forks and len(content) < size:
            why = "a Macintosh file (AppleSingle): a fork ends behind it"
            yield Shut(Reason.MALFORMED, why, forks[kind])
    if not entries or len(entries) < count:
        why = f"a Macintosh file (AppleSingle): {len(entries)} of {count} entries can be read"
        yield Shut(Reason.MALFORMED, why)
