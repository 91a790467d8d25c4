"""Text in UTF-16 or UTF-32 with a byte order mark, as Windows runs scripts: in UTF-8, for rules."""

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece
from mailward.scan.part import Role

STARTS = rb"\xff\xfe|\xfe\xff(?!\0\0)|\0\0\xfe\xff"
"""Not what property sets of compound files begin with (MS-OLEPS 2.21)."""


def read(data: bytes, name: str, _budget: Budget) -> Contents:
    """The text, under the file's own name."""
    yield Piece(encodings.text(data).encode("utf-8", "replace"), Role.MEMBER, name, label="utf-8")
