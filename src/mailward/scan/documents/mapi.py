"""What Outlook keeps in properties (MS-OXPROPS), in winmail.dat as in .msg."""

import struct

from mailward.scan.budget import Budget
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

BODY, BODY_HTML, RTF_COMPRESSED = 0x1000, 0x1013, 0x1009
ATTACH_DATA, ATTACH_NAME, ATTACH_LONG_NAME, ATTACH_TYPE = 0x3701, 0x3704, 0x3707, 0x370E
SUBJECT, HEADERS = 0x0037, 0x007D
TEXT_8BIT, TEXT_UTF16, BINARY, OBJECT = 0x001E, 0x001F, 0x0102, 0x000D

_RTF_HEADER = struct.Struct("<LL4sL")
_RTF_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern "
    b"\\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0"
    b"\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
"""MS-OXRTFCP 2.1.2.1."""
_WINDOW = 4096
_CHECK_EVERY_BYTES = 64 * 1024


def text(kind: int, value: bytes) -> bytes:
    """A text property as UTF-8 (8-bit: as it is)."""
    if kind == TEXT_UTF16:
        return value.decode("utf-16-le", "replace").rstrip("\0").encode("utf-8", "replace")
    return value.rstrip(b"\0")


def body(tag: int, kind: int, value: bytes, budget: Budget) -> list[Piece | Shut]:
    """What a property of a message holds that a client shows; nothing if it is another property."""
    match tag:
        case 0x1000 | 0x0037 | 0x007D if kind != BINARY:
            return [Piece(text(kind, value), Role.BODY, content_type="text/plain", label="body")]
        case 0x1013:
            return [Piece(text(kind, value), Role.BODY, content_type="text/html", label="html")]
        case 0x1009:
            return decompress_rtf(value, budget)
    return []


def decompress_rtf(data: bytes, budget: Budget) -> list[Piece | Shut]:
    """MS-OXRTFCP: LZ77 with a window of 4 KiB that begins with common words."""
    found: list[Piece | Shut] = []
    if len(data) < _RTF_HEADER.size:
        return [Shut(Reason.MALFORMED, "compressed text without a header", label="rtf")]
    _, size, magic, _ = _RTF_HEADER.unpack_from(data)
    if magic == b"MELA":
        out = data[_RTF_HEADER.size :]
    elif magic == b"LZFu":
        room = min(size, budget.room())
        out = _lzfu(memoryview(data)[_RTF_HEADER.size :], room, budget)
        if size > room:
            found.append(budget.over_room(room))
    else:
        return [Shut(Reason.MALFORMED, "text compressed in no known way", label="rtf")]
    return [Piece(out, Role.BODY, content_type="text/rtf", label="rtf"), *found]


def _lzfu(packed: memoryview, room: int, budget: Budget) -> bytes:
    out = bytearray(_RTF_DICTIONARY)
    start = len(out)
    end = start + room
    at = next_check = 0
    while at < len(packed) and len(out) < end:
        if len(out) > next_check:
            budget.check_time()
            next_check = len(out) + _CHECK_EVERY_BYTES
        control = packed[at]
        at += 1
        if not control:
            out += packed[at : at + 8]
            at += 8
            continue
        for bit in range(8):
            if not control >> bit & 1:
                out += packed[at : at + 1]
                at += 1
                continue
            if at + 2 > len(packed):
                return bytes(out[start:end])
            token = packed[at] << 8 | packed[at + 1]
            at += 2
            offset, length = token >> 4, (token & 15) + 2
            if offset == len(out) % _WINDOW:
                return bytes(out[start:end])
            distance = (len(out) - offset) % _WINDOW
            if distance <= len(out):
                repeat(out, distance, length)
                continue
            source = len(out) - distance
            for index in range(source, source + length):
                out.append(out[index] if 0 <= index < len(out) else 0x20)
    return bytes(out[start:end])
