"""Filters of 7z that the standard library has not: for code of ARM64, and swapped bytes.

ARM64: section 5.3.2 of the .xz file format (L. Collin); 7-Zip uses it by itself for such programs.
"""

import array
import re
from collections.abc import Callable

from mailward.scan.budget import Budget

_BRANCH_OR_PAGE = re.compile(rb"[\x90\x94-\x97\xb0\xd0\xf0]")
"""The highest byte of an instruction whose address was made absolute: BL, ADRP."""
_LOOK_EVERY = 10_000


def _arm64(data: bytes, properties: bytes, budget: Budget) -> bytes:
    first = int.from_bytes(properties[:4], "little")
    out = bytearray(data)
    for turn, found in enumerate(_BRANCH_OR_PAGE.finditer(data)):
        if turn % _LOOK_EVERY == 0:
            budget.check_time()
        at = found.start() - 3
        if at % 4 or at < 0:
            continue
        code = int.from_bytes(data[at : at + 4], "little")
        place = first + at
        if code >> 26 == 0x25:
            code = 0x94000000 | code - (place >> 2) & 0x03FFFFFF
        else:
            page = code >> 29 & 3 | code >> 3 & 0x1FFFFC
            if page + 0x20000 & 0x1C0000:
                continue
            page = page - (place >> 12) & 0x3FFFF
            code = code & 0x9000001F | (page & 3) << 29 | (page & 0x3FFFC) << 3
            code |= 0xE00000 if page & 0x20000 else 0
        out[at : at + 4] = code.to_bytes(4, "little")
    return bytes(out)


def _swap2(data: bytes, _properties: bytes, _budget: Budget) -> bytes:
    return _swapped("H", data)


def _swap4(data: bytes, _properties: bytes, _budget: Budget) -> bytes:
    return _swapped("I", data)


def _swapped(kind: str, data: bytes) -> bytes:
    """What is left at the end stays as it is."""
    words = array.array(kind)
    end = len(data) - len(data) % words.itemsize
    words.frombytes(data[:end])
    words.byteswap()
    return words.tobytes() + data[end:]


FILTERS: dict[bytes, Callable[[bytes, bytes, Budget], bytes]] = {
    b"\x0a": _arm64,
    b"\x02\x03\x02": _swap2,
    b"\x02\x03\x04": _swap4,
}
"""From what was filtered, and properties, to what it was. Each may raise Spent."""
