"""Office documents that are one file of XML, and what they and web archives keep macros in.

Flat OPC (a package's parts in ``pkg:part``), WordprocessingML 2003 (``w:binData``); ActiveMime
(``editdata.mso``, ``oledata.mso``): a header, then a compound file compressed by zlib. That format
is not published; its stream is looked for behind the header.
"""

import html
import re

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

ACTIVE_MIME_STARTS = rb"ActiveMime"

_LOOK_BYTES = 4096
"""Of the beginning, where the root element is."""
_ROOTS = (
    b"schemas.microsoft.com/office/2006/xmlPackage",
    b"schemas.microsoft.com/office/word/2003/wordml",
    b"mso-application",
)
_BINARY = re.compile(
    rb"<(?:[A-Za-z0-9]{1,20}:)?(?:binaryData|binData|docOleData)\b[^<>]{0,1000}+>([^<]++)",
)
_NAME = re.compile(rb"(?:pkg:name|w:name)\s{0,20}=\s{0,20}[\"']([^\"'<>]{1,300})")
_NAME_REACH_BYTES = 2048
"""In front of the content: the part's element, or its own."""
_HEADER_BYTES_MAX = 512
_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
_ZLIB_HEADER_BYTES = 2


def looks_so(data: bytes) -> bool:
    """Whether it is XML of Office."""
    beginning = data[:_LOOK_BYTES]
    return b"<?xml" in beginning and any(root in beginning for root in _ROOTS)


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Each file that is in it in base64. Raises only Spent."""
    for number, found in enumerate(_BINARY.finditer(data), 1):
        budget.check_time()
        named = _NAME.findall(data, max(0, found.start() - _NAME_REACH_BYTES), found.start(1))
        name = html.unescape(encodings.text(named[-1])) if named else ""
        for content in encodings.decode_transfer(found[1], "base64"):
            yield Piece(content, Role.MEMBER, name, label=str(number))


def read_active_mime(data: bytes, _name: str, budget: Budget) -> Contents:
    """The compound file. Raises only Spent."""
    for found in _ZLIB.finditer(data, 0, _HEADER_BYTES_MAX):
        start = found.start() + _ZLIB_HEADER_BYTES
        inflated = inflate(deflate, memoryview(data)[start:], budget)
        if inflated.data:
            yield Piece(inflated.data, Role.MEMBER, label="content")
            if inflated.shut is not None:
                yield Shut(inflated.shut.reason, inflated.shut.detail)
            return
    yield Shut(Reason.MALFORMED, "an ActiveMime file without its stream")
