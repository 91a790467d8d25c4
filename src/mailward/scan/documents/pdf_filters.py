"""Filters of PDF streams (ISO 32000-1 section 7.4), each bounded, each lenient.

Pictures stay packed (DCT, JPX, CCITT, JBIG2): what draws them runs nothing.
"""

import binascii
import re
import struct
from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason
from mailward.settings.base import MIB

PICTURES = frozenset(
    (b"DCTDecode", b"DCT", b"JPXDecode", b"CCITTFaxDecode", b"CCF", b"JBIG2Decode")
)
_WHITESPACE = b"\0\t\n\f\r "
_NOT_HEX = bytes(set(range(256)).difference(b"0123456789abcdefABCDEF"))
_ZLIB_HEADER = re.compile(rb"[\x08\x18\x28\x38\x48\x58\x68\x78]")
_LZW_CLEAR, _LZW_END, _LZW_CODES_MAX = 256, 257, 4096
_CHECK_EVERY = 16 * 1024
_PREDICTED_MAX_BYTES = 20 * MIB
"""Undone in Python; tables of objects and the like have some kilobytes."""

Filtered = tuple[bytes, Shut | None]


def flate(data: bytes, budget: Budget) -> Filtered:
    """zlib, or what is left of it."""
    data = data.lstrip(b"\r\n") if data[:1] in (b"\r", b"\n") else data
    start = 2 if _ZLIB_HEADER.match(data) else 0
    inflated = inflate(deflate, memoryview(data)[start:], budget)
    if inflated.shut is not None and inflated.shut.reason is Reason.MALFORMED and inflated.data:
        return inflated.data, None  # readers show what there is; so does what was scanned
    return inflated.data, inflated.shut


def lzw(data: bytes, budget: Budget, early: int = 1) -> Filtered:
    """Codes of 9 to 12 bits, the most significant bit first."""
    room = budget.room()
    out = bytearray()
    table: list[bytes] = [bytes((n,)) for n in range(256)] + [b"", b""]
    bits = held = 0
    width, last = 9, b""
    for count, byte in enumerate(data):
        if not count % _CHECK_EVERY:
            budget.check_time()
        held = (held << 8 | byte) & 0xFFFFFF
        bits += 8
        if bits < width:
            continue
        bits -= width
        code = held >> bits & ((1 << width) - 1)
        if code == _LZW_END:
            break
        if code == _LZW_CLEAR:
            del table[258:]
            width, last = 9, b""
            continue
        if code < len(table):
            entry = table[code]
        elif last:
            entry = last + last[:1]
        else:
            return bytes(out), Shut(Reason.MALFORMED, "LZW with a code that means nothing")
        out += entry
        if last and len(table) < _LZW_CODES_MAX:
            table.append(last + entry[:1])
        last = entry
        if len(table) + early >= 1 << width and width < 12:
            width += 1
        if len(out) > room:
            return bytes(out[:room]), budget.over_room(room)
        if budget.is_bomb(len(out), count + 1):
            return bytes(out), budget.bomb()
    return bytes(out), None


def ascii_hex(data: bytes, _budget: Budget) -> Filtered:
    """Pairs of digits up to ``>``."""
    digits = data.partition(b">")[0].translate(None, _NOT_HEX)
    return binascii.unhexlify(digits + b"0" * (len(digits) % 2)), None


def ascii85(data: bytes, budget: Budget) -> Filtered:
    """Five characters for four bytes, ``z`` for four zeros."""
    text = data.strip().removeprefix(b"<~").partition(b"~")[0].translate(None, _WHITESPACE)
    text = text.replace(b"z", b"!!!!!")
    text = bytes(c for c in text if 33 <= c <= 117)
    padding = -len(text) % 5
    out = bytearray()
    text += b"u" * padding
    for at in range(0, len(text), 5):
        if not at % _CHECK_EVERY:
            budget.check_time()
        a, b, c, d, e = text[at : at + 5]
        value = (((a * 85 + b) * 85 + c) * 85 + d) * 85 + e - _ASCII85_OFFSET
        out += struct.pack(">L", value & 0xFFFFFFFF)
    return bytes(out[: len(out) - padding] if padding else out), None


_ASCII85_OFFSET = 33 * (85**4 + 85**3 + 85**2 + 85 + 1)


def run_length(data: bytes, budget: Budget) -> Filtered:
    """A count, then bytes to copy or one to repeat."""
    room = budget.room()
    out = bytearray()
    at = 0
    while at < len(data) and data[at] != 128:
        if len(out) > room:
            return bytes(out[:room]), budget.over_room(room)
        count = data[at]
        if count < 128:
            out += data[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            out += data[at + 1 : at + 2] * (257 - count)
            at += 2
    return bytes(out), None


BY_NAME: dict[bytes, Callable[[bytes, Budget], Filtered]] = {
    b"FlateDecode": flate,
    b"Fl": flate,
    b"LZWDecode": lzw,
    b"LZW": lzw,
    b"ASCIIHexDecode": ascii_hex,
    b"AHx": ascii_hex,
    b"ASCII85Decode": ascii85,
    b"A85": ascii85,
    b"RunLengthDecode": run_length,
    b"RL": run_length,
}


def unpredict(data: bytes, columns: int, bytes_a_pixel: int, budget: Budget) -> bytes:
    """Undo PNG's predictors (RFC 2083 section 6), as object streams use them."""
    if columns <= 0 or columns > len(data) or len(data) > _PREDICTED_MAX_BYTES:
        return data
    out = bytearray()
    above = bytearray(columns)
    for at in range(0, len(data), columns + 1):
        budget.check_time()
        kind, row = data[at], bytearray(data[at + 1 : at + 1 + columns])
        for x in range(len(row) if kind in (1, 2, 3, 4) else 0):
            left = row[x - bytes_a_pixel] if x >= bytes_a_pixel else 0
            up = above[x]
            corner = above[x - bytes_a_pixel] if x >= bytes_a_pixel else 0
            row[x] = (row[x] + _predicted(kind, left, up, corner)) & 0xFF
        out += row
        above = row.ljust(columns, b"\0")
    return bytes(out)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    estimate = left + up - corner
    distances = (abs(estimate - left), abs(estimate - up), abs(estimate - corner))
    return (left, up, corner)[distances.index(min(distances))]
