"""The few pieces of PDF's syntax (ISO 32000-1 section 7.3) that are needed without a parser."""

import binascii
import re

_NAME_ESCAPE = re.compile(rb"#([0-9a-fA-F]{2})")
_LITERAL_PART = re.compile(rb"[^()\\]++|\\(?:[0-7]{1,3}|\r\n|.)|[()]", re.DOTALL)
_NOT_HEX = bytes(set(range(256)).difference(b"0123456789abcdefABCDEF"))
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_LINE_ENDS = (b"\n", b"\r", b"\r\n")
_TEXT_MAX_BYTES = 4 * 1024 * 1024
"""Of one text; scripts are the longest."""


def plain_names(data: bytes) -> bytes:
    """Names without escapes: ``/J#53`` is ``/JS``."""
    if b"#" not in data:
        return data
    return _NAME_ESCAPE.sub(lambda found: binascii.unhexlify(found[1]), data)


def text(data: bytes, at: int) -> tuple[bytes, int]:
    """The text in ``()`` or ``<>`` at ``at``, and where it ends."""
    if data[at : at + 1] == b"<":
        end = data.find(b">", at, at + _TEXT_MAX_BYTES)
        end = end if end >= 0 else min(len(data), at + _TEXT_MAX_BYTES)
        digits = data[at + 1 : end].translate(None, _NOT_HEX)
        return binascii.unhexlify(digits + b"0" * (len(digits) % 2)), end + 1
    out = bytearray()
    depth, limit = 0, min(len(data), at + _TEXT_MAX_BYTES)
    while at < limit and (part := _LITERAL_PART.match(data, at, limit)) is not None:
        at = part.end()
        piece = part[0]
        if piece == b"(":
            depth += 1
            out += b"(" if depth > 1 else b""
        elif piece == b")":
            depth -= 1
            if not depth:
                break
            out += b")"
        elif piece[:1] == b"\\":
            escaped = piece[1:]
            if escaped[:1] in b"01234567":
                out.append(int(escaped, 8) & 0xFF)
            elif escaped not in _LINE_ENDS:
                out += _ESCAPES.get(escaped, escaped)
        else:
            out += piece
    return bytes(out), at


def as_utf8(value: bytes) -> bytes:
    """A text string: UTF-16 or UTF-8 with a mark in front, else as it is."""
    if value.startswith((b"\xfe\xff", b"\xff\xfe")):
        return value.decode("utf-16", "replace").encode("utf-8", "replace")
    return value.removeprefix(b"\xef\xbb\xbf")
