"""What PKWARE's Data Compression Library packs ("implode" with its own header).

M. Adler described it in ``blast.c`` (zlib's ``contrib``), from which the lengths of codes are.
"""

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.repeat import repeat

_LITERALS = bytes((
    11, 124, 8, 7, 28, 7, 188, 13, 76, 4, 10, 8, 12, 10, 12, 10, 8, 23, 8, 9, 7, 6, 7, 8, 7, 6, 55,
    8, 23, 24, 12, 11, 7, 9, 11, 12, 6, 7, 22, 5, 7, 24, 6, 11, 9, 6, 7, 22, 7, 11, 38, 7, 9, 8,
    25, 11, 8, 11, 9, 12, 8, 12, 5, 38, 5, 38, 5, 11, 7, 5, 6, 21, 6, 10, 53, 8, 7, 24, 10, 27, 44,
    253, 253, 253, 252, 252, 252, 13, 12, 45, 12, 45, 12, 61, 12, 45, 44, 173,
))  # fmt: skip
_LENGTHS = bytes((2, 35, 36, 53, 38, 23))
_DISTANCES = bytes((2, 20, 53, 230, 247, 151, 248))
"""How long codes are: the lower half of each byte, for one symbol more than the upper half says."""
_FIRST_LENGTHS = (3, 2, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 40, 72, 136, 264)
_LENGTH_BITS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
_END = 519
_SHORT = 2
"""A repetition of so many bytes is told with fewer bits of distance."""
_SHORT_BITS = 2
_HEADER_BYTES = 2
_DICTIONARIES = range(4, 7)
_LOOK_EVERY = 4096
"""Symbols between two looks at the time."""
_FILL_BYTES = 8
_AT_MOST_BITS = 32
"""Of one repetition: 1, 7 and 8 for its length, 8 and 6 for its distance."""


def _table(packed: bytes) -> tuple[list[int], int]:
    """Symbol and length (the lowest 4 bits) by the bits that come next, and how many of them."""
    lengths = [byte & 15 for byte in packed for _ in range((byte >> 4) + 1)]
    width = max(lengths)
    entries = [0] * (1 << width)
    code = 0
    for length in range(1, width + 1):
        for symbol in (number for number, its in enumerate(lengths) if its == length):
            turned = int(f"{code:0{length}b}"[::-1], 2) ^ (1 << length) - 1
            for rest in range(0, 1 << width, 1 << length):
                entries[turned | rest] = symbol << 4 | length
            code += 1
        code <<= 1
    return entries, width


_LITERAL_CODE, _LITERAL_WIDTH = _table(_LITERALS)
_LENGTH_CODE, _LENGTH_WIDTH = _table(_LENGTHS)
_DISTANCE_CODE, _DISTANCE_WIDTH = _table(_DISTANCES)


def unpack(packed: bytes | memoryview, out: bytearray, wanted: int, budget: Budget) -> int:
    """At least ``wanted`` bytes, or all there are, into ``out``; returns how many it took.

    Raises DamagedError, Spent.
    """
    if len(packed) < _HEADER_BYTES or packed[0] > 1 or packed[1] not in _DICTIONARIES:
        raise DamagedError("no data of PKWARE's library")
    coded, distance_bits = bool(packed[0]), packed[1]
    at, held, count, turns = _HEADER_BYTES, 0, 0, 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
        if count < _AT_MOST_BITS:
            held |= int.from_bytes(packed[at : at + _FILL_BYTES], "little") << count
            at += _FILL_BYTES
            count += 8 * _FILL_BYTES
            if at > len(packed) + 2 * _FILL_BYTES:
                raise DamagedError("it ends too early")
        if not held & 1:
            if coded:
                entry = _LITERAL_CODE[held >> 1 & (1 << _LITERAL_WIDTH) - 1]
                taken = 1 + (entry & 15)
                out.append(entry >> 4)
            else:
                taken = 9
                out.append(held >> 1 & 0xFF)
            held >>= taken
            count -= taken
            continue
        held >>= 1
        entry = _LENGTH_CODE[held & (1 << _LENGTH_WIDTH) - 1]
        held >>= entry & 15
        extra = _LENGTH_BITS[entry >> 4]
        length = _FIRST_LENGTHS[entry >> 4] + (held & (1 << extra) - 1)
        held >>= extra
        count -= 1 + (entry & 15) + extra
        if length == _END:
            return min(len(packed), at - count // 8)
        entry = _DISTANCE_CODE[held & (1 << _DISTANCE_WIDTH) - 1]
        held >>= entry & 15
        low = _SHORT_BITS if length == _SHORT else distance_bits
        distance = (entry >> 4 << low | held & (1 << low) - 1) + 1
        held >>= low
        count -= (entry & 15) + low
        if distance > len(out):
            raise DamagedError("a reference to nothing")
        repeat(out, distance, length)
    return len(packed)
