"""AppleSingle and AppleDouble (RFC 1740), MacBinary: forks of a Macintosh file, with its name."""

import binascii
import struct

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\0\x05\x16[\0\x07]\0[\x01\x02]\0\0"

_COUNT_AT, _ENTRIES_AT = 24, 26
_ENTRY = struct.Struct(">LLL")
_DATA_FORK, _RESOURCE_FORK, _REAL_NAME = 1, 2, 3
_ENTRIES_MAX = 100
_BINARY_BYTES, _BINARY_CRC_AT = 128, 124
_BINARY = struct.Struct(">xB63s9xB7xBLL29xH2xH")
"""Bytes of the name, name; two zeros; sizes of the forks; size of another header; checksum, which
MacBinary II and III have."""
_NAME_MAX_BYTES = 63


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    budget.check_time()
    entries: list[tuple[int, int, bytes]] = []
    count = int.from_bytes(data[_COUNT_AT:_ENTRIES_AT], "big")
    for number in range(min(count, _ENTRIES_MAX)):
        at = _ENTRIES_AT + number * _ENTRY.size
        if at + _ENTRY.size > len(data):
            break
        kind, offset, size = _ENTRY.unpack_from(data, at)
        entries.append((kind, size, data[offset : offset + size]))
    names = (content for kind, _, content in entries if kind == _REAL_NAME)
    name = encodings.text(next(names, b""))
    forks = {_DATA_FORK: name, _RESOURCE_FORK: f"{name or 'resource'}.rsrc"}
    for kind, size, content in entries:
        if kind in forks and content:
            yield Piece(content, Role.MEMBER, forks[kind])
        if kind in forks and len(content) < size:
            why = "a Macintosh file (AppleSingle): a fork ends behind it"
            yield Shut(Reason.MALFORMED, why, forks[kind])
    if not entries or len(entries) < count:
        why = f"a Macintosh file (AppleSingle): {len(entries)} of {count} entries can be read"
        yield Shut(Reason.MALFORMED, why)


def looks_like_macbinary(data: bytes) -> bool:
    """By the checksum of its header, and a name and forks that can be."""
    if data[:1] != b"\0" or len(data) < _BINARY_BYTES:
        return False
    name_bytes, _, first, second, size, resource_bytes, _, crc = _BINARY.unpack_from(data)
    can_be = 0 < name_bytes <= _NAME_MAX_BYTES and not first and not second
    return (
        can_be
        and 0 < size + resource_bytes < 1 << 31
        and crc == binascii.crc_hqx(data[:_BINARY_CRC_AT], 0)
    )


def read_macbinary(data: bytes, _name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    budget.check_time()
    name_bytes, raw, _, _, size, resource_bytes, more_bytes, _ = _BINARY.unpack_from(data)
    name = encodings.text(raw[:name_bytes])
    at = _BINARY_BYTES + -(-more_bytes // _BINARY_BYTES) * _BINARY_BYTES
    for fork, shown in ((size, name), (resource_bytes, f"{name}.rsrc")):
        content = data[at : at + fork]
        if content:
            yield Piece(content, Role.MEMBER, shown)
        if len(content) < fork:
            yield Shut(
                Reason.MALFORMED, "a Macintosh file (MacBinary): a fork ends behind it", shown
            )
        at += -(-fork // _BINARY_BYTES) * _BINARY_BYTES
