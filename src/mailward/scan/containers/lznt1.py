"""LZNT1 ([MS-XCA] section 2.5), as NTFS compresses files: chunks of 4 KiB, each by itself."""

from mailward.scan.containers.repeat import repeat

_CHUNK_BYTES = 4096
_IS_PACKED = 0x8000
_MIN_MATCH = 3


def unpack(packed: bytes, limit: int) -> bytes:
    """At most so many bytes, up to the first chunk that is empty. Raises IndexError, ValueError."""
    out = bytearray()
    at = 0
    while at + 2 <= len(packed) and len(out) < limit:
        header = packed[at] | packed[at + 1] << 8
        if not header:
            break
        end = at + 3 + (header & 0x0FFF)
        chunk = packed[at + 2 : end]
        if header & _IS_PACKED:
            out += _chunk(chunk)
        else:
            out += chunk
        if end < len(packed) and len(out) % _CHUNK_BYTES:
            out += bytes(-len(out) % _CHUNK_BYTES)  # a short one is filled up
        at = end
    return bytes(out[:limit])


def _chunk(packed: bytes) -> bytearray:
    out = bytearray()
    at = 0
    while at < len(packed) and len(out) < _CHUNK_BYTES:
        flags = packed[at]
        at += 1
        if not flags:
            out += packed[at : at + 8]
            at += 8
            continue
        for bit in range(8):
            if at >= len(packed):
                break
            if not flags >> bit & 1:
                out.append(packed[at])
                at += 1
                continue
            token = packed[at] | packed[at + 1] << 8
            at += 2
            length_bits = 12 - max(0, (len(out) - 1).bit_length() - 4)
            offset = (token >> length_bits) + 1
            length = (token & (1 << length_bits) - 1) + _MIN_MATCH
            if offset > len(out):
                raise ValueError("a reference to nothing")
            repeat(out, offset, length)
    return out[:_CHUNK_BYTES]
