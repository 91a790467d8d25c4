"""OneNote sections (MS-ONESTORE): the files that are embedded in them."""

import struct

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3"
"""{7B5C52E4-D88C-4DA7-AEB1-5378D02996D3}, a section."""

_FILE = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
"""{BDE316E7-2665-4511-A4C4-8D4D0B7A9EAC}: FileDataStoreObject, section 2.6.13."""
_SIZES = struct.Struct("<QLQ")


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """Each file, numbered: their names are elsewhere. Raises only Spent."""
    at, number = data.find(_FILE), 0
    while at >= 0:
        start = at + len(_FILE) + _SIZES.size
        if start > len(data):
            break
        size, _, _ = _SIZES.unpack_from(data, at + len(_FILE))
        number += 1
        wanted = min(size, budget.room() + 1)
        content = data[start : start + wanted]
        yield Piece(content, Role.MEMBER, label=f"file {number}")
        if len(content) < wanted:
            why = "truncated: an embedded file ends behind the section"
            yield Shut(Reason.MALFORMED, why, label=f"file {number}")
        at = data.find(
            _FILE, start
        )  # what a file holds may itself look like one: that is found too
