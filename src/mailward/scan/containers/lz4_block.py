"""One block of LZ4, bounded (``lz4_Block_format.md``)."""

from mailward.scan.containers.repeat import repeat

_MIN_MATCH = 4


def unpack(packed: bytes, limit: int) -> bytes:
    """At most so many bytes. Raises IndexError or ValueError if it is damaged."""
    out = bytearray()
    at = 0
    while True:
        token = packed[at]
        at += 1
        count, at = _length(packed, at, token >> 4)
        out += packed[at : at + count]
        at += count
        if at >= len(packed) or len(out) >= limit:
            return bytes(out[:limit])
        offset = packed[at] | packed[at + 1] << 8
        count, at = _length(packed, at + 2, token & 15)
        count = min(count + _MIN_MATCH, limit - len(out))
        if not 0 < offset <= len(out):
            raise ValueError("a reference to nothing")
        repeat(out, offset, count)


def _length(packed: bytes, at: int, count: int) -> tuple[int, int]:
    if count == 15:
        while packed[at] == 255:
            count += 255
            at += 1
        count += packed[at]
        at += 1
    return count, at
