"""Calendars and contacts (RFC 5545, RFC 6350, vCard 2.1 and 3): files in their properties.

They are in base64, or in ``data:`` addresses.
"""

import re

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece
from mailward.scan.documents import web
from mailward.scan.part import Role

STARTS = rb"(?:\xef\xbb\xbf)?\s{0,64}(?i:BEGIN:V(?:CALENDAR|CARD))"

_FOLD = re.compile(rb"\r?\n[ \t]")
_PROPERTY = re.compile(
    rb"^([A-Z-]{1,60});[^:\r\n]{0,1000}?ENCODING=\"?B(?:ASE64)?\b[^:\r\n]{0,1000}+:"
    rb"((?:[A-Za-z0-9+/=]++\s*+)++)",
    re.IGNORECASE | re.MULTILINE,
)
_FILE_NAME = re.compile(rb"(?:FILENAME|X-FILENAME|NAME)=\"?([^\";:\r\n]{1,300})", re.IGNORECASE)


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Each file. Raises only Spent."""
    unfolded = _FOLD.sub(b"", data)
    for content, content_type, label in web.addresses(unfolded, unfolded.lower()):
        budget.check_time()
        yield Piece(content, Role.ATTACHMENT, content_type=content_type, label=label)
    for number, found in enumerate(_PROPERTY.finditer(unfolded), 1):
        budget.check_time()
        named = _FILE_NAME.search(found[0], 0, found.start(2) - found.start())
        name = encodings.text(named[1]) if named is not None else ""
        label = f"{found[1].decode('latin-1').lower()} {number}"
        for content in encodings.decode_transfer(found[2], "base64")[:1]:
            yield Piece(content, Role.ATTACHMENT, name, label=label)
