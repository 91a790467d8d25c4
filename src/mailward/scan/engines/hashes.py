"""The engine ``hashes``: parts whose MD5, SHA-1 or SHA-256 is known, tens of millions of them.

Tables are mapped (``hash_table``), so loading takes no time and workers share one copy in the page
cache. Preparing is in ``hash_build``, the text format in ``hash_lines``.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Hit, Preparation, Source
from mailward.scan.engines.hash_table import (
    ALGORITHMS,
    FORMAT,
    NAMES_FILE,
    Names,
    Table,
    table_file,
)
from mailward.scan.part import Part


class HashesEngine:
    """Reads ``hashes`` shards."""

    name = "hashes"
    kinds = frozenset({ShardKind.HASHES})

    def fingerprint(self) -> str:
        """The file format alone: the files are the same on every processor."""
        return f"format{FORMAT}"

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        """Merge all shards into one sorted table for each algorithm."""
        # Here, because numpy would cost every worker 20 MB that only preparing needs.
        from mailward.scan.engines.hash_build import build

        return build(sources, into)

    def load(self, prepared: Path) -> "HashesDetector":
        """Map the tables: the same few microseconds for ten hashes and ten million."""
        names = Names(prepared / NAMES_FILE)
        tables: list[Table] = []
        try:
            for width in ALGORITHMS:
                tables.append(Table(prepared / table_file(width), width, names))  # noqa: PERF401 (on failure those made are closed)
        except BaseException:
            HashesDetector(names, tables).close()
            raise
        return HashesDetector(names, tables)


class HashesDetector:
    """Looks parts up. A part is hashed only with algorithms that have a hash for its size."""

    def __init__(self, names: Names, tables: Sequence[Table]) -> None:
        self._names = names
        self._tables = tuple(tables)

    def scan(self, part: Part, timeout_s: float) -> Sequence[Hit]:
        """All names of the part's digests. Hashing takes about 2 ms a MB: no clock is watched."""
        size = len(part.data)
        found: dict[str, tuple[str, ...]] = {}
        for table in self._tables:
            if not table.may_hold(size):
                continue
            digest = _digest(table.algorithm, part.data)
            for name in dict.fromkeys(table.find(digest, size)):
                found[name] = (*found.get(name, ()), digest.hex())
        return [Hit(name, signatures=digests) for name, digests in found.items()]

    def close(self) -> None:
        """Let go of the files. May be repeated."""
        for table in self._tables:
            table.close()
        self._names.close()


def _digest(algorithm: str, data: bytes) -> bytes:
    # Not for security in the sense of FIPS 140: it names known content, it vouches for none.
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()
