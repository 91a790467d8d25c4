"""From ``hashes`` shards to prepared tables, in memory that does not grow with their number.

Rows are spread over files by the first bits of their digests (distribution sort), then sorted file
by file and appended to the table. The same shards give the same bytes, whatever their order.
"""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mailward.errors import FormatError
from mailward.scan.engine import NAMED_MAX, Preparation, Refused, Source
from mailward.scan.engines.hash_lines import Bad, Bytes, Entries, Numbers, blocks, read_block
from mailward.scan.engines.hash_table import (
    ALGORITHMS,
    ANY_SIZE,
    FANOUT_BITS_MAX,
    NAMES_FILE,
    NUMBER_BYTES,
    ROWS_MAX,
    Header,
    pack_names_header,
    row_bytes,
    table_file,
)

_SPREAD_BITS = 6
"""64 files an algorithm: 30 million SHA-256 rows make files of 22 MB, each sorted in memory."""

_KNOWN_NAMES_MAX = 1 << 18
"""Names remembered so that they are stored once: some 30 MB. Later ones may be stored again, and
their duplicates then count twice; they are reported once."""

_SIZES_MAX = 1 << 20
"""Different sizes kept; a table with more has most sizes, and skipping would save nothing."""

_BUFFER_BYTES = 1024 * 1024
_SHOWN_MAX = 100


def build(sources: Sequence[Source], into: Path) -> Preparation:
    """Write the tables and the names into ``into``. Raises FormatError or OSError."""
    refusals = _Refusals()
    spread = _Spread(into)
    with (into / NAMES_FILE).open("wb") as file:
        names = _NamesWriter(file)
        for source in sorted(sources, key=lambda s: s.name):
            _read(source, spread, names, refusals)
        names.finish()
    rows = sum(_write_table(into, width, spread, names) for width in ALGORITHMS)
    return Preparation(rows, tuple(refusals.named), refusals.unnamed)


def _read(source: Source, spread: "_Spread", names: "_NamesWriter", refusals: "_Refusals") -> None:
    with source.path.open("rb") as file:
        for first_line, block in blocks(file):
            found = read_block(block, first_line)
            for width, entries in found.entries.items():
                spread.add(width, _rows(width, entries, names))
            refusals.add(source.name, found.bad)


def _rows(width: int, entries: Entries, names: "_NamesWriter") -> Bytes:
    rows = np.empty((len(entries.names), row_bytes(width)), np.uint8)
    rows[:, :width] = entries.digests
    rows[:, width : width + NUMBER_BYTES] = _big_endian(entries.sizes)
    rows[:, width + NUMBER_BYTES :] = _big_endian(names.places(entries.names))
    return rows


def _big_endian(numbers: Numbers) -> Bytes:
    return numbers.astype(">u8").view(np.uint8).reshape(-1, NUMBER_BYTES)


class _Refusals:
    """The first bad lines by name, the others by number (S3)."""

    def __init__(self) -> None:
        self.named: list[Refused] = []
        self.unnamed = 0

    def add(self, shard: str, bad: list[Bad]) -> None:
        room = NAMED_MAX - len(self.named)
        self.named += [Refused(_shown(b.text), shard, b.line, b.reason) for b in bad[:room]]
        self.unnamed += len(bad[room:])


def _shown(text: bytes) -> str:
    readable = text[:_SHOWN_MAX].decode(errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in readable)


class _NamesWriter:
    """Writes names, the same one once as far as memory allows."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._known: dict[bytes, int] = {}
        self._buffer = bytearray()
        self.body_bytes = 0
        self.crc = 0
        file.write(pack_names_header(0, 0))

    def places(self, names: Iterable[bytes]) -> Numbers:
        """Where each name is."""
        known = self._known
        return np.array(
            [known[name] if name in known else self._add(name) for name in names], np.uint64
        )

    def _add(self, name: bytes) -> int:
        place = self.body_bytes
        self._buffer += len(name).to_bytes(2, "little") + name
        self.body_bytes += 2 + len(name)
        if len(self._known) < _KNOWN_NAMES_MAX:
            self._known[name] = place
        if len(self._buffer) >= _BUFFER_BYTES:
            self._flush()
        return place

    def _flush(self) -> None:
        self.crc = zlib.crc32(self._buffer, self.crc)
        self._file.write(self._buffer)
        self._buffer.clear()

    def finish(self) -> None:
        """Write the header, which was missing its numbers."""
        self._flush()
        self._file.seek(0)
        self._file.write(pack_names_header(self.body_bytes, self.crc))


class _Spread:
    """Rows on their way, in files by the first bits of their digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows = dict.fromkeys(ALGORITHMS, 0)
        """By width, duplicates included."""

    def _path(self, width: int, piece: int) -> Path:
        return self._folder / f"{ALGORITHMS[width]}-{piece:02x}.rows"

    def add(self, width: int, rows: Bytes) -> None:
        """Append rows to the files they belong to, opened one at a time."""
        self.rows[width] += len(rows)
        pieces = rows[:, 0] >> (8 - _SPREAD_BITS)
        order = np.argsort(pieces, kind="stable")
        rows, pieces = rows[order], pieces[order]
        bounds = np.searchsorted(pieces, np.arange((1 << _SPREAD_BITS) + 1))
        for piece in np.unique(pieces).tolist():
            with self._path(width, piece).open("ab") as file:
                file.write(rows[bounds[piece] : bounds[piece + 1]].tobytes())

    def take(self, width: int) -> Iterable[Bytes]:
        """All rows in order, none twice, a file at a time; the files are removed."""
        for piece in range(1 << _SPREAD_BITS):
            path = self._path(width, piece)
            if path.exists():
                raw = np.fromfile(path, np.uint8)
                path.unlink()
                yield _sorted_once(raw, row_bytes(width))


def _once(sorted_numbers: Numbers) -> Numbers:
    once: Numbers = sorted_numbers[np.append(True, sorted_numbers[1:] != sorted_numbers[:-1])]
    return once


def _sorted_once(raw: Bytes, width: int) -> Bytes:
    # A bytes string of fixed length is compared byte by byte: the order of the rows.
    rows = np.sort(raw.view(f"S{width}"), kind="stable").view(np.uint8).reshape(-1, width)
    different = np.ones(len(rows), np.bool_)
    different[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[different]


class _Sizes:
    """The different sizes of a table, given up when there are too many or one is ``*``."""

    def __init__(self) -> None:
        self.any = False
        self.different: Numbers = np.empty(0, np.uint64)

    def add(self, sizes: Numbers) -> None:
        if not self.any:
            # Two sorted runs are quickly sorted; numpy's own union takes 20 times longer.
            both = np.concatenate([self.different, _once(np.sort(sizes))])
            self.different = _once(np.sort(both, kind="stable"))
            self.any = len(self.different) > _SIZES_MAX or int(self.different[-1]) == ANY_SIZE
        if self.any:
            self.different = np.empty(0, np.uint64)


def _write_table(into: Path, width: int, spread: _Spread, names: _NamesWriter) -> int:
    """Write an algorithm's table; how many rows it has. Raises FormatError if too many."""
    coming = spread.rows[width]
    if coming > ROWS_MAX:
        raise FormatError(f"{coming} {ALGORITHMS[width]} hashes, more than the {ROWS_MAX} possible")
    bits = min(FANOUT_BITS_MAX, coming.bit_length())
    sizes, buckets, rows = _Sizes(), np.zeros(1 << bits, np.int64), 0

    def header() -> bytes:
        described = Header(
            width, bits, sizes.any, rows, len(sizes.different), names.body_bytes, names.crc
        )
        return described.pack(np.append(0, np.cumsum(buckets)).astype("<u4").tobytes())

    with (into / table_file(width)).open("wb") as file:
        file.write(header())
        for piece in spread.take(width):
            file.write(piece.tobytes())
            rows += len(piece)
            buckets += np.bincount(_first_bits(piece, bits), minlength=1 << bits)
            sizes.add(_sizes(piece, width))
        file.write(_big_endian(sizes.different).tobytes())
        file.seek(0)
        file.write(header())
    return rows


def _first_bits(rows: Bytes, bits: int) -> npt.NDArray[np.int64]:
    first16 = rows[:, 0].astype(np.int64) << 8 | rows[:, 1]
    return first16 >> (FANOUT_BITS_MAX - bits)


def _sizes(rows: Bytes, width: int) -> Numbers:
    raw = np.ascontiguousarray(rows[:, width : width + NUMBER_BYTES])
    return raw.view(">u8").ravel().astype(np.uint64)
