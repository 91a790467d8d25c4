"""Contents in chunks that are packed each by itself, as in Windows images and compact NTFS files.

In front is a table of where all but the first begin. A chunk as long as what it holds is plain.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mailward.scan.budget import Budget
from mailward.scan.containers import lzx, xpress
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

Packing = Literal["XPRESS", "LZX", ""]
"""Empty if it is another."""

_SIZES: dict[Packing, range] = {"XPRESS": range(12, 17), "LZX": range(15, 22), "": range(0)}
"""Of chunks, as powers of two."""
_ERRORS = (lzx.DamagedError, ValueError, IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class Method:
    """How chunks are packed, and how many bits their size has."""

    packing: Packing
    bits: int

    @property
    def is_known(self) -> bool:
        """Whether it can be unpacked."""
        return self.bits in _SIZES[self.packing]


def unpack(
    packed: bytes, size: int, method: Method, limit: int, budget: Budget
) -> tuple[bytes, Shut | None]:
    """At most ``limit`` of ``size`` bytes, and why they are not all. Raises only Spent."""
    out = bytearray()
    if not method.is_known:
        return b"", Shut(Reason.UNSUPPORTED, "packed in a way that is not known")
    try:
        for chunk, plain_bytes in _chunks(packed, size, 1 << method.bits):
            budget.check_time()
            if len(chunk) == plain_bytes:
                out += chunk
            elif method.packing == "XPRESS":
                out += xpress.unpack(chunk, plain_bytes)
            else:
                out += lzx.unpack(chunk, plain_bytes, method.bits)
            if len(out) > limit:
                return bytes(out[:limit]), budget.over_room(limit)
            if budget.is_bomb(len(out), len(packed)):
                return bytes(out), budget.bomb()
    except _ERRORS:
        return bytes(out), Shut(Reason.MALFORMED, "truncated or damaged")
    return bytes(out), None


def _chunks(packed: bytes, size: int, chunk_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Each packed, and its size once unpacked. Raises struct.error, ValueError."""
    count = -(-size // chunk_bytes)
    width, form = (4, "<L") if size < 1 << 32 else (8, "<Q")
    first = width * max(count - 1, 0)
    begins = 0
    for number in range(count):
        ends = len(packed) - first
        if number < count - 1:
            ends = struct.unpack_from(form, packed, width * number)[0]
        plain_bytes = min(chunk_bytes, size - number * chunk_bytes)
        chunk = packed[first + begins : first + ends]
        if not 0 < ends - begins <= plain_bytes or len(chunk) < ends - begins:
            raise ValueError("a chunk that cannot be")
        yield chunk, plain_bytes
        begins = ends
