"""Files of ``lzop``: blocks packed by LZO1X.

Formats: lzop(1) and ``lzop.c`` of its release 1.04; "LZO stream format as understood by Linux' LZO
decompressor" in the kernel's documentation.
"""

import struct
import zlib
from itertools import accumulate

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.containers import stream
from mailward.scan.containers.repeat import repeat
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\x89LZO\0\r\n\x1a\n"

_MAGIC = b"\x89LZO\0\r\n\x1a\n"
_NEWER = 0x0940
"""The version from which the header has more fields."""
_METHODS = (1, 2, 3)
_ADLER_PLAIN, _ADLER_PACKED, _EXTRA = 1, 2, 0x40
_CRC_PLAIN, _CRC_PACKED, _FILTER = 0x100, 0x200, 0x800
_CHECKS = (_ADLER_PLAIN, _CRC_PLAIN, _ADLER_PACKED, _CRC_PACKED)
"""In the order in which they are there; the latter two only of blocks that are packed."""
_FILTER_MAX = 16
_FILES_MAX = 10_000
_LOOK_EVERY = 4096
"""Steps between two looks at time and ratio."""
_RUN_MAX = 1 << 27
_TRUNCATED = Shut(Reason.MALFORMED, "truncated: the compressed data ends too early")


class DamagedError(Exception):
    """What cannot be."""


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The files; most have one. Raises only Spent."""
    at = 0
    for _ in range(_FILES_MAX):
        budget.check_time()
        out = bytearray()
        called = stream.inner_name(name)
        shut: Shut | None
        try:
            flags, step, why, own_name, at = _header(data, at)
            called = own_name or called
            if why:
                shut = Shut(Reason.UNSUPPORTED, why)
            else:
                at, shut = _blocks(data, at, flags, step, out, budget)
        except (struct.error, IndexError):
            shut = _TRUNCATED
        except DamagedError as e:
            shut = Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
        yield Piece(bytes(out), Role.MEMBER, called)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, called)
            return
        if not data.startswith(_MAGIC, at):
            return
    yield Shut(Reason.LIMIT, f"lzop'ed file: more than {_FILES_MAX} files")


def _header(data: bytes, at: int) -> tuple[int, int, str, str, int]:
    """Flags, filter, why it stays shut, the name, where blocks begin.

    The filter: how far away the byte is that was taken off each; 0 if none was. Raises
    struct.error, IndexError.
    """
    at += len(_MAGIC)
    version = struct.unpack_from(">H", data, at)[0]
    newer = version >= _NEWER
    at += 6 if newer else 4
    method = data[at]
    at += 2 if newer else 1
    flags = struct.unpack_from(">L", data, at)[0]
    at += 4
    why = "" if method in _METHODS else f"lzop'ed file: method {method} is not known"
    step = 0
    if flags & _FILTER:
        step = struct.unpack_from(">L", data, at)[0]
        at += 4
        if step > _FILTER_MAX:
            why = f"lzop'ed file: filter {step} is not known"
    at += 12 if newer else 8
    name = data[at + 1 : at + 1 + data[at]]
    at += 1 + data[at] + 4
    if flags & _EXTRA:
        at += 8 + struct.unpack_from(">L", data, at)[0]
    return flags, step, why, encodings.text(name.replace(b"\\", b"/")).rpartition("/")[2], at


def _blocks(
    data: bytes, at: int, flags: int, step: int, out: bytearray, budget: Budget
) -> tuple[int, Shut | None]:
    """Into ``out``; where they end, and why it is not all."""
    room = budget.room()
    while True:
        budget.check_time()
        plain_bytes = struct.unpack_from(">L", data, at)[0]
        at += 4
        if not plain_bytes:
            return at, None
        packed_bytes = struct.unpack_from(">L", data, at)[0]
        at += 4
        checks: dict[int, int] = {}
        for check in _CHECKS if packed_bytes < plain_bytes else _CHECKS[:2]:
            if flags & check:
                checks[check] = struct.unpack_from(">L", data, at)[0]
                at += 4
        packed = memoryview(data)[at : at + packed_bytes]
        at += packed_bytes
        start = len(out)
        wanted = min(plain_bytes, room + 1 - start)
        if packed_bytes >= plain_bytes:
            out += packed[:wanted]
        else:
            unpack(packed, out, wanted, budget)
        for first in range(start, min(start + step, len(out))):
            out[first::step] = bytes(value & 0xFF for value in accumulate(out[first::step]))
        if len(out) > room:
            del out[room:]
            return at, budget.over_room(room)
        if budget.is_bomb(len(out), len(data)):
            return at, budget.bomb()
        if len(out) - start < plain_bytes:
            return at, _TRUNCATED
        if not _is_right(memoryview(out)[start:], checks):
            return at, Shut(Reason.MALFORMED, "the compressed data is damaged: a checksum is wrong")


def _is_right(block: memoryview, checks: dict[int, int]) -> bool:
    """Of a plain block; what it is packed to is not looked at."""
    with block:
        if _ADLER_PLAIN in checks:
            return zlib.adler32(block) == checks[_ADLER_PLAIN]
        return _CRC_PLAIN not in checks or zlib.crc32(block) == checks[_CRC_PLAIN]


def unpack(packed: memoryview, out: bytearray, wanted: int, budget: Budget) -> None:
    """One block of LZO1X behind what is in ``out``, at most ``wanted`` bytes of it.

    Raises DamagedError, IndexError where it is cut, Spent.
    """
    begin = len(out)
    end = begin + wanted
    at = state = turns = 0
    if packed[0] > 17:
        count = packed[0] - 17
        out += packed[1 : 1 + count]
        at, state = 1 + count, min(count, 4)
    while len(out) < end:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
            if budget.is_bomb(len(out), len(packed)):
                return
        code = packed[at]
        at += 1
        if code < 16 and not state:
            length, at = _run(packed, at, code, 15)
            out += packed[at : at + length + 3]
            at += length + 3
            state = 4
            continue
        if code < 16:
            distance = (packed[at] << 2) + (code >> 2) + (2049 if state == 4 else 1)
            length = 3 if state == 4 else 2
            state = code & 3
            at += 1
        elif code < 64:
            mask = 7 if code < 32 else 31
            length, at = _run(packed, at, code & mask, mask)
            length += 2
            low = packed[at] | packed[at + 1] << 8
            at += 2
            state = low & 3
            distance = (low >> 2) + 1
            if code < 32:
                distance += 16383 + ((code & 8) << 11)
                if distance == 16384:
                    return
        else:
            length = 3 + (code >> 5 & 1) if code < 128 else 5 + (code >> 5 & 3)
            distance = (packed[at] << 3) + (code >> 2 & 7) + 1
            state = code & 3
            at += 1
        if distance > len(out) - begin:
            raise DamagedError("a match leads outside")
        repeat(out, distance, min(length, end - len(out)))
        if state:
            out += packed[at : at + state]
            at += state
    del out[end:]


def _run(packed: memoryview, at: int, value: int, more: int) -> tuple[int, int]:
    """A length: if it is 0, of a row of zeros and what ends it. Raises DamagedError, IndexError."""
    if value:
        return value, at
    value = more
    while not packed[at]:
        value += 255
        at += 1
        if value > _RUN_MAX:
            raise DamagedError("a length is too long")
    return value + packed[at], at + 1
