r"""RTF: embedded objects, however their digits are hidden, and instructions of fields as text.

The digits of an object may have control words, groups and any other characters between them.
Readers skip groups that they do not know or read on in them: both are read. ``\bin`` puts bytes in
between.
"""

import binascii
import re

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.documents import ole
from mailward.scan.documents.compound_file import MAGIC
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"[\s\0]{0,1024}\{\\rt"

_DATA = re.compile(rb"\\(?:objdata|datastore)(?![a-z])(?:-?\d+)?", re.IGNORECASE)
_FIELD = re.compile(rb"\\fldinst(?![a-z])", re.IGNORECASE)
_TOKEN = re.compile(
    rb"[^\\{}]++|[{}]|\\bin ?(\d{1,9}) ?|\\'(..)|\\[a-z]+(?:-?\d+)? ?|\\.|\\\Z",
    re.DOTALL | re.IGNORECASE,
)
_NOT_HEX = bytes(set(range(256)).difference(b"0123456789abcdefABCDEF"))
_OBJECTS_MAX = 1000
_FIELD_MAX_BYTES = 64 * 1024
"""Of one instruction."""
_CHECK_EVERY = 4096


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    end = 0
    for number, found in enumerate(_DATA.finditer(data), 1):
        if found.start() < end:
            continue
        if number > _OBJECTS_MAX:
            yield Shut(Reason.LIMIT, f"more than {_OBJECTS_MAX} objects: not all were read")
            break
        *readings, end = _digits(data, found.end(), budget)
        for reading in dict.fromkeys(readings):
            yield from _object(reading, number)
    yield from _instructions(data, budget)


def _object(content: bytes, number: int) -> Contents:
    if not content:
        return
    yield Piece(content, Role.MEMBER, label=f"object data {number}")
    pieces = list(ole.objects(content))
    yield from pieces
    if not pieces and (at := content.find(MAGIC)) >= 0:
        yield Piece(content[at:], Role.MEMBER, label=f"object {number}")


def _digits(data: bytes, at: int, budget: Budget) -> tuple[bytes, bytes, bytes, int]:
    """An object with and without groups in it, with escaped characters too, and where it ends."""
    outer, everything, escaped = bytearray(), bytearray(), bytearray()
    depth = count = 0
    while (token := _TOKEN.match(data, at)) is not None:
        count += 1
        if not count % _CHECK_EVERY:
            budget.check_time()
        text = token[0]
        at = token.end()
        if text == b"{":
            depth += 1
        elif text == b"}":
            depth -= 1
            if depth < 0:
                break
        elif token[1] is not None:
            size = min(int(token[1]), len(data) - at)
            raw = binascii.hexlify(data[at : at + size])
            at += size
            outer += raw if not depth else b""
            everything += raw
            escaped += raw
        elif token[2] is not None:
            escaped += token[2].translate(None, _NOT_HEX)
        elif text[:1] != b"\\":
            digits = text.translate(None, _NOT_HEX)
            outer += digits if not depth else b""
            everything += digits
            escaped += digits
    return _bytes(outer), _bytes(everything), _bytes(escaped), at


def _bytes(digits: bytearray) -> bytes:
    return binascii.unhexlify(digits[: len(digits) - len(digits) % 2])


def _instructions(data: bytes, budget: Budget) -> Contents:
    texts: list[bytes] = []
    end = 0
    for found in _FIELD.finditer(data):
        if found.start() >= end:  # what is inside of another is in its text
            text, end = _instruction(data, found.end(), budget)
            texts.append(text)
    if texts:
        yield Piece(b"\n".join(texts), Role.MEMBER, label="fields")


def _instruction(data: bytes, at: int, budget: Budget) -> tuple[bytes, int]:
    """The text of a field's instruction, without what splits it up, and where it ends."""
    budget.check_time()
    out = bytearray()
    depth = 0
    end = min(len(data), at + _FIELD_MAX_BYTES)
    while at < end and (token := _TOKEN.match(data, at, end)) is not None:
        at = token.end()
        text = token[0]
        if text == b"{":
            depth += 1
        elif text == b"}":
            depth -= 1
            if depth < 0:
                break
        elif token[1] is not None:
            at += int(token[1])
        elif token[2] is not None:
            digits = token[2].translate(None, _NOT_HEX)
            out += binascii.unhexlify(digits) if len(digits) == 2 else b""
        elif text in (rb"\\", rb"\{", rb"\}"):
            out += text[1:]
        elif text[:1] != b"\\":
            out += text.translate(None, b"\r\n")
    return bytes(out).strip(), min(at, end)
