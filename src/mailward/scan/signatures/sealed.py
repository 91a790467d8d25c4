"""Prepared files: a header with length and checksum, then what is mapped.

All of a file is checked when it is opened (about 1 ms for 2 MB): what Vectorscan and the readers of
records get is what was written.
"""

import mmap
import os
import struct
import zlib
from pathlib import Path

from mailward.errors import FormatError

FORMAT = 3
"""Raised with any change to prepared files, as part of the engine's fingerprint."""

_MAGIC = b"MWSIGS%02d" % FORMAT
_HEADER = struct.Struct("<8sQI")
HEADER_BYTES = _HEADER.size


def write(path: Path, payload: bytes) -> None:
    """Write ``payload`` so that ``read`` takes it."""
    with path.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, len(payload), zlib.crc32(payload)))
        file.write(payload)


class Sealed:
    """A mapped file. Places in it count from after the header."""

    def __init__(self, path: Path) -> None:
        self._mapped = _map(path)
        try:
            self._check(path)
        except BaseException:
            self.close()
            raise

    def _check(self, path: Path) -> None:
        if len(self._mapped) < HEADER_BYTES:
            raise damaged(path, "it is too short")
        magic, length, crc = _HEADER.unpack_from(self._mapped)
        if magic != _MAGIC or length != len(self._mapped) - HEADER_BYTES:
            raise damaged(path, "its header is wrong")
        with memoryview(self._mapped) as whole, whole[HEADER_BYTES:] as payload:
            if zlib.crc32(payload) != crc:
                raise damaged(path, "its checksum is wrong")

    def slice(self, start: int, end: int | None = None) -> bytes:
        """A copy of a piece."""
        stop = len(self._mapped) if end is None else end + HEADER_BYTES
        return self._mapped[start + HEADER_BYTES : stop]

    def line(self, start: int) -> bytes:
        """A copy from ``start`` to before the end of its line."""
        at = start + HEADER_BYTES
        return self._mapped[at : self._mapped.find(b"\n", at)]

    def unpack(self, structure: struct.Struct, place: int) -> tuple[int, ...]:
        """Numbers at a place."""
        return structure.unpack_from(self._mapped, place + HEADER_BYTES)

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        self._mapped.close()


def _map(path: Path) -> mmap.mmap:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
    except (OSError, ValueError) as e:  # ValueError: the file is empty
        raise damaged(path, str(e)) from e


def damaged(path: Path, why: str) -> FormatError:
    """The error for a prepared file that cannot be used."""
    return FormatError(
        f"prepared signatures {path} are missing or damaged ({why}): prepare the set again"
    )
