"""Compiled HTML help (``ITSF``): a directory, and files of which most are packed together by LZX.

LZX is libarchive's: the packed data is put into a cabinet, which knows the same compression, one
folder for each stretch after which the compression begins anew. Format: M. Russotto, "Microsoft's
HTML Help (.chm) format".
"""

import struct
from collections.abc import Iterator

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"ITSF\x03"

_SECTIONS_AT = 0x38
_LIST = b"PMGL"
_CHUNKS_MAX = 10_000
_LIST_HEADER_BYTES = 20
_STORAGE = "::DataSpace/Storage/MSCompressed/"
_CONTENT, _CONTROL = _STORAGE + "Content", _STORAGE + "ControlData"
_RESETS = _STORAGE + "Transform/{7FC28940-9D31-11D0-9B27-00A0C91E9C7C}/InstanceData/ResetTable"
_FRAME = 0x8000
_FRAMES_MAX = 8192
"""256 MiB once unpacked."""


class _DamagedError(Exception):
    pass


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    content_at = 0
    try:
        content_at = struct.unpack_from("<Q", data, _SECTIONS_AT + 32)[0]
        entries = list(_directory(data, budget))
    except (struct.error, IndexError, _DamagedError):
        entries = []
    if not entries:
        yield Shut(Reason.MALFORMED, "compiled HTML help: its directory is damaged")
        return
    streams = {name: (at, size) for name, section, at, size in entries if not section}
    unpacked = b""
    if any(section for _, section, _, _ in entries):
        try:
            unpacked, shut = _unpack(data, content_at, streams, budget)
        except (struct.error, KeyError, _DamagedError):
            shut = Shut(Reason.MALFORMED, "compiled HTML help: its compressed part is damaged")
        if shut is not None:
            yield shut
    for name, section, at, size in entries:
        if name.startswith("::") or not size:
            continue
        wanted = min(size, budget.room() + 1)
        start = at if section else content_at + at
        content = (unpacked if section else data)[start : start + wanted]
        yield Piece(content, Role.MEMBER, name.lstrip("/"))
        if len(content) < wanted:
            yield Shut(Reason.MALFORMED, "truncated: it ends behind the file", name.lstrip("/"))


def _directory(data: bytes, budget: Budget) -> Iterator[tuple[str, int, int, int]]:
    """Name, section (0: as it is), offset, size."""
    at = struct.unpack_from("<Q", data, _SECTIONS_AT + 16)[0]
    if not data.startswith(b"ITSP", at):
        raise _DamagedError
    header_bytes, chunk_bytes, count = struct.unpack_from("<8xL4xL24xL", data, at)
    count = min(count, _CHUNKS_MAX)
    if not 64 <= chunk_bytes <= 1 << 20:
        raise _DamagedError
    for number in range(count):
        start = at + header_bytes + number * chunk_bytes
        chunk = data[start : start + chunk_bytes]
        if len(chunk) < chunk_bytes:
            raise _DamagedError
        if not chunk.startswith(_LIST):
            continue
        budget.check_time()
        end = len(chunk) - struct.unpack_from("<L", chunk, 4)[0]
        place = _LIST_HEADER_BYTES
        while place < end:
            name_bytes, place = _number(chunk, place)
            name = chunk[place : place + name_bytes].decode("utf-8", "replace")
            section, place = _number(chunk, place + name_bytes)
            offset, place = _number(chunk, place)
            size, place = _number(chunk, place)
            yield name, section, offset, size


def _number(chunk: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the highest first. Raises IndexError."""
    value = 0
    for _ in range(9):
        byte = chunk[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at
    raise _DamagedError


def _unpack(
    data: bytes, content_at: int, streams: dict[str, tuple[int, int]], budget: Budget
) -> tuple[bytes, Shut | None]:
    """Everything in the compressed section. Raises KeyError, struct.error, _DamagedError."""
    control = data[content_at + streams[_CONTROL][0] :][: streams[_CONTROL][1]]
    table = data[content_at + streams[_RESETS][0] :][: streams[_RESETS][1]]
    packed = data[content_at + streams[_CONTENT][0] :][: streams[_CONTENT][1]]
    _, magic, version, interval, window = struct.unpack_from("<L4sLLL", control)
    if version == 2:
        interval, window = interval * _FRAME, window * _FRAME
    frames, table_at, plain_bytes, packed_bytes, frame_bytes = struct.unpack_from(
        "<4xL4xLQQQ", table
    )
    bits = window.bit_length() - 1
    if magic != b"LZXC" or not 15 <= bits <= 21 or frame_bytes != _FRAME or interval < _FRAME:
        raise _DamagedError
    if not 0 < frames <= _FRAMES_MAX:
        raise _DamagedError
    offsets = [*struct.unpack_from(f"<{frames}Q", table, table_at), packed_bytes]
    blocks = []
    for number in range(frames):
        block = packed[offsets[number] : offsets[number + 1]]
        plain = min(_FRAME, plain_bytes - number * _FRAME)
        if not 0 < len(block) <= 0xFFFF or plain <= 0:
            raise _DamagedError
        blocks.append((block, plain))
    cabinet = _cabinet(blocks, interval // _FRAME, bits)
    out, shut = bytearray(), None
    for found in libarchive.read(libarchive.CAB, cabinet, "", budget):
        if isinstance(found, Piece):
            out += found.data
        elif isinstance(found, Shut) and shut is None:
            shut = Shut(found.reason, f"compiled HTML help: {found.detail}")
        if len(out) > budget.room():
            return bytes(out[: budget.room()]), budget.over_room(budget.room())
    return bytes(out), shut


def _cabinet(blocks: list[tuple[bytes, int]], per_folder: int, window_bits: int) -> bytes:
    """[MS-CAB]: each folder with one file, which is all of it."""
    groups = [blocks[at : at + per_folder] for at in range(0, len(blocks), per_folder)]
    files = [
        struct.pack("<LLHHHH", sum(plain for _, plain in group), 0, number, 0x21, 0, 0x20)
        + b"%d\0" % number
        for number, group in enumerate(groups)
    ]
    files_at = 36 + 8 * len(groups)
    at = files_at + sum(map(len, files))
    folders, body = b"", bytearray()
    for group in groups:
        folders += struct.pack("<LHH", at + len(body), len(group), 3 | window_bits << 8)
        for block, plain in group:
            body += struct.pack("<LHH", 0, len(block), plain) + block
    header = struct.pack(
        "<4sLLLLLBBHHHHH", b"MSCF", 0, at + len(body), 0, files_at, 0, 3, 1,
        len(groups), len(files), 0, 0, 0,
    )  # fmt: skip
    return header + folders + b"".join(files) + bytes(body)
