"""Pieces to look for: one Vectorscan database for a scope, and for each piece whose it is.

An entry names a signature by where its line is, and has what is compared first where its piece was
found: the literal around it, and the absolute place if that is given. So nearly every hit is judged
without reading the signature. One that has pieces of two halves is looked at where both are. Beside
the database there is::

    number of pieces n, u32; n + 1 times where entries begin, u32; entries

Signatures that are compared alike share an entry: a family of hundreds often has one piece.

Two files, as Vectorscan's is private to each process and this one is shared. ``piece_build`` writes
them.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hyperscan

from mailward.errors import FormatError
from mailward.scan.signatures.sealed import Sealed

NUMBER = struct.Struct("<I")
_BOUNDS = struct.Struct("<II")
ENTRY = struct.Struct("<IIHHBH")
"""Low, high, back, length of the run, flags, number of lines; then the run and the lines."""
CASELESS = 1
HALF_SHIFT = 1
"""Flags: whether it is compared in lower case; above that, ``Anchor.half``."""

LINES_MAX = (1 << 16) - 1
"""Of one entry; more begin another."""

_KNOWN_MAX = 50_000
"""Pieces whose entries are kept decoded, in each process: some 20 MB if ever reached."""

_HITS_PER_CHECK = 1 << 12
"""Between two looks at the clock: some milliseconds."""

_NOTHING: list[int] = []

Entry = tuple[int, int, int, bytes, bool, int, tuple[int, ...]]


Scope = tuple[int, str]
"""What parts a database is for: a target, and the type of the container that they lie in; empty:
whatever they lie in."""

OUTERMOST = "CL_TYPE_ANY"
"""The container that stands for none at all."""


def file_names(scope: Scope) -> tuple[str, str]:
    """Of the database and of its entries."""
    target, container = scope
    name = f"target-{target}" + (f"-{container.removeprefix('CL_TYPE_').lower()}" * bool(container))
    return f"{name}.vectorscan", f"{name}.pieces"


def decode(raw: bytes) -> Iterator[Entry]:
    """Entries, one after the other."""
    at = 0
    while at < len(raw):
        low, high, back, length, flags, number = ENTRY.unpack_from(raw, at)
        at += ENTRY.size
        lines = struct.unpack_from(f"<{number}I", raw, at + length)
        run = raw[at : at + length]
        yield low, high, back, run, bool(flags & CASELESS), flags >> HALF_SHIFT, lines
        at += length + 4 * number


class Pieces:
    """A scope's pieces, loaded."""

    def __init__(self, folder: Path, scope: Scope) -> None:
        compiled, described = file_names(scope)
        database = Sealed(folder / compiled)
        try:
            self._database = hyperscan.loadb(database.slice(0), mode=hyperscan.HS_MODE_BLOCK)
            self._scan = self._database.scan
            self._scratch = hyperscan.Scratch(self._database)
        except hyperscan.error as e:
            raise FormatError(f"{folder / compiled}: Vectorscan does not take it: {e}") from e
        finally:
            database.close()
        self._described = Sealed(folder / described)
        (self._number,) = self._described.unpack(NUMBER, 0)
        self._known: dict[int, tuple[Entry, ...]] = {}

    def candidates(self, data: bytes, late: Callable[[], bool]) -> list[int]:
        """The lines of signatures that may match ``data``, each once.

        ``late`` is asked now and then; if it says so, the search ends and what it had found is
        returned.
        """
        found: tuple[set[int], set[int], set[int]] | None = None
        known, hits = self._known, 0

        def on_hit(piece: int, _from: int, end: int, _flags: int, _context: object) -> bool | None:
            nonlocal found, hits
            hits += 1
            if not hits % _HITS_PER_CHECK and late():
                return True
            for low, high, back, run, caseless, half, lines in known.get(piece) or self._entries(
                piece
            ):
                start = end - back
                if not low <= start <= high:
                    continue
                if (
                    data[start : start + len(run)].lower() == run
                    if caseless
                    else data.startswith(run, start)
                ):
                    found = found or (set(), set(), set())  # most parts have no such place
                    found[half].update(lines)
            return None

        with suppress(hyperscan.ScanTerminated):
            self._scan(data, match_event_handler=on_hit, scratch=self._scratch)
        if found is None:
            return _NOTHING
        alone, first, second = found
        if first and second:
            alone |= first & second
        return sorted(alone)

    def _entries(self, piece: int) -> tuple[Entry, ...]:
        start, end = self._described.unpack(_BOUNDS, 4 + 4 * piece)
        base = 4 + 4 * (self._number + 1)
        found = tuple(decode(self._described.slice(base + start, base + end)))
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[piece] = found
        return found

    def close(self) -> None:
        """Let go of the files. May be repeated."""
        self._described.close()
