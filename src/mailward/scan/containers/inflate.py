"""Decompression that stops in time: every compressed byte of a container goes through here."""

import io
import lzma
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import brotli as google_brotli
import inflate64
import lz4.frame
from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason
from mailward.settings.base import MIB

_IN_BYTES = 16 * 1024
_OUT_BYTES = MIB
"""Unpacked at a time; time and ratio are looked at after each."""

_IN_BYTES_DEFLATE64 = 64
"""Its library has no bound on what comes out: a byte can be some 25 KB."""

_CAREFUL_STEPS = (1024, 1)
_TRUNCATED = Shut(Reason.MALFORMED, "truncated: the compressed data ends too early")

_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""How a frame begins that has nothing to unpack (RFC 8878 section 3.1.2)."""
_SKIPPED_HEADER_BYTES = 8

_LZMA_MEMORY_BYTES = 256 * MIB
"""For its dictionary; `xz -9` asks for 65 MiB."""

ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError)
"""What the decompressors raise on damage (bz2: OSError)."""


class Decompressor(Protocol):
    """The interface that bz2, lzma and zstd share; zlib gets it from ``_Deflate``."""

    @property
    def eof(self) -> bool: ...  # noqa: D102
    @property
    def needs_input(self) -> bool: ...  # noqa: D102
    @property
    def unused_data(self) -> bytes: ...  # noqa: D102
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...  # noqa: D102


class _Deflate:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


class _Deflate64:
    def __init__(self) -> None:
        self._inner = inflate64.Inflater()
        self._packed = b""
        self._ready = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof) and not self._ready

    @property
    def needs_input(self) -> bool:
        return not self._packed and not self._ready

    @property
    def unused_data(self) -> bytes:
        return self._packed if self._inner.eof else b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        self._packed += data
        while self._packed and not self._inner.eof and len(self._ready) < max_length:
            self._ready += self._inner.inflate(self._packed[:_IN_BYTES_DEFLATE64])
            self._packed = self._packed[_IN_BYTES_DEFLATE64:]
        more, self._ready = self._ready[:max_length], self._ready[max_length:]
        return more


class _Brotli:
    def __init__(self) -> None:
        self._inner = google_brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.is_finished())

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.can_accept_more_data())

    @property
    def unused_data(self) -> bytes:
        return b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            return bytes(self._inner.process(data, output_buffer_limit=max(max_length, 1)))
        except google_brotli.error as e:
            raise ValueError(e) from None


class _Lz4:
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data or b"")

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except RuntimeError as e:
            raise ValueError(e) from None


def brotli() -> Decompressor:
    """One stream (RFC 7932), nothing behind it; may give a little more than it is asked for."""
    return _Brotli()


def lz4_frame() -> Decompressor:
    """One frame (``lz4_Frame_format.md``)."""
    return _Lz4()


def deflate64() -> Decompressor:
    """Method 9 of zip, raw."""
    return _Deflate64()


def deflate() -> Decompressor:
    """Raw, as in zip and gzip, without the checksum of either."""
    return _Deflate()


def xz() -> Decompressor:
    """xz or the older .lzma."""
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY_BYTES)


def lzma_raw(properties: bytes, size: int | None) -> Decompressor:
    """LZMA as in zip: five bytes of properties, then the stream.

    ``size``: unpacked; None if the stream has an end marker.
    """
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_BYTES)
    header = properties + (b"\xff" * 8 if size is None else size.to_bytes(8, "little"))
    decompressor.decompress(header)
    return decompressor


@dataclass(frozen=True, slots=True)
class Inflated:
    """What came out. ``shut`` says why it is not all; None if it is."""

    data: bytes
    used: int
    """How many packed bytes it took; all of them if the end was not reached."""
    shut: Shut | None = None
    damaged: bool = False


def inflate(make: Callable[[], Decompressor], packed: memoryview, budget: Budget) -> Inflated:
    """Unpack one stream from the start of ``packed``, within ``budget``. Raises only Spent.

    What was unpacked before a limit or damage is kept: it is scanned all the same.
    """
    room = budget.room()
    done = _attempt(make, packed, budget, room)
    for step in _CAREFUL_STEPS:
        if done.damaged:
            # A decompressor that stumbles keeps to itself what it unpacked since it was last asked;
            # a wrong checksum at the end would hide all of a small file. Again, slowly from there.
            done = _attempt(make, packed, budget, room, len(done.data), step)
    return done


def inflate_frames(
    make: Callable[[], Decompressor],
    packed: memoryview,
    budget: Budget,
    *,
    size: int | None = None,
    each_is_told: bool = False,
) -> Inflated:
    """The same of frames that follow each other and are one stream, with ones to skip among them.

    ``size``: where it ends, if that is known. ``each_is_told``: that of a frame is in the one to
    skip in front of it, as 7-Zip ZS has it (``brotli-mt``).
    """
    room = budget.room()
    out, at, told = bytearray(), 0, len(packed)
    shut: Shut | None = None
    while shut is None and at < len(packed) and (size is None or len(out) < size):
        budget.check_time()
        if _SKIPPED.match(packed, at):
            start = at + _SKIPPED_HEADER_BYTES
            at = start + int.from_bytes(packed[at + 4 : start], "little")
            told = int.from_bytes(packed[start : start + 4], "little")
            shut = _TRUNCATED if at > len(packed) else None
            continue
        frame = packed[at : at + told] if each_is_told else packed[at:]
        done = inflate(make, frame, budget)
        out += done.data
        shut = done.shut
        if each_is_told and len(frame) < told:
            shut = shut or _TRUNCATED
        at += max(1, len(frame) if each_is_told else done.used)
        if len(out) > room:
            shut = budget.over_room(room)
        elif budget.is_bomb(len(out), at):
            shut = budget.bomb()
        if done.damaged:
            return Inflated(bytes(out[:room]), len(packed), shut, damaged=True)
    return Inflated(bytes(out[:room]), min(at, len(packed)), shut)


def _attempt(
    make: Callable[[], Decompressor],
    packed: memoryview,
    budget: Budget,
    room: int,
    careful_from: int | None = None,
    step: int = _OUT_BYTES,
) -> Inflated:
    out = io.BytesIO()
    fed = 0
    try:
        decompressor = make()
        while not decompressor.eof:
            budget.check_time()
            chunk = b""
            if decompressor.needs_input:
                chunk = bytes(packed[fed : fed + _IN_BYTES])
                fed += len(chunk)
            wanted = _next_step(out.tell(), careful_from, step)
            more = decompressor.decompress(chunk, min(wanted, room + 1 - out.tell()))
            out.write(more)
            if out.tell() > room:
                return Inflated(out.getvalue()[:room], len(packed), budget.over_room(room))
            if budget.is_bomb(out.tell(), fed):
                return Inflated(out.getvalue(), len(packed), budget.bomb())
            if not more and not chunk and not decompressor.eof:
                return Inflated(out.getvalue(), len(packed), _TRUNCATED)
        return Inflated(out.getvalue(), fed - len(decompressor.unused_data))
    except ERRORS as e:
        why = f"the compressed data is damaged: {e or type(e).__name__}"
        return Inflated(out.getvalue(), len(packed), Shut(Reason.MALFORMED, why), damaged=True)


def _next_step(done: int, careful_from: int | None, step: int) -> int:
    if careful_from is None:
        return _OUT_BYTES
    return min(_OUT_BYTES, careful_from - done) if done < careful_from else step
