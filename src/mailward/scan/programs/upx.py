"""UPX: programs of Windows, 32 and 64 bits, put together again as they were before.

What is compressed begins where the section begins that the program begins to run in: its sections
one after the other as in memory, and at the end the headers that it had (UPX's ``src/pefile.cpp``).
Relocations and exports, which UPX keeps in a form of its own, stay so.
"""

import contextlib
import re
import struct
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate, lzma_raw
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import nrv, portable, upx_imports, upx_resources
from mailward.scan.programs.portable import Program
from mailward.scan.verdict import Reason

_HEADER = struct.Struct("<4sBBBBIIIIIBBBB")
"""UPX!, its version, the kind of file, method, level, two Adler-32, size unpacked and packed, size
of the file, filter, its parameter, entries of a table, sum."""
_KINDS = (9, 36)
"""Windows' programs of 32 and of 64 bits."""
_LZMA, _DEFLATE = 14, 15
_LZMA_DICTIONARY_MAX = 1 << 26
_IN_FRONT_BYTES, _BEHIND_BYTES = 64, 1024
"""Of the beginning of the section that is packed: there the header is, mostly in front of it."""
LABEL = "unpacked"


@dataclass(frozen=True, slots=True)
class Packed:
    """What the header of UPX says."""

    method: int
    unpacked_bytes: int
    packed_bytes: int
    filter_: int
    filter_parameter: int
    start: int
    """Of what is compressed, in the file."""


def find(data: bytes, program: Program) -> Packed | None:
    """How ``program`` is packed; None if not by UPX, or if its header is gone."""
    section = program.section_of(program.entry)
    if section is None or len(program.sections) < 2:
        return None
    end = section.offset + _BEHIND_BYTES
    at = data.find(b"UPX!", max(program.table_at, section.offset - _IN_FRONT_BYTES), end)
    while at >= 0:
        if at + _HEADER.size <= len(data):
            (_, _, kind, method, _, _, _, unpacked, packed, _, filter_, parameter, _, _) = (
                _HEADER.unpack_from(data, at)
            )
            if kind in _KINDS and method in (*nrv.METHODS, _LZMA, _DEFLATE):
                start = max(at + _HEADER.size, section.offset)
                return Packed(method, unpacked, packed, filter_, parameter, start)
        at = data.find(b"UPX!", at + 1, end)
    return None


def read(data: bytes, program: Program, packed: Packed, budget: Budget) -> Contents:
    """The program as it was. Raises only Spent."""
    room = budget.room()
    if packed.unpacked_bytes > min(room, portable.IMAGE_MAX_BYTES):
        yield Shut(Reason.LIMIT, "packed program (UPX): too large once unpacked", label=LABEL)
        return
    if budget.is_bomb(packed.unpacked_bytes, len(data)):
        yield budget.bomb()
        return
    content, shut = _decompress(data, packed, budget)
    try:
        program_data = _as_it_was(data, program, packed, content)
    except (struct.error, ValueError) as e:
        why = f"packed program (UPX): what it unpacks to is damaged: {e}"
        yield shut or Shut(Reason.MALFORMED, why, label=LABEL)
        if content:
            yield Piece(bytes(content), Role.MEMBER, label="memory")
        return
    yield Piece(program_data, Role.MEMBER, label=LABEL)
    if shut is not None:
        yield Shut(shut.reason, shut.detail, label=LABEL)


def _decompress(data: bytes, packed: Packed, budget: Budget) -> tuple[bytearray, Shut | None]:
    source = memoryview(data)[packed.start : packed.start + packed.packed_bytes]
    limit = packed.unpacked_bytes
    if packed.method in nrv.METHODS:
        out, complete = nrv.unpack(packed.method, bytes(source), limit, budget)
        whole = complete or len(out) == limit
        why = "packed program (UPX): the compressed data is damaged"
        return out, None if whole else Shut(Reason.MALFORMED, why)
    if packed.method == _DEFLATE:
        done = inflate(deflate, source, budget)
        return bytearray(done.data), done.shut
    if len(source) < 3:
        return bytearray(), Shut(Reason.MALFORMED, "packed program (UPX): truncated")
    # Two bytes: (lc + lp) << 3 | pb, then lp << 4 | lc.
    position, literal = source[0] & 7, source[1]
    number = (position * 5 + (literal >> 4)) * 9 + (literal & 15)
    dictionary = min(max(limit, 1 << 12), _LZMA_DICTIONARY_MAX)
    properties = bytes([min(number, 255)]) + dictionary.to_bytes(4, "little")
    done = inflate(partial(lzma_raw, properties, limit), source[2:], budget)
    return bytearray(done.data), done.shut


def _as_it_was(data: bytes, program: Program, packed: Packed, content: bytearray) -> bytes:
    """Raises ValueError or struct.error when what was kept of its headers makes no sense."""
    lowest = program.sections[0].address
    (headers_at,) = struct.unpack_from("<I", content, len(content) - 4)
    dos = data[: program.header_at]
    stub = dos + bytes(content[headers_at : headers_at + 24 + 240 + 40 * portable.SECTIONS_MAX])
    was = portable.read(stub) if headers_at < len(content) else None
    if was is None or was.machine != program.machine:
        raise ValueError("its own headers are not there")
    code_at, code_size = struct.unpack_from("<I12xI", stub, was.header_at + 24 + 4)[::-1]
    unfilter(packed.filter_, packed.filter_parameter, content, code_at - lowest, code_size)
    image = portable.load(data, program)
    extra_at = headers_at + was.table_at - was.header_at + 40 * len(was.sections)
    with contextlib.suppress(struct.error, ValueError):  # what is not code is found all the same
        upx_imports.put_back(image, program, was, content, extra_at, lowest)
    upx_resources.put_back(image, program, was, content, lowest)
    out = bytearray(stub[: was.table_at + 40 * len(was.sections)])
    for section in was.sections:
        if not section.size or section.offset + section.size > portable.IMAGE_MAX_BYTES:
            continue
        at = section.address - lowest
        piece = content[at : at + section.size] if at >= 0 else b""
        end = section.offset + section.size
        out += bytes(max(0, end - len(out)))
        out[section.offset : section.offset + len(piece)] = piece
    return bytes(out) + data[program.file_size :]


def unfilter(number: int, parameter: int, content: bytearray, start: int, size: int) -> None:
    """Make targets of calls and jumps relative again. Raises ValueError for what is not known."""
    if not number:
        return
    if number not in _FILTERS:
        raise ValueError(f"filter 0x{number:02x} is not known")
    opcodes, order, is_marked = _FILTERS[number]
    mark = re.escape(bytes([parameter])) + b"..." if is_marked else b"...."
    pattern = re.compile(b"(?:%b)(%b)" % (opcodes, mark), re.DOTALL)
    end = max(start, 0) + size
    for found in pattern.finditer(bytes(content[:end]), max(start, 0)):
        at = found.start(1)
        absolute = int.from_bytes(found[1][1:] if is_marked else found[1], order)
        relative = (absolute - at) & 0xFFFFFFFF
        content[at : at + 4] = relative.to_bytes(4, "little")


_CALL, _JUMP, _BOTH = rb"\xe8", rb"\xe9", rb"[\xe8\xe9]"
_FILTERS: dict[int, tuple[bytes, Literal["little", "big"], bool]] = {
    0x11: (_CALL, "little", False),
    0x12: (_JUMP, "little", False),
    0x13: (_BOTH, "little", False),
    0x14: (_CALL, "big", False),
    0x15: (_JUMP, "big", False),
    0x16: (_BOTH, "big", False),
    0x24: (_CALL, "big", True),
    0x25: (_JUMP, "big", True),
    0x26: (_BOTH, "big", True),
    0x46: (_BOTH, "big", True),
    0x49: (_BOTH + rb"|\x0f[\x80-\x8f]", "big", True),
}
"""What is in front of a target, its byte order, and whether its highest byte marks it."""
