"""Programs of macOS for several processors in one file (``mach-o/fat.h``): each is a part."""

import re
import struct

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_START = re.compile(rb"\xca\xfe\xba[\xbe\xbf]\0\0\0[\1-\x1f]")
"""A class of Java begins alike, and has its version there, of at least 45."""

_ENTRY = struct.Struct(">8xLL4x")
_ENTRY_64 = struct.Struct(">8xQQ8x")
"""Where it is, its size."""
_ENTRIES_AT = 8
_OVERLAP_RATIO = 2
"""Programs together to the size of the file: honest ones share nothing."""


def looks_so(data: bytes) -> bool:
    """By its beginning."""
    return _START.match(data) is not None


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """The programs. Raises only Spent."""
    entry = _ENTRY_64 if data[3] == 0xBF else _ENTRY
    left = _OVERLAP_RATIO * len(data)
    for number in range(data[7]):
        try:
            at, size = entry.unpack_from(data, _ENTRIES_AT + number * entry.size)
        except struct.error:
            yield Shut(Reason.MALFORMED, "program of macOS: its list of programs is cut")
            return
        content = data[at : at + min(size, budget.room())]
        left -= len(content)
        if left < 0:
            yield Shut(Reason.MALFORMED, "program of macOS: what is in it overlaps")
            return
        if content:
            yield Piece(content, Role.MEMBER, label=f"program {number + 1}")
        if len(content) < size:
            why = "program of macOS: truncated, or larger than a part may be"
            yield Shut(Reason.MALFORMED, why, label=f"program {number + 1}")
