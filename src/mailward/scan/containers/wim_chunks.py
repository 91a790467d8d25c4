"""Contents in chunks that are packed each by itself, as in Windows images and compact NTFS files.

In front is a table of where all but the first begin. A chunk as long as what it holds is plain.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mailward.scan.budget import Budget
from mailward.scan.containers import lzms, lzx, xpress
from mailward.scan.containers.bits import DamagedError
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

Packing = Literal["XPRESS", "LZX", "LZMS", ""]
"""Empty if it is another."""

_SIZES: dict[Packing, range] = {
    "XPRESS": range(12, 17),
    "LZX": range(15, 22),
    "LZMS": range(15, 31),
    "": range(0),
}
"""Of chunks, as powers of two."""
_PACKINGS: dict[int, Packing] = {1: "XPRESS", 2: "LZX", 3: "LZMS"}
_SOLID = struct.Struct("<QLL")
"""Size, size of a chunk, how they are packed."""
_ERRORS = (DamagedError, lzx.DamagedError, ValueError, IndexError, struct.error)


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
    chunks = _chunks(packed, size, 1 << method.bits)
    return _unpack(chunks, len(packed), method, limit, budget)


def unpack_solid(packed: bytes, limit: int, budget: Budget) -> tuple[bytes, Shut | None]:
    """Several contents packed as one, with a header that says how. The same else."""
    try:
        size, chunk_bytes, number = _SOLID.unpack_from(packed)
    except struct.error:
        return b"", Shut(Reason.MALFORMED, "truncated or damaged")
    method = Method(_PACKINGS.get(number, ""), (chunk_bytes or 1).bit_length() - 1)
    chunks = _solid_chunks(packed, size, 1 << method.bits)
    return _unpack(chunks, len(packed), method, limit, budget)


def _unpack(
    chunks: Iterator[tuple[bytes, int]], packed_bytes: int, method: Method, limit: int,
    budget: Budget,
) -> tuple[bytes, Shut | None]:  # fmt: skip
    out = bytearray()
    if not method.is_known:
        return b"", Shut(Reason.UNSUPPORTED, "packed in a way that is not known")
    try:
        for chunk, plain_bytes in chunks:
            budget.check_time()
            if len(chunk) == plain_bytes:
                out += chunk
            elif method.packing == "XPRESS":
                out += xpress.unpack(chunk, plain_bytes)
            elif method.packing == "LZX":
                out += lzx.unpack(chunk, plain_bytes, method.bits)
            else:
                out += lzms.unpack(chunk, plain_bytes, limit + 1 - len(out), budget)
            if len(out) > limit:
                return bytes(out[:limit]), budget.over_room(limit)
            if budget.is_bomb(len(out), packed_bytes):
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


def _solid_chunks(packed: bytes, size: int, chunk_bytes: int) -> Iterator[tuple[bytes, int]]:
    """The same, of which the table says how long each is. Raises struct.error, ValueError."""
    count = -(-size // chunk_bytes)
    at = _SOLID.size + 4 * count
    for number in range(count):
        length = struct.unpack_from("<L", packed, _SOLID.size + 4 * number)[0]
        plain_bytes = min(chunk_bytes, size - number * chunk_bytes)
        chunk = packed[at : at + length]
        if not 0 < length <= plain_bytes or len(chunk) < length:
            raise ValueError("a chunk that cannot be")
        yield chunk, plain_bytes
        at += length
