"""XPRESS with Huffman codes, as Windows images have it ([MS-XCA] sections 2.1 and 2.2)."""

from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT, table
from mailward.scan.containers.repeat import repeat

_LENGTHS_BYTES = 256
_LENGTH_IN_NEXT = 15
_MIN_MATCH = 3


def unpack(packed: bytes, size: int) -> bytes:
    """One chunk of so many bytes. Raises IndexError or ValueError if it is damaged."""
    lengths = [half for byte in packed[:_LENGTHS_BYTES] for half in (byte & 15, byte >> 4)]
    entries, width = table(lengths)
    mask = (1 << width) - 1
    data = packed + bytes(8)
    out = bytearray()
    at, held, bits = _LENGTHS_BYTES, 0, 0
    end = len(packed) + 4
    while len(out) < size:
        if bits < 16:
            held = (held & 0xFFFF) << 16 | data[at + 1] << 8 | data[at]
            at += 2
            bits += 16
        entry = entries[held >> (bits - width) & mask]
        bits -= entry & LENGTH_MASK
        symbol = entry >> SYMBOL_SHIFT
        if symbol < 256:
            out.append(symbol)
            continue
        if bits < 16:
            held = (held & 0xFFFF) << 16 | data[at + 1] << 8 | data[at]
            at += 2
            bits += 16
        power, length = symbol >> 4 & 15, symbol & 15
        bits -= power
        offset = 1 << power | held >> bits & (1 << power) - 1
        if length == _LENGTH_IN_NEXT:
            length += data[at]
            at += 1
            if length == _LENGTH_IN_NEXT + 0xFF:
                length = data[at] | data[at + 1] << 8
                at += 2
        length += _MIN_MATCH
        if offset > len(out) or at > end:
            raise ValueError("a reference to nothing")
        repeat(out, offset, length)
    return bytes(out[:size])
