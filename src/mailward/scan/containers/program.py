"""Where a Windows program (PE) ends: installers keep their files behind it."""

import struct

_AT_HEADER = 0x3C
_SECTION_BYTES = 40
_SECTIONS_MAX = 96
"""As Windows takes them."""


def end(data: bytes) -> int | None:
    """Behind the last section that is in the file; None if this is no whole PE header."""
    found = sections(data)
    if not found:
        return None
    return min(len(data), max(start + size for start, size in found))


def sections(data: bytes) -> list[tuple[int, int]]:
    """Place and size in the file of each section; empty if this is no PE header."""
    if not data.startswith(b"MZ") or len(data) < _AT_HEADER + 4:
        return []
    at = struct.unpack_from("<L", data, _AT_HEADER)[0]
    if data[at : at + 4] != b"PE\0\0" or at + 24 > len(data):
        return []
    count, optional = struct.unpack_from("<H12xH", data, at + 6)
    first = at + 24 + optional
    found = []
    for place in range(first, first + _SECTION_BYTES * min(count, _SECTIONS_MAX), _SECTION_BYTES):
        if place + _SECTION_BYTES > len(data):
            break
        size, start = struct.unpack_from("<LL", data, place + 16)
        if size and start < len(data):
            found.append((start, size))
    return found
