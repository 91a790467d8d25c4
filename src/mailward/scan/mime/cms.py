"""S/MIME (RFC 8551) whose content lies inside: signed and compressed (RFC 5652, RFC 3274).

BER as it comes: definite and indefinite lengths, and octet strings in pieces.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_SIGNED = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
_COMPRESSED = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09"
STARTS = rb"\x30.{1,9}(?:%b|%b)" % (re.escape(_SIGNED), re.escape(_COMPRESSED))
"""1.2.840.113549.1.7.2 and .9.16.1.9."""

_SEQUENCE, _OCTETS, _OCTETS_IN_PIECES, _EXPLICIT_0 = 0x30, 0x04, 0x24, 0xA0
_NESTING_MAX = 30
_ZLIB_HEADER_BYTES = 2


class _DamagedError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    start: int
    """Of its content."""
    end: int
    behind: int
    """Beyond the end of the data if it is torn."""


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """What was signed: a MIME entity. Nothing if the signature stands alone. Raises only Spent."""
    try:
        outer = _element(data, 0, len(data), budget)
        content = _content(data, outer, budget)
    except _DamagedError as e:
        yield Shut(Reason.MALFORMED, f"S/MIME message: {e}")
        return
    if outer.behind > len(data):
        yield Shut(Reason.MALFORMED, "S/MIME message: truncated")
    if content is None:
        return
    if _COMPRESSED in data[:32]:
        inflated = inflate(deflate, memoryview(content)[_ZLIB_HEADER_BYTES:], budget)
        yield Piece(inflated.data, Role.MESSAGE, label="content")
        if inflated.shut is not None:
            yield Shut(inflated.shut.reason, inflated.shut.detail, label="content")
        return
    yield Piece(content, Role.MESSAGE, label="content")


def _content(data: bytes, outer: _Element, budget: Budget) -> bytes | None:
    wrapped = _child(data, outer, _EXPLICIT_0, budget)
    if wrapped is None:
        raise _DamagedError("nothing in it")
    body = _child(data, wrapped, _SEQUENCE, budget)
    if body is None:
        raise _DamagedError("no sequence in it")
    for element in _children(data, body, budget):
        if element.tag != _SEQUENCE:
            continue
        inner = _child(data, element, _EXPLICIT_0, budget)
        if inner is not None:
            return _octets(data, inner, budget)
    return None


def _octets(data: bytes, inside: _Element, budget: Budget) -> bytes:
    out = bytearray()
    waiting = [inside]
    while waiting:
        element = waiting.pop()
        if element.tag == _OCTETS:
            out += data[element.start : element.end]
        elif element.tag in (_OCTETS_IN_PIECES, _EXPLICIT_0):
            waiting += reversed(list(_children(data, element, budget)))
    return bytes(out)


def _child(data: bytes, parent: _Element, tag: int, budget: Budget) -> _Element | None:
    return next((e for e in _children(data, parent, budget) if e.tag == tag), None)


def _children(data: bytes, parent: _Element, budget: Budget) -> Iterator[_Element]:
    at = parent.start
    while at < parent.end:
        budget.check_time()
        element = _element(data, at, parent.end, budget)
        if not element.tag and element.start == element.end:
            return  # end of an indefinite length
        yield element
        at = element.behind


def _element(data: bytes, at: int, end: int, budget: Budget, nesting: int = 0) -> _Element:
    if at + 2 > end:
        raise _DamagedError("truncated")
    tag, size = data[at], data[at + 1]
    at += 2
    if size == 0x80:
        return _indefinite(data, tag, at, end, budget, nesting)
    if size > 0x80:
        count = size & 0x7F
        if count > 8 or at + count > end:
            raise _DamagedError("a length that makes no sense")
        size = int.from_bytes(data[at : at + count], "big")
        at += count
    return _Element(tag, at, min(at + size, end), at + size)


def _indefinite(
    data: bytes, tag: int, start: int, end: int, budget: Budget, nesting: int
) -> _Element:
    if nesting > _NESTING_MAX:
        raise _DamagedError("nested beyond reason")
    at = start
    while at + 2 <= end:
        budget.check_time()
        if data[at : at + 2] == b"\0\0":
            return _Element(tag, start, at, at + 2)
        at = _element(data, at, end, budget, nesting + 1).behind
    return _Element(tag, start, end, end + 1)
