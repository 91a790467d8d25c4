"""Files that Windows' COMPRESS.EXE made: SZDD and KWAJ, as EXPAND.EXE opens them.

The formats are described in libmspack's documentation of SZDD and KWAJ.
"""

import struct
import zlib

from mailward.scan.budget import Budget
from mailward.scan.containers import lzh
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"SZDD\x88\xf0\x27\x33|SZ \x88\xf0\x27\x33\xd1|KWAJ\x88\xf0\x27\xd1"

_SZDD_HEADER, _QBASIC_HEADER, _KWAJ_HEADER = 14, 12, 14
_WINDOW = 4096
_STORED = 0
_HAS_SIZE = 1
_LZH_CODES = (16, 16, 32, 64, 256)
"""Symbols: lengths, lengths right behind literals, how many literals, distances, literals."""
_LITERALS_MAX = 32
_LENGTH_MAX = 16
"""Of the code of a symbol."""
_LOOK_EVERY = 1024
"""Groups of tokens between two looks at time and ratio."""


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """The file inside. Raises only Spent."""
    method, at, stated, inner = _header(data, name)
    shut: Shut | None = None
    body = memoryview(data)[at:]
    match method:
        case 0:
            out = bytes(body)
        case 1:
            out = bytes(body).translate(bytes(255 - n for n in range(256)))
        case 2 | -2:
            out, shut = _lzss(body, _WINDOW - 16 if method == 2 else _WINDOW - 18, stated, budget)
        case 3:
            out, shut = _lzh(body, stated, budget)
        case 4:
            out, shut = _mszip(body, budget)
        case _:
            yield Shut(Reason.UNSUPPORTED, f"KWAJ method {method}: this release cannot open it")
            return
    yield Piece(out, Role.MEMBER, inner)
    if shut is None and stated is not None and len(out) < stated:
        shut = Shut(Reason.MALFORMED, "truncated: the compressed data ends too early")
    if shut is not None:
        yield shut


def _header(data: bytes, name: str) -> tuple[int, int, int | None, str]:
    """Method (-2: LZSS of QBasic), where the data begins, its size if it is said, its name."""
    if data.startswith(b"SZDD"):
        missing = data[9:10].decode("latin-1").strip("\0 _")
        inner = name[:-1] + missing if name.endswith("_") else name
        return 2, _SZDD_HEADER, int.from_bytes(data[10:14], "little"), inner
    if data.startswith(b"SZ "):
        return -2, _QBASIC_HEADER, int.from_bytes(data[8:12], "little"), name
    if len(data) < _KWAJ_HEADER:
        return _STORED, len(data), 1, name
    method, start, flags = struct.unpack_from("<HHH", data, 8)
    stated = int.from_bytes(data[14:18], "little") if flags & _HAS_SIZE else None
    return method, start, stated, name


def _lzss(
    body: memoryview, position: int, stated: int | None, budget: Budget
) -> tuple[bytes, Shut | None]:
    room = budget.room()
    out = bytearray(b" " * _WINDOW)  # what is in the window before anything was put out
    first, shift = _WINDOW, position
    at, groups = 0, 0
    while at < len(body):
        groups += 1
        if groups % _LOOK_EVERY == 0:
            budget.check_time()
            if len(out) - first > room:
                return bytes(out[first : first + room]), budget.over_room(room)
            if budget.is_bomb(len(out) - first, len(body)):
                return bytes(out[first:]), budget.bomb()
        control = body[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                out += body[at : at + 1]
                at += 1
            elif at + 1 < len(body):
                place = body[at] | (body[at + 1] & 0xF0) << 4
                length = (body[at + 1] & 0x0F) + 3
                at += 2
                here = len(out) - first + shift
                distance = (here - place - 1) % _WINDOW + 1
                for _ in range(length):
                    out.append(out[-distance])
            else:
                at = len(body)
                break
    end = first + min(room, len(out) - first if stated is None else stated)
    return bytes(out[first:end]), None


def _lzh(body: memoryview, stated: int | None, budget: Budget) -> tuple[bytes, Shut | None]:
    """Runs of literals and repetitions, each by a code of its own; it has no end of its own."""
    bits = Bits(body)
    out = bytearray(b" " * _WINDOW)
    room = budget.room()
    wanted = _WINDOW + min(room + 1, room + 1 if stated is None else stated)
    turns, after_literals = 0, False
    try:
        kinds = [bits.take(4) for _ in range(len(_LZH_CODES) + 1)]
        first, second, counts, distances, literals = (
            _lzh_code(bits, size, kind) for size, kind in zip(_LZH_CODES, kinds[:-1], strict=True)
        )
        while len(out) < wanted:
            turns += 1
            if turns % _LOOK_EVERY == 0:
                budget.check_time()
                if budget.is_bomb(len(out) - _WINDOW, len(body)):
                    return bytes(out[_WINDOW:]), budget.bomb()
            before = len(out)
            length = (second if after_literals else first).read(bits)
            if length:
                distance = distances.read(bits) << 6 | bits.take(6)
                lzh.copy(out, distance or _WINDOW, length + 2)
                after_literals = False
            else:
                count = counts.read(bits) + 1
                out += bytes(literals.read(bits) for _ in range(count))
                after_literals = count != _LITERALS_MAX
            if 8 * bits.at - bits.count > 8 * len(body):  # that was of bits behind the end
                del out[before:]
                break
    except DamagedError:
        damaged = Shut(Reason.MALFORMED, "the compressed data is damaged")
        return bytes(out[_WINDOW : _WINDOW + room]), damaged
    shut = budget.over_room(room) if len(out) - _WINDOW > room else None
    return bytes(out[_WINDOW : min(wanted, _WINDOW + room)]), shut


def _lzh_code(bits: Bits, size: int, kind: int) -> lzh.Code:
    """The lengths of its symbols, told in one of four ways. Raises DamagedError."""
    if kind == 0:
        return lzh.Code([size.bit_length() - 1] * size, often=True)
    if kind not in (1, 2, 3):
        raise DamagedError("a code told in an unknown way")
    lengths = [bits.take(4)]
    while len(lengths) < size:
        length = lengths[-1]
        if kind == 1 and bits.take(1):
            length = bits.take(4) if bits.take(1) else length + 1
        elif kind == 2:
            step = bits.take(2)
            length = bits.take(4) if step == 3 else length + step - 1
        elif kind == 3:
            length = bits.take(4)
        if not 0 <= length <= _LENGTH_MAX:
            raise DamagedError("a code of an impossible length")
        lengths.append(length)
    return lzh.Code(lengths, often=True)


def _mszip(body: memoryview, budget: Budget) -> tuple[bytes, Shut | None]:
    """Blocks of size, ``CK``, deflate; each may refer to the one before."""
    out = bytearray()
    at = 0
    room = budget.room()
    while at + 4 <= len(body):
        budget.check_time()
        size = int.from_bytes(body[at : at + 2], "little")
        if not size:
            break
        if bytes(body[at + 2 : at + 4]) != b"CK":
            return bytes(out), Shut(
                Reason.MALFORMED, "the compressed data is damaged: no such block"
            )
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS, zdict=bytes(out[-32768:]))
        try:
            out += decompressor.decompress(bytes(body[at + 4 : at + 2 + size]), 32768)
        except zlib.error as e:
            return bytes(out), Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
        if len(out) > room:
            return bytes(out[:room]), budget.over_room(room)
        if budget.is_bomb(len(out), len(body)):
            return bytes(out), budget.bomb()
        at += 2 + size
    return bytes(out), None
