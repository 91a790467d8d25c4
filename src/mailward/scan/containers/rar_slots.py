"""Numbers that RAR 2 to 4 code in two parts: a slot, and bits that are added to its lowest."""

from collections.abc import Sequence


def _lowest(widths: Sequence[int]) -> tuple[int, ...]:
    """Of slots with so many bits each."""
    lowest, value = [], 0
    for width in widths:
        lowest.append(value)
        value += 1 << width
    return tuple(lowest)


LENGTH_BITS = (0,) * 8 + tuple(slot // 4 - 1 for slot in range(8, 28))
LENGTHS = _lowest(LENGTH_BITS)
DISTANCE_BITS = (0, 0, *[slot // 2 - 1 for slot in range(2, 34)], *[16] * 14, *[18] * 12)
DISTANCES = _lowest(DISTANCE_BITS)
"""RAR 2.0 has the first 48."""
FAR_DISTANCES = (0x2000, 0x40000)
"""From which on a match is one longer, each."""
SHORT_BITS = (2, 2, 3, 4, 5, 6, 6, 6)
SHORT_DISTANCES = _lowest(SHORT_BITS)
"""Of matches of two bytes."""
