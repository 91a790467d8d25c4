"""UPX: programs of Linux, put together again as they were before.

Behind a first header come blocks, each with its sizes, method and filter: the program's own
headers, then its segments in their order, then what lies between and behind them (UPX's
``src/p_lx_elf.cpp`` and ``src/stub/src/include/linux.h``).
"""

import struct
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.programs import portable, upx_codec
from mailward.scan.programs.labels import UNPACKED
from mailward.scan.verdict import Reason

_MAGIC = b"UPX!"
_SEARCH_BYTES = 4096
"""Behind the beginning of the file; the header follows those of the program."""
_BLOCKS_MAX = 10_000
_SEGMENTS_MAX = 128
_HEADERS_MAX_BYTES = 8192
"""Of the program's own headers, which the first block is."""
_LOAD = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """What the header of UPX says."""

    order: str
    """Of bytes, as ``struct`` has it."""
    start: int
    """Of the first block."""
    file_bytes: int
    """Once unpacked; 0 if that was wiped out, as malware does."""

    @property
    def most_bytes(self) -> int:
        """That it may unpack to."""
        return self.file_bytes or portable.IMAGE_MAX_BYTES


def find(data: bytes) -> Packed | None:
    """How the ELF program ``data`` is packed; None if it is none, or not by UPX."""
    if data[:4] != b"\x7fELF" or data[4:5] not in (b"\1", b"\2"):
        return None
    at = data.find(_MAGIC, 52, _SEARCH_BYTES)
    if at < 0 or at + 32 > len(data):
        return None
    order = ">" if data[5] == 2 else "<"
    (file_bytes,) = struct.unpack_from(order + "4xI4x", data, at + 8)
    unpacked, size, method = struct.unpack_from(order + "IIB", data, at + 20)
    if not 52 <= unpacked <= _HEADERS_MAX_BYTES or size > unpacked:
        return None
    if method not in upx_codec.METHODS:
        return None
    return Packed(order, at + 20, file_bytes)


def read(data: bytes, packed: Packed, budget: Budget) -> Contents:
    """The program as it was. Raises only Spent."""
    size = packed.file_bytes
    if size > min(budget.room(), portable.IMAGE_MAX_BYTES):
        yield Shut(Reason.LIMIT, "packed program (UPX): too large once unpacked", label=UNPACKED)
        return
    blocks, shut = _blocks(data, packed, budget)
    if blocks:
        yield Piece(_as_it_was(blocks, packed), Role.MEMBER, label=UNPACKED)
    if shut is not None:
        yield Shut(shut.reason, shut.detail, label=UNPACKED)


def _blocks(data: bytes, packed: Packed, budget: Budget) -> tuple[list[bytes], Shut | None]:
    at, left = packed.start, min(packed.most_bytes, budget.room())
    found: list[bytes] = []
    view = memoryview(data)
    for _ in range(_BLOCKS_MAX):
        if not left or at + 12 > len(data):
            break
        unpacked, size, method, filter_, parameter = struct.unpack_from(
            packed.order + "IIBBBx", data, at
        )
        at += 12
        if not unpacked or unpacked > left or size > unpacked:
            break
        if budget.is_bomb(packed.most_bytes - left + unpacked, len(data)):
            return found, budget.bomb()
        content, shut = bytearray(view[at : at + size]), None
        if size < unpacked:
            if method not in upx_codec.METHODS:
                why = f"packed program (UPX): method {method} is not known"
                return found, Shut(Reason.UNSUPPORTED, why)
            content, shut = upx_codec.decompress(method, view[at : at + size], unpacked, budget)
        try:
            upx_codec.unfilter(filter_, parameter, content, 0, len(content))
        except ValueError as e:
            shut = shut or Shut(Reason.UNSUPPORTED, f"packed program (UPX): {e}")
        found.append(bytes(content))
        if shut is not None:
            return found, shut
        at += size
        left -= unpacked
    if left and (packed.file_bytes or not found):
        return found, Shut(Reason.MALFORMED, "packed program (UPX): it ends too early")
    return found, None


def _as_it_was(blocks: list[bytes], packed: Packed) -> bytes:
    """Each byte where the program's own headers say that it was."""
    rest = memoryview(b"".join(blocks[1:]))
    out = bytearray(blocks[0])
    try:
        places = _places(blocks[0], packed)
    except (struct.error, IndexError, OverflowError):
        places = [(len(out), packed.most_bytes)]
    for start, end in places:
        piece = rest[: max(0, end - start)]
        rest = rest[len(piece) :]
        out += bytes(max(0, start - len(out)))
        out[start : start + len(piece)] = piece
    return bytes(out + rest)


def _places(headers: bytes, packed: Packed) -> list[tuple[int, int]]:
    """Where what follows the headers goes: segments, then what is between and behind."""
    wide = headers[4] == 2
    table, size, count = struct.unpack_from(
        packed.order + ("32xQ14xHH" if wide else "28xI10xHH"), headers
    )
    segments: list[tuple[int, int]] = []
    for i in range(min(count, _SEGMENTS_MAX)):
        layout = "I4xQ16xQ" if wide else "II8xI"
        kind, offset, length = struct.unpack_from(packed.order + layout, headers, table + i * size)
        end = min(offset + length, packed.most_bytes)
        start = max(offset, len(headers))
        if kind == _LOAD and start < end:
            segments.append((start, end))
    between = []
    reached = len(headers)
    for start, end in sorted(segments):
        if start > reached:
            between.append((reached, start))
        reached = max(reached, end)
    return [*segments, *between, (reached, packed.most_bytes)]
