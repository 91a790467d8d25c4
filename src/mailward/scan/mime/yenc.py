"""yEnc (draft 1.3): each byte shifted by 42, with an escape for those that a line can't hold."""

import re
from collections.abc import Iterator

_BEGIN = re.compile(rb"^=ybegin ([^\r\n]*+)(?:\r\n|\n)", re.MULTILINE)
_PART = re.compile(rb"=ypart [^\r\n]*(?:\r\n|\n)")
_END = re.compile(rb"^=yend\b", re.MULTILINE)
_ESCAPED = re.compile(rb"=([^\r\n])", re.DOTALL)
_SHIFT = bytes((byte - 42) % 256 for byte in range(256))
_LINE_ENDS = b"\r\n"


def decode(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file, or part of one, in ``text``."""
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        part = _PART.match(text, begin.end())
        start = part.end() if part is not None else begin.end()
        end = _END.search(text, start)
        at = end.start() if end is not None else len(text)
        body = text[start:at].translate(None, _LINE_ENDS)
        body = _ESCAPED.sub(lambda found: bytes(((found[1][0] - 64) % 256,)), body)
        if body:
            name = begin[1].partition(b"name=")[2].decode("utf-8", "replace").strip()
            yield name, body.translate(_SHIFT)
