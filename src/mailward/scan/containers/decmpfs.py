"""Files that macOS compressed: a note in an attribute, and what it tells of there or in resources.

Format: Apple, XNU's ``sys/decmpfs.h``; J. Levin, "MacOS and iOS Internals" volume II.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

from mailward.scan.budget import Budget
from mailward.scan.containers import apple_lzfse
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_MAGIC = b"fpmc"
_HEADER = struct.Struct("<4sLQ")
_CHUNK_BYTES = 64 * 1024
_ERRORS = (ValueError, IndexError, struct.error, zlib.error)


def _deflated(raw: bytes, size: int) -> bytes:
    if raw[:1] and raw[0] & 0x0F == 0x0F:  # no stream of deflate begins so
        return raw[1 : 1 + size]
    return zlib.decompressobj().decompress(raw, size) if size else b""


def _lzvn(raw: bytes, size: int) -> bytes:
    return raw[1 : 1 + size] if raw[:1] == b"\x06" else apple_lzfse.unpack_lzvn(raw, size)


def _lzfse(raw: bytes, size: int) -> bytes:
    return raw[1 : 1 + size] if raw[:1] == b"\xff" else apple_lzfse.unpack(raw, size)


def _stored(raw: bytes, size: int) -> bytes:
    return raw[:size]


_INSIDE: dict[int, Callable[[bytes, int], bytes]] = {
    3: _deflated, 7: _lzvn, 9: _stored, 11: _lzfse,
}  # fmt: skip
_IN_RESOURCES: dict[int, Callable[[bytes, int], bytes]] = {
    4: _deflated, 8: _lzvn, 10: _stored, 12: _lzfse,
}  # fmt: skip
_WITH_MAP = 4
"""The one whose chunks are in a resource of a map of resources."""


def unpack(
    attribute: bytes, resources: Callable[[int], bytes], limit: int, budget: Budget
) -> tuple[bytes, Shut | None]:
    """The file, at most so many bytes, and why it is not all. Raises only Spent.

    ``resources``: that many bytes of the file's other fork.
    """
    damaged = Shut(Reason.MALFORMED, "compressed by macOS: truncated or damaged")
    if len(attribute) < _HEADER.size or attribute[:4] != _MAGIC:
        return b"", damaged
    _, kind, size = _HEADER.unpack_from(attribute)
    wanted = min(size, limit)
    out = bytearray()
    try:
        if kind in _INSIDE:
            out += _INSIDE[kind](attribute[_HEADER.size :], wanted)
        elif kind in _IN_RESOURCES:
            raw = resources(limit)
            chunks = _mapped(raw) if kind == _WITH_MAP else _listed(raw)
            for chunk in chunks:
                budget.check_time()
                if len(out) >= wanted:
                    break
                out += _IN_RESOURCES[kind](chunk, min(_CHUNK_BYTES, size - len(out)))
        else:
            return b"", Shut(Reason.UNSUPPORTED, "compressed by macOS in a way that is not known")
    except _ERRORS:
        return bytes(out), damaged
    if size > limit:
        return bytes(out[:limit]), budget.over_room(limit)
    return bytes(out), damaged if len(out) < size else None


def _mapped(raw: bytes) -> Iterator[bytes]:
    """Raises struct.error."""
    start = struct.unpack_from(">L", raw)[0] + 4
    count = struct.unpack_from("<L", raw, start)[0]
    for number in range(count):
        at, length = struct.unpack_from("<LL", raw, start + 4 + 8 * number)
        yield raw[start + at : start + at + length]


def _listed(raw: bytes) -> Iterator[bytes]:
    """Raises struct.error."""
    begins = struct.unpack_from("<L", raw)[0]
    for at in range(4, begins, 4):
        ends = struct.unpack_from("<L", raw, at)[0]
        yield raw[begins:ends]
        begins = ends
