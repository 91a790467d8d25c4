"""Files that are written into a text: uuencode, yEnc, BinHex. Old mail had no other attachments."""

import re
from collections.abc import Iterator

from mailward.scan import marks
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.mime import binhex, uu, yenc
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_UU = re.compile(rb"begin(?:-base64)? +[0-7]{3,4} ")
_YENC = b"=ybegin "


def holds_files(data: bytes, held: int) -> bool:
    """Whether there is one. ``held``: the text's marks."""
    if held & marks.UU and any(_at_line(data, found.start()) for found in _UU.finditer(data)):
        return True
    if held & marks.YENC and (at := data.find(_YENC)) >= 0 and _at_line(data, at):
        return True
    return bool(held & marks.BINHEX) and binhex.MARK in data


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Each file. Raises only Spent."""
    count = 0
    for count, (name, content) in enumerate(_files(data, budget), 1):
        budget.check_time()
        yield Piece(content, Role.MEMBER, name, label=str(count))
    if not count and data.startswith(binhex.MARK):
        yield Shut(Reason.MALFORMED, "a BinHex file that cannot be decoded")


def _at_line(data: bytes, at: int) -> bool:
    return not at or data[at - 1] in b"\r\n"


def _files(data: bytes, budget: Budget) -> Iterator[tuple[str, bytes]]:
    if b"begin" in data:
        yield from uu.decode(data)
    if b"=ybegin " in data:
        yield from yenc.decode(data)
    if binhex.MARK in data:
        yield from binhex.decode(data, budget.room() + 1)
