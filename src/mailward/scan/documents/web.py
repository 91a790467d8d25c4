"""HTML, SVG and scripts: what is packed in them as text, as in HTML smuggling.

Scripts by themselves, ``data:`` addresses, also disguised ones, pages in attributes, and what
scripts unpack (``packed_text``).
"""

import html
import re
from collections.abc import Iterator

from mailward.scan import encodings, marks
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.documents import encoded_script, packed_text
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_LOOK_BYTES = 512
"""Of the beginning, in which text has no NUL."""
_IN_PAGES = (
    marks.SCRIPT | marks.DATA | marks.ATOB | marks.PAGE_WITHIN | marks.DISGUISED | marks.POWERSHELL
)
_IN_SCRIPTS = (
    marks.ATOB | marks.BASE64 | marks.UNESCAPE | marks.CHARACTERS | marks.ARRAY | marks.ENCODED
    | marks.ESCAPED | marks.CHR | marks.HEXADECIMAL | marks.POWERSHELL | marks.PEM
)  # fmt: skip
"""One of these is in whatever has something to unpack."""
_ATOB = re.compile(rb"atob(?<![a-z]atob)(?![a-z])")
"""Four letters that long texts in base64 have by chance. They come first, as a search for them is
much faster than one for what is before them."""
_SHORT_BYTES = 96
_PIECES_MAX = 2000
_PACKED_MIN = 64
"""Characters of an address that is not in base64."""

_SCRIPT, _SCRIPT_END, _DATA = b"<script", b"</script", b"data:"
_ADDRESS = re.compile(
    rb"data:([a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60})?((?:;[a-z0-9=_.+-]{1,60}){0,5}),", re.IGNORECASE
)
_ENDS = tuple(bytes((byte,)) for byte in b"\"' )<>\n\r\t\v\f")
"""Of an address, the usual ones first."""
_GOES_ON = re.compile(rb"(?:[ \t\r\n]++[A-Za-z0-9+/=]++)*+")
"""An address in several lines."""
_REACH_BYTES, _REACH_GROWTH = 256, 8
"""How far an end is looked for at first: what is done for an address is bounded by its size."""
_SOURCE = re.compile(rb"srcdoc\s{0,20}=\s{0,20}(?:\"([^\"]++)|'([^']++))", re.IGNORECASE)
"""A page in an attribute."""
_LINE_ENDS = b"\t\r\n"
"""What browsers pass over in addresses (WHATWG URL, basic URL parser)."""


def looks_so(data: bytes, held: int) -> bool:
    """Whether there may be something. ``held``: the text's marks."""
    if not held & (_IN_PAGES | _IN_SCRIPTS):
        return False
    beginning = data[:_LOOK_BYTES]
    if b"\0" in beginning or (len(data) < _SHORT_BYTES and not held & marks.ENCODED):
        return False
    return bool(held & (_IN_PAGES if b"<" in beginning else _IN_SCRIPTS))


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    if encoded_script.MARK in data:
        yield from encoded_script.read(data, "", budget)
    given = set[bytes]()
    for content, content_type, label in _packed(data):
        budget.check_time()
        if content in given or len(content) < 4:
            continue
        if len(given) >= _PIECES_MAX:
            yield Shut(Reason.LIMIT, f"more than {_PIECES_MAX} things packed in a text")
            return
        given.add(content)
        yield Piece(content, Role.MEMBER, content_type=content_type, label=label)


def _packed(data: bytes) -> Iterator[tuple[bytes, str, str]]:
    held = marks.of(data)
    lower = data.lower()
    if held & marks.SCRIPT:
        yield from _scripts(data, lower)
    if held & marks.DATA:
        yield from addresses(data, lower)
    if held & marks.DISGUISED:
        yield from _disguised(data)
    if held & marks.PAGE_WITHIN:
        for found in _SOURCE.finditer(data):
            yield _unescaped(found[1] or found[2]), "text/html", "page"
    if held & marks.ATOB and _ATOB.search(lower) is None:
        held &= ~marks.ATOB
    runs = bool(held & marks.SCRIPT) or b"<" not in data[:_LOOK_BYTES]
    for content, label in packed_text.unpacked(data, held, runs=runs):
        yield content, "", label


def _disguised(data: bytes) -> Iterator[tuple[bytes, str, str]]:
    """Addresses whose ``data:`` is written in references to characters, or with line ends in it."""
    plain = _unescaped(data).translate(None, _LINE_ENDS)
    yield from addresses(plain, plain.lower())


def _unescaped(text: bytes) -> bytes:
    return html.unescape(text.decode("latin-1")).encode("latin-1", "replace")


def _scripts(data: bytes, lower: bytes) -> Iterator[tuple[bytes, str, str]]:
    at = number = 0
    while (at := lower.find(_SCRIPT, at)) >= 0:
        start = lower.find(b">", at) + 1
        if not start:
            return
        end = lower.find(_SCRIPT_END, start)
        end = end if end >= 0 else len(data)
        number += 1
        if data[start:end].strip():
            kind = "text/vbscript" if b"vb" in lower[at:start] else "text/javascript"
            yield data[start:end], kind, f"script {number}"
        at = end


def addresses(data: bytes, lower: bytes) -> Iterator[tuple[bytes, str, str]]:
    """What ``data:`` addresses hold: the content, its type, and a word for it.

    ``lower``: ``data`` in lower case.
    """
    at = -1
    while (at := lower.find(_DATA, at + 1)) >= 0:
        found = _ADDRESS.match(data, at)
        if found is None:
            continue
        end = _end(data, found.end())
        letters = data[found.end() : end]
        at = end - 1
        content_type = (found[1] or b"text/plain").decode("latin-1").lower()
        if b"base64" in found[2].lower():
            if b"%" in letters:
                letters = encodings.percent(letters.decode("latin-1"))
            for decoded in encodings.decode_transfer(letters, "base64")[:1]:
                yield decoded, content_type, "data"
        elif len(letters) >= _PACKED_MIN or b"%3c" in letters.lower():
            yield encodings.percent(letters.decode("latin-1")), content_type, "data"


def _end(data: bytes, start: int) -> int:
    """Of the address whose content begins at ``start``."""
    reach = _REACH_BYTES
    while True:
        end = limit = min(start + reach, len(data))
        for one in _ENDS:
            at = data.find(one, start, end)
            end = at if at >= 0 else end
        if end < limit or limit == len(data):
            goes_on = _GOES_ON.match(data, end)
            return goes_on.end() if goes_on is not None else end
        reach *= _REACH_GROWTH
