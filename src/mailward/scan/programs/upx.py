"""UPX: programs of Windows, 32 and 64 bits, put together again as they were before.

What is compressed begins where the section begins that the program begins to run in: its sections
one after the other as in memory, and at the end the headers that it had (UPX's ``src/pefile.cpp``).
Relocations and exports, which UPX keeps in a form of its own, stay so.
"""

import contextlib
import struct
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import portable, upx_codec, upx_imports, upx_resources
from mailward.scan.programs.labels import REMAINS, UNPACKED
from mailward.scan.programs.portable import Program
from mailward.scan.verdict import Reason

_HEADER = struct.Struct("<4sBBBBIIIIIBBBB")
"""UPX!, its version, the kind of file, method, level, two Adler-32, size unpacked and packed, size
of the file, filter, its parameter, entries of a table, sum."""
_KINDS = (9, 36)
"""Windows' programs of 32 and of 64 bits."""
_IN_FRONT_BYTES, _BEHIND_BYTES = 64, 1024
"""Of the beginning of the section that is packed: there the header is, mostly in front of it."""


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
            if kind in _KINDS and method in upx_codec.METHODS:
                start = max(at + _HEADER.size, section.offset)
                return Packed(method, unpacked, packed, filter_, parameter, start)
        at = data.find(b"UPX!", at + 1, end)
    return None


def read(data: bytes, program: Program, packed: Packed, budget: Budget) -> Contents:
    """The program as it was. Raises only Spent."""
    room = budget.room()
    if packed.unpacked_bytes > min(room, portable.IMAGE_MAX_BYTES):
        yield Shut(Reason.LIMIT, "packed program (UPX): too large once unpacked", label=UNPACKED)
        return
    if budget.is_bomb(packed.unpacked_bytes, len(data)):
        yield budget.bomb()
        return
    source = memoryview(data)[packed.start : packed.start + packed.packed_bytes]
    content, shut = upx_codec.decompress(packed.method, source, packed.unpacked_bytes, budget)
    try:
        program_data = _as_it_was(data, program, packed, content)
    except (struct.error, ValueError) as e:
        why = f"packed program (UPX): what it unpacks to is damaged: {e}"
        yield shut or Shut(Reason.MALFORMED, why, label=UNPACKED)
        if content:
            yield Piece(bytes(content), Role.MEMBER, label=REMAINS)
        return
    yield Piece(program_data, Role.MEMBER, label=UNPACKED)
    if shut is not None:
        yield Shut(shut.reason, shut.detail, label=UNPACKED)


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
    upx_codec.unfilter(
        packed.filter_, packed.filter_parameter, content, code_at - lowest, code_size
    )
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
