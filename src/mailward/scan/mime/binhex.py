"""BinHex 4.0 (RFC 1741, which wants ``(This file must be converted with BinHex 4.0)`` in front)."""

import binascii
import re
import struct
from collections.abc import Iterator

MARK = b"(This file must be converted with BinHex"
_BODY = re.compile(rb"^:([^:]*)(:)?", re.MULTILINE)
_ALPHABET = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64 = bytes.maketrans(_ALPHABET, _BASE64)
_OTHERS = bytes(set(range(256)).difference(_ALPHABET))
_REPEAT = 0x90
_HEADER = struct.Struct(">4s4sHLL")
_CRC_BYTES = 2


def decode(text: bytes, room: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of the data and the resource fork of each file in ``text``.

    At most ``room`` bytes each time; runs are expanded, 2 bytes to 255.
    """
    at = text.find(MARK)
    while at >= 0:
        body = _BODY.search(text, at + len(MARK))
        if body is None:
            return
        letters = body[1].translate(_TO_BASE64, _OTHERS)
        whole = len(letters) - (len(letters) % 4 == 1)
        packed = binascii.a2b_base64(letters[:whole] + b"=" * (-whole % 4))
        yield from _forks(_expand(packed, room))
        at = text.find(MARK, body.end())


def _expand(packed: bytes, room: int) -> bytes:
    if _REPEAT not in packed:
        return packed
    out = bytearray()
    at = 0
    while at < len(packed) and len(out) < room:
        mark = packed.find(b"\x90", at)
        if mark < 0 or mark + 1 >= len(packed):
            out += packed[at:]
            break
        out += packed[at:mark]
        count = packed[mark + 1]
        if not count:
            out.append(_REPEAT)
        elif out:
            out += out[-1:] * (count - 1)
        at = mark + 2
    return bytes(out[:room])


def _forks(data: bytes) -> Iterator[tuple[str, bytes]]:
    name_bytes = data[0] if data else 0
    at = 1 + name_bytes + 1
    if len(data) < at + _HEADER.size:
        return
    name = data[1 : 1 + name_bytes].decode("mac-roman", "replace")
    _, _, _, data_bytes, resource_bytes = _HEADER.unpack_from(data, at)
    at += _HEADER.size + _CRC_BYTES
    if fork := data[at : at + data_bytes]:
        yield name, fork
    at += data_bytes + _CRC_BYTES
    if fork := data[at : at + resource_bytes]:
        yield f"{name}.rsrc", fork
