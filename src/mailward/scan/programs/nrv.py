"""NRV2B, NRV2D and NRV2E: what UPX compresses with, in its kind of 32-bit words, little-endian.

The algorithms are those of the UCL library (M. Oberhumer), told from their streams: single bits in
words, highest first, with whole bytes between the words wherever the reader happens to be.
"""

from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.containers.repeat import repeat

METHODS = {2: "NRV2B", 5: "NRV2D", 8: "NRV2E"}
"""UPX's numbers."""

_CHECK_EVERY = 1 << 14
"""Copies between two looks at the clock."""
_FAR_2B, _FAR = 0xD00, 0x500
"""From this distance on a copy is one byte longer."""
_END = 0xFFFFFFFF


def unpack(method: int, packed: bytes, limit: int, budget: Budget) -> tuple[bytearray, bool]:
    """What comes out, at most ``limit`` bytes, and whether the end was reached. Raises only Spent.

    ``method``: one of METHODS.
    """
    out = bytearray()
    try:
        return out, _unpack(method, packed, out, limit, budget)
    except IndexError:
        return out, False  # it ends too early


def _unpack(method: int, packed: bytes, out: bytearray, limit: int, budget: Budget) -> bool:
    at = word = left = 0

    def bit() -> int:
        nonlocal at, word, left
        if not left:
            if at + 4 > len(packed):
                raise IndexError
            word = int.from_bytes(packed[at : at + 4], "little")
            at += 4
            left = 32
        left -= 1
        return word >> left & 1

    far = _FAR_2B if method == 2 else _FAR
    distance = 1
    copies = 0
    while len(out) < limit:
        while bit():
            out.append(packed[at])
            at += 1
        copies += 1
        if not copies % _CHECK_EVERY:
            budget.check_time()
        place = 1
        while True:
            place = place * 2 + bit()
            if bit():
                break
            if method != 2:
                place = (place - 1) * 2 + bit()
            if place > 1 << 26:
                return False  # no distance is that long
        low = -1
        if place == 2:
            if method != 2:
                low = bit()
        else:
            place = (place - 3) * 256 + packed[at]
            at += 1
            if place & _END == _END:
                return True
            if method != 2:
                low = ~place & 1
                place >>= 1
            distance = place + 1
        length = _length_2e(low, bit) if method == 8 else _length(low, bit)
        if length > limit:
            return False
        _copy(out, distance, length + (distance > far) + 1)
    return len(out) <= limit


def _length(low: int, bit: Callable[[], int]) -> int:
    length = (bit() if low < 0 else low) * 2 + bit()
    return length or _long(1, bit) + 2


def _length_2e(low: int, bit: Callable[[], int]) -> int:
    if low:
        return 1 + bit()
    if bit():
        return 3 + bit()
    return _long(1, bit) + 3


def _long(length: int, bit: Callable[[], int]) -> int:
    while True:
        length = length * 2 + bit()
        if bit() or length > _END:
            return length


def _copy(out: bytearray, distance: int, length: int) -> None:
    """Repeat what is ``distance`` back, which may overlap with what it makes."""
    if distance > len(out):
        raise IndexError
    repeat(out, distance, length)
