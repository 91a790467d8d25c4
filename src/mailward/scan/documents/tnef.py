"""TNEF (MS-OXTNEF), what Outlook puts into ``winmail.dat``: attachments and the text."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.documents import mapi
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x78\x9f\x3e\x22"

_HEADER_BYTES = 6
_ATTRIBUTE = struct.Struct("<BHHL")
_CHECKSUM_BYTES = 2
_BODY, _DATA, _TITLE, _META = 0x800C, 0x800F, 0x8010, 0x8011
_NEW_ATTACHMENT, _MESSAGE_PROPERTIES, _ATTACHMENT_PROPERTIES = 0x9002, 0x9003, 0x9005
_PROPERTY = struct.Struct("<HH")
_LONG = struct.Struct("<L")
_MULTIPLE = 0x1000
_FIXED_BYTES = {
    0x02: 4, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 4, 0x14: 8, 0x40: 8,
    0x48: 16,
}  # fmt: skip
_VARIABLE = frozenset((mapi.TEXT_8BIT, mapi.TEXT_UTF16, mapi.BINARY, mapi.OBJECT))
_INTERFACE_BYTES = 16
"""An object begins with the identifier of its interface."""
_VALUES_MAX = 10_000
"""Of one property, and properties of one message; Outlook writes some dozens."""


@dataclass(slots=True)
class _Attachment:
    name: bytes = b""
    data: bytes | None = None
    content_type: str = ""


class _DamagedError(Exception):
    """The rest cannot be read."""


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    attachment: _Attachment | None = None
    try:
        for kind, value in _attributes(data):
            budget.check_time()
            if kind == _NEW_ATTACHMENT:
                yield from _finished(attachment)
                attachment = _Attachment()
            elif kind == _BODY:
                yield Piece(value.rstrip(b"\0"), Role.BODY, label="body")
            elif kind == _MESSAGE_PROPERTIES:
                for tag, of_kind, content in _properties(value):
                    yield from mapi.body(tag, of_kind, content, budget)
            elif kind in (_DATA, _TITLE, _META, _ATTACHMENT_PROPERTIES):
                attachment = attachment or _Attachment()
                _fill(attachment, kind, value)
    except _DamagedError as e:
        yield from _finished(attachment)
        yield Shut(Reason.MALFORMED, f"winmail.dat: {e}")
        return
    yield from _finished(attachment)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEADER_BYTES
    if len(data) < at + _ATTRIBUTE.size:
        raise _DamagedError("truncated")
    while at < len(data):
        if at + _ATTRIBUTE.size > len(data):
            if data[at:].strip(b"\0\r\n"):
                raise _DamagedError("something follows its last attribute")
            return
        level, kind, _, size = _ATTRIBUTE.unpack_from(data, at)
        if level not in (1, 2):
            raise _DamagedError("something follows its last attribute")
        at += _ATTRIBUTE.size
        yield kind, data[at : at + size]
        if at + size > len(data):
            raise _DamagedError("truncated")
        at += size + _CHECKSUM_BYTES


def _fill(attachment: _Attachment, kind: int, value: bytes) -> None:
    if kind == _DATA and not attachment.data:
        attachment.data = value
    elif kind == _TITLE and not attachment.name:
        attachment.name = value.split(b"\0")[0]
    elif kind == _ATTACHMENT_PROPERTIES:
        for tag, of_kind, content in _properties(value):
            if tag == mapi.ATTACH_LONG_NAME or (tag == mapi.ATTACH_NAME and not attachment.name):
                attachment.name = mapi.text(of_kind, content)
            elif tag == mapi.ATTACH_TYPE:
                attachment.content_type = mapi.text(of_kind, content).decode("latin-1").lower()
            elif tag == mapi.ATTACH_DATA:
                is_object = of_kind == mapi.OBJECT
                attachment.data = content[_INTERFACE_BYTES:] if is_object else content


def _finished(attachment: _Attachment | None) -> Iterator[Piece]:
    if attachment is not None and attachment.data is not None:
        name = encodings.text(attachment.name)
        yield Piece(attachment.data, Role.ATTACHMENT, name, attachment.content_type)


def _properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Identifier, kind and value of MAPI properties (MS-OXTNEF 2.1.3.4)."""
    try:
        (count,) = _LONG.unpack_from(data)
        at = _LONG.size
        for _ in range(min(count, _VALUES_MAX)):
            kind, tag = _PROPERTY.unpack_from(data, at)
            at += _PROPERTY.size
            if tag >= 0x8000:
                at = _behind_name(data, at)
            values = 1
            multiple, kind = kind & _MULTIPLE, kind & ~_MULTIPLE
            if multiple or kind in _VARIABLE:
                (values,) = _LONG.unpack_from(data, at)
                at += _LONG.size
            for _ in range(min(values, _VALUES_MAX)):
                if kind in _VARIABLE:
                    (size,) = _LONG.unpack_from(data, at)
                    at += _LONG.size
                elif kind in _FIXED_BYTES:
                    size = _FIXED_BYTES[kind]
                else:
                    raise _DamagedError(f"a property of unknown kind {kind:#x}")
                yield tag, kind, data[at : at + size]
                if at + size > len(data):
                    raise _DamagedError("a property is truncated")
                at += size + -size % 4
    except struct.error:
        raise _DamagedError("its properties are truncated") from None


def _behind_name(data: bytes, at: int) -> int:
    """A property with a name of its own: set (16 bytes), whether it is a number, number or text."""
    at += 16
    (is_text,) = _LONG.unpack_from(data, at)
    (size,) = _LONG.unpack_from(data, at + 4)
    return at + 8 + (size + -size % 4 if is_text else 0)
