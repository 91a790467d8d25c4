"""Embedded objects (MS-OLEDS): files that Office wraps, in a stream or in RTF."""

import re
import struct
from collections.abc import Iterator

from mailward.scan import encodings
from mailward.scan.contents import Piece
from mailward.scan.part import Role

_LONG = struct.Struct("<L")
_STRING_MAX_BYTES = 1024
"""Of a name in an object; Windows allows paths of 260 characters."""
_EMBEDDED, _LINKED = 2, 1
_OBJECT = re.compile(rb".{4}[\1\2]\0\0\0", re.DOTALL)
_CLASS_MAX_BYTES = 128


def native(data: bytes) -> Iterator[Piece]:
    """What is in a stream ``\\1Ole10Native``: a packaged file with its name, or any bytes."""
    if len(data) < _LONG.size:
        return
    body = data[_LONG.size :]
    packaged = _package(body)
    if packaged is not None:
        yield packaged
    elif body:
        yield Piece(body[: _LONG.unpack_from(data)[0]] or body, Role.MEMBER, label="object")


def _package(body: bytes) -> Piece | None:
    """Kind 2, label, path, two numbers, the temporary path, the file."""
    if body[:2] != b"\2\0":
        return None
    label, at = _string(body, 2)
    _, at = _string(body, at)
    at += 4
    if at + _LONG.size > len(body):
        return None
    at += _LONG.size + _LONG.unpack_from(body, at)[0]
    if at + _LONG.size > len(body):
        return None
    size = _LONG.unpack_from(body, at)[0]
    at += _LONG.size
    name = encodings.text(label).replace("\\", "/").rpartition("/")[2]
    return Piece(body[at : at + size], Role.MEMBER, name, label="object")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\0", at, at + _STRING_MAX_BYTES)
    return (data[at:end], end + 1) if end >= 0 else (b"", len(data))


def objects(data: bytes) -> Iterator[Piece]:
    """What is in an object as RTF keeps it (MS-OLEDS 2.2.5), at most one more nesting deep."""
    if _OBJECT.match(data) is None:
        return
    at = 2 * _LONG.size
    fields = []
    for _ in range(3):  # class, topic, item
        if at + _LONG.size > len(data):
            return
        size = _LONG.unpack_from(data, at)[0]
        if size > _STRING_MAX_BYTES:
            return
        fields.append(data[at + _LONG.size : at + _LONG.size + size].rstrip(b"\0"))
        at += _LONG.size + size
    if at + _LONG.size > len(data):
        return
    size = _LONG.unpack_from(data, at)[0]
    at += _LONG.size
    content = data[at : at + size] or data[at:]
    class_name = encodings.text(fields[0][:_CLASS_MAX_BYTES])
    packaged = _package(content) if class_name.lower() == "package" else None
    if packaged is not None:
        yield packaged
    elif content:
        yield Piece(content, Role.MEMBER, label=f"object {class_name}".strip())
