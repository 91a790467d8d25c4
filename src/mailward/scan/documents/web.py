"""HTML, SVG and scripts: what is packed in them as text, as in HTML smuggling.

Scripts by themselves, ``data:`` addresses, text in base64 that a script decodes, numbers that it
makes bytes of, percent-encoding that it undoes. Nothing is run: what is computed stays unknown.
"""

import binascii
import re
from collections.abc import Iterator

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.documents import encoded_script
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_LOOK_BYTES = 512
"""Of the beginning, in which text has no NUL."""
_IN_PAGES = (b"<script", b"data:", b"atob")
_IN_SCRIPTS = (b"atob", b"base64", b"unescape", b"decodeuri", b"fromcharcode", b"array(", b"#@~^")
"""One of these is in whatever has something to unpack; each costs plain mail time."""
_ATOB = re.compile(rb"atob(?<![a-z]atob)(?![a-z])")
"""Four letters that long texts in base64 have by chance. They come first, as a search for them is
much faster than one for what is before them."""
_SHORT_BYTES = 96
_UNPACKED_BY = (b"base64", b"blob", b"uint8array")
_PIECES_MAX = 2000
_PACKED_MIN = 64
"""Characters of a text in base64, numbers of a list, encoded characters of a text."""

_SCRIPT, _SCRIPT_END, _DATA = b"<script", b"</script", b"data:"
_DATA_URL = re.compile(
    rb"data:([a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60})?((?:;[a-z0-9=_.+-]{1,60}){0,5}),"
    rb"([^\"'<>)\s]*+(?:[ \t\r\n]++[A-Za-z0-9+/=]++)*+)",
    re.IGNORECASE,
)
_BASE64 = re.compile(rb"[\"'`>]\s*+((?:[A-Za-z0-9+/_-]{4}[\r\n\\ n]*+){16,}+[A-Za-z0-9+/=_-]{0,4})")
_JOINED = re.compile(rb"[\"'`]\s{0,100}\+\s{0,100}[\"'`]")
_NUMBERS = re.compile(
    rb"[\[(]\s*+((?:(?:0x[0-9a-f]{1,2}|\d{1,3})\s*+,\s*+){64,}+(?:0x[0-9a-f]{1,2}|\d{1,3}))",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    rb"[\"'`]([^\"'`\r\n%]{0,200}+(?:%[0-9a-f]{2}[^\"'`\r\n%]{0,200}+){16,}+)", re.IGNORECASE
)
_ESCAPED = re.compile(rb"(?:\\x[0-9a-f]{2}){64,}+", re.IGNORECASE)
_NOT_BASE64 = re.compile(rb"\\[rn]|[^A-Za-z0-9+/_=-]")


def looks_so(data: bytes) -> bool:
    """Whether there may be something: some comparisons for most texts."""
    beginning = data[:_LOOK_BYTES]
    if b"\0" in beginning or (len(data) < _SHORT_BYTES and encoded_script.MARK not in data):
        return False
    lower = data.lower()
    marks = _IN_PAGES if b"<" in beginning else _IN_SCRIPTS
    return any(mark in lower for mark in marks)


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
    lower = data.lower()
    yield from _scripts(data, lower)
    yield from _addresses(data, lower)
    runs_something = _SCRIPT in lower or b"<" not in data[:_LOOK_BYTES]
    if _ATOB.search(lower) is not None or (
        runs_something and any(mark in lower for mark in _UNPACKED_BY)
    ):
        joined = _JOINED.sub(b"", data)
        for found in _BASE64.finditer(joined):
            for decoded in encodings.decode_transfer(_letters(found[1]), "base64"):
                yield decoded, "", "base64"
    if b"uint8array" in lower or b"fromcharcode" in lower or b"bytearray" in lower:
        for found in _NUMBERS.finditer(data):
            numbers = [int(n, 0) for n in re.findall(rb"0x[0-9a-f]+|[1-9]\d*|0", found[1].lower())]
            if max(numbers) < 256:
                yield bytes(numbers), "", "numbers"
    if b"unescape" in lower or b"decodeuri" in lower:
        for found in _PERCENT.finditer(data):
            yield encodings.percent(found[1].decode("latin-1")), "", "percent-encoded"
    if b"\\x" in lower:
        for found in _ESCAPED.finditer(data):
            yield binascii.unhexlify(found[0].lower().replace(b"\\x", b"")), "", "escaped"


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


def _addresses(data: bytes, lower: bytes) -> Iterator[tuple[bytes, str, str]]:
    at = -1
    while (at := lower.find(_DATA, at + 1)) >= 0:
        found = _DATA_URL.match(data, at)
        if found is None:
            continue
        at = found.end() - 1
        content_type = (found[1] or b"text/plain").decode("latin-1").lower()
        if b"base64" in found[2].lower():
            letters = found[3]
            if b"%" in letters:
                letters = encodings.percent(letters.decode("latin-1"))
            for decoded in encodings.decode_transfer(letters, "base64")[:1]:
                yield decoded, content_type, "data"
        elif len(found[3]) >= _PACKED_MIN or b"%3c" in found[3].lower():
            yield encodings.percent(found[3].decode("latin-1")), content_type, "data"


def _letters(text: bytes) -> bytes:
    return _NOT_BASE64.sub(b"", text).replace(b"-", b"+").replace(b"_", b"/")
