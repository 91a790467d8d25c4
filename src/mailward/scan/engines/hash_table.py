"""The prepared form of hash signatures: sorted tables that are mapped, never read as a whole.

A table holds the digests of one algorithm. Numbers in the header are little-endian; everything that
is searched is big-endian, so that the order of numbers is the order of bytes::

    header   magic "MWHASHT1", see ``_HEADER``; its CRC-32 covers header and fan-out
    fan-out  2**fanout_bits + 1 u32: where the rows begin whose digests have these first bits
    rows     digest, size u64 (2**64-1: any), name u64 (place in the names); sorted, none twice
    sizes    u64: the different sizes in rows, sorted; empty if ANY_SIZE is set in the header

    names    magic "MWHASHN1", see ``_NAMES_HEADER``; then for each name u16 length, UTF-8

Opening a table checks its header, its fan-out and the length of the files, whatever the number of
rows. A row that rots on the disk afterwards can hide that digest, but can do nothing else.
"""

import mmap
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mailward.errors import FormatError

FORMAT = 1
"""Of both files; raised with any change to them, as part of the engine's fingerprint."""

ALGORITHMS = {16: "md5", 20: "sha1", 32: "sha256"}
"""By the length of a digest in bytes."""

ANY_SIZE = (1 << 64) - 1
"""Stands for ``*`` in a row."""

NUMBER_BYTES = 8
FANOUT_BITS_MAX = 16
ROWS_MAX = (1 << 32) - 1

NAMES_FILE = "names"

_MAGIC = b"MWHASHT1"
_HEADER = struct.Struct(
    "<8sHBBIQQQII"
)  # magic … names_crc, and the CRC of all before and the fan-out
_NAMES_MAGIC = b"MWHASHN1"
_NAMES_HEADER = struct.Struct("<8sQII")  # magic, body bytes, CRC of the body, CRC of all before

_SIZES_MAX = 1 << 16
"""Half a megabyte. Looked up for each part, ten times faster than in the mapped file."""
_HITS_MAX = 100
"""Names reported for one digest; a digest with more is hostile or a mistake."""


def table_file(digest_bytes: int) -> str:
    """The name of the file with an algorithm's table."""
    return f"{ALGORITHMS[digest_bytes]}.table"


def row_bytes(digest_bytes: int) -> int:
    """The length of a row."""
    return digest_bytes + 2 * NUMBER_BYTES


@dataclass(frozen=True, slots=True)
class Header:
    """What a table says of itself."""

    digest_bytes: int
    fanout_bits: int
    any_size: bool
    """Whether parts of any size must be looked up."""
    rows: int
    sizes: int
    names_bytes: int
    names_crc: int
    """Of the names that belong to this table."""

    @property
    def fanout_bytes(self) -> int:
        """Length of the fan-out."""
        return 4 * ((1 << self.fanout_bits) + 1)

    @property
    def rows_at(self) -> int:
        """Where the rows begin."""
        return _HEADER.size + self.fanout_bytes

    @property
    def sizes_at(self) -> int:
        """Where the sizes begin."""
        return self.rows_at + self.rows * row_bytes(self.digest_bytes)

    @property
    def file_bytes(self) -> int:
        """Length of the file."""
        return self.sizes_at + self.sizes * NUMBER_BYTES

    def pack(self, fanout: bytes) -> bytes:
        """Header and fan-out, as they open the file."""
        return self._packed(zlib.crc32(fanout, zlib.crc32(self._packed(0)))) + fanout

    def _packed(self, crc: int) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            self.digest_bytes,
            self.fanout_bits,
            self.any_size,
            0,
            self.rows,
            self.sizes,
            self.names_bytes,
            self.names_crc,
            crc,
        )

    @classmethod
    def read(cls, mapped: mmap.mmap, path: Path) -> "Header":
        """Read and check the header and fan-out of a mapped table. Raises FormatError."""
        if len(mapped) < _HEADER.size:
            raise _damaged(path, "it is too short")
        magic, digest_bytes, bits, any_size, zero, rows, sizes, names_bytes, names_crc, _ = (
            _HEADER.unpack_from(mapped)
        )
        if magic != _MAGIC or zero or digest_bytes not in ALGORITHMS or bits > FANOUT_BITS_MAX:
            raise _damaged(path, "its header is wrong")
        header = cls(digest_bytes, bits, bool(any_size), rows, sizes, names_bytes, names_crc)
        if len(mapped) != header.file_bytes:
            raise _damaged(path, f"{len(mapped)} bytes instead of {header.file_bytes}")
        if header.pack(mapped[_HEADER.size : header.rows_at]) != mapped[: header.rows_at]:
            raise _damaged(path, "the checksum of its header is wrong")
        return header


def pack_names_header(body_bytes: int, crc: int) -> bytes:
    """The header of a names file."""
    start = _NAMES_HEADER.pack(_NAMES_MAGIC, body_bytes, crc, 0)[:-4]
    return start + struct.pack("<I", zlib.crc32(start))


class Names:
    """The mapped names of a folder's tables."""

    def __init__(self, path: Path) -> None:
        self._mapped = _map(path)
        try:
            if len(self._mapped) < _NAMES_HEADER.size:
                raise _damaged(path, "it is too short")
            _, self.body_bytes, self.crc, _ = _NAMES_HEADER.unpack_from(self._mapped)
            header = self._mapped[: _NAMES_HEADER.size]
            if header != pack_names_header(self.body_bytes, self.crc):
                raise _damaged(path, "its header is wrong")
            if len(self._mapped) != _NAMES_HEADER.size + self.body_bytes:
                raise _damaged(path, "its length is wrong")
        except BaseException:
            self.close()
            raise

    def read(self, place: int, otherwise: str) -> str:
        """The name at ``place``, or ``otherwise`` if what is there cannot be a name."""
        start = _NAMES_HEADER.size + place
        length = int.from_bytes(self._mapped[start : start + 2], "little")
        name = self._mapped[start + 2 : start + 2 + length].decode(errors="replace")
        return name if name.isprintable() and name else otherwise

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        self._mapped.close()


class Table:
    """One algorithm's mapped table."""

    def __init__(self, path: Path, digest_bytes: int, names: Names) -> None:
        self._mapped = _map(path)
        try:
            self._header = Header.read(self._mapped, path)
            belongs = (digest_bytes, names.body_bytes, names.crc)
            header = self._header
            if (header.digest_bytes, header.names_bytes, header.names_crc) != belongs:
                raise _damaged(path, "it belongs to other files")
        except BaseException:
            self.close()
            raise
        self._names = names
        self._row_bytes = row_bytes(digest_bytes)
        self._sizes = self._few_sizes()
        self.algorithm = ALGORITHMS[digest_bytes]

    @property
    def has_rows(self) -> bool:
        """Whether there is anything in it."""
        return self._header.rows > 0

    def may_hold(self, size_bytes: int) -> bool:
        """Whether content of this size can be in the table, so that hashing it is worthwhile."""
        if self._header.any_size or not self._header.rows:
            return self._header.rows > 0
        if self._sizes is not None:
            at = bisect_left(self._sizes, size_bytes)
            return at < len(self._sizes) and self._sizes[at] == size_bytes
        key = size_bytes.to_bytes(NUMBER_BYTES, "big")
        at = self._bisect(self._header.sizes_at, NUMBER_BYTES, 0, self._header.sizes, key)
        return self._read(self._header.sizes_at, NUMBER_BYTES, at, NUMBER_BYTES) == key

    def _few_sizes(self) -> "array[int] | None":
        """All sizes, as numbers; None if they are too many to have in each process."""
        header = self._header
        if header.sizes > _SIZES_MAX:
            return None
        sizes = array("Q", self._mapped[header.sizes_at : header.file_bytes])
        if sys.byteorder == "little":
            sizes.byteswap()
        return sizes

    def find(self, digest: bytes, size_bytes: int) -> list[str]:
        """The names for this digest that are for any size or for this one."""
        return list(islice(self._matching(digest, size_bytes), _HITS_MAX))

    def _matching(self, digest: bytes, size_bytes: int) -> Iterator[str]:
        header, width = self._header, len(digest)
        bucket = int.from_bytes(digest[:2], "big") >> (FANOUT_BITS_MAX - header.fanout_bits)
        low, high = struct.unpack_from("<2I", self._mapped, _HEADER.size + 4 * bucket)
        sizes = {s.to_bytes(NUMBER_BYTES, "big") for s in (size_bytes, ANY_SIZE)}
        first = self._bisect(header.rows_at, self._row_bytes, low, high, digest)
        for at in range(first, high):
            row = self._read(header.rows_at, self._row_bytes, at, self._row_bytes)
            if row[:width] != digest:
                return
            if row[width : width + NUMBER_BYTES] in sizes:
                place = int.from_bytes(row[width + NUMBER_BYTES :], "big")
                yield self._names.read(place, f"{self.algorithm}.{digest.hex()}")

    def _bisect(self, base: int, stride: int, low: int, high: int, key: bytes) -> int:
        length = len(key)
        return low + bisect_left(
            range(low, high), key, key=lambda at: self._read(base, stride, at, length)
        )

    def _read(self, base: int, stride: int, at: int, length: int) -> bytes:
        start = base + at * stride
        return self._mapped[start : start + length]

    def close(self) -> None:
        """Let go of the file. May be repeated."""
        self._mapped.close()


_READ_AHEAD_MAX_BYTES = 16 << 20
"""Smaller tables are soon touched everywhere: mapping several pages at once is cheaper than a page
fault for nearly every lookup, which cost 0.1 ms a message."""


def _map(path: Path) -> mmap.mmap:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mapped = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
    except (OSError, ValueError) as e:  # ValueError: the file is empty
        raise _damaged(path, str(e)) from e
    if len(mapped) > _READ_AHEAD_MAX_BYTES:
        with suppress(OSError):
            mapped.madvise(mmap.MADV_RANDOM)  # a lookup touches few pages: reading ahead is waste
    return mapped


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(
        f"prepared hashes {path} are missing or damaged ({why}): prepare the set again"
    )
