"""uuencode (POSIX.1-2017, ``uuencode``), with its base64 form, anywhere in a text."""

import binascii
import re
from collections.abc import Iterator

BEGIN = re.compile(rb"^begin(-base64)? +[0-7]{3,4} +([^\r\n]*)(?:\r\n|\n|\r)", re.MULTILINE)
_LINES = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r|\Z)")
_END = (b"end", b"`", b"", b"====")
_LINE_MAX = 100
"""Characters of a line. Encoders write 61 and sometimes a checksum; text lines are longer."""


def decode(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in ``text``; what does not decode at all is none."""
    at = 0
    while (begin := BEGIN.search(text, at)) is not None:
        name = begin[2].decode("utf-8", "replace").strip().strip('"')
        if begin[1]:
            end = text.find(b"====", begin.end())
            at = end if end >= 0 else len(text)
            data = _base64(text[begin.end() : at])
        else:
            data, at = _classic(text, begin.end())
        if data:
            yield name, data
        at = max(at, begin.end())


def _classic(text: bytes, at: int) -> tuple[bytes, int]:
    out = bytearray()
    while at < len(text) and (found := _LINES.match(text, at)) is not None:
        line = found[0].rstrip(b"\r\n")
        if line.strip() in _END:
            break
        try:
            out += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders leave out trailing blanks, some add a checksum: as long as it says.
            size = ((line[0] - 32 & 63) * 4 + 5) // 3
            try:
                out += binascii.a2b_uu(line[:size].ljust(size))
            except binascii.Error:
                if not out:
                    break
        at = found.end()
    return bytes(out), at


def _base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except binascii.Error:
        return b""
