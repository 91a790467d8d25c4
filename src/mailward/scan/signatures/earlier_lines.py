"""What an earlier set's prepared files know of its lines, so that most need not be read again.

A line says all of itself: where it is found again, it is looked for by the same pieces. Files made
with the help of earlier ones are the same byte for byte as those made without.
"""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mailward.errors import FormatError
from mailward.scan.signatures.anchors import Anchor
from mailward.scan.signatures.pieces import NUMBER, Scope, decode, file_names
from mailward.scan.signatures.prepared_files import INDEX_FILE, LINES_FILE
from mailward.scan.signatures.sealed import Sealed

Piece = tuple[bytes, bool, bool]
"""What is looked for, whether in any case, and whether to be told of once is enough."""


@dataclass(frozen=True, slots=True)
class Found:
    """What preparing found out about a line: members of macro groups are not looked for."""

    scope: Scope
    anchors: tuple[Anchor, ...]
    group: int | None = None


class EarlierLines:
    """The lines of an earlier set. None at all if its files are damaged or gone."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._found: dict[str, Found] = {}
        self._pieces: dict[Scope, list[Piece]] = {}
        if folder is not None:
            try:
                self._read(folder)
            except (FormatError, struct.error, LookupError, TypeError, ValueError):
                self._found, self._pieces = {}, {}

    def find(self, kept: str) -> Found | None:
        """What is known of a line, given as ``LINES_FILE`` has it."""
        return self._found.get(kept)

    def database(self, scope: Scope, pieces: list[Piece]) -> bytes | None:
        """What Vectorscan made of a scope's pieces, if they were just these."""
        if self._folder is None or self._pieces.get(scope) != pieces:
            return None
        try:
            with closing(Sealed(self._folder / file_names(scope)[0])) as kept:
                return kept.slice(0)
        except FormatError:
            return None

    def _read(self, folder: Path) -> None:
        with closing(Sealed(folder / INDEX_FILE)) as kept:
            index = json.loads(kept.slice(0))
        by_place: dict[int, Found] = {
            place: Found((0, ""), (), int(group))
            for group, places in index["groups"].items()
            for place in places
        }
        for target, container in index["scopes"]:
            scope: Scope = target, container
            several: dict[int, list[Anchor]] = defaultdict(list)
            pieces: dict[tuple[bytes, bool], bool] = {}
            for anchor, places in _anchors(folder / file_names(scope)[1]):
                key = anchor.piece, anchor.caseless
                pieces[key] = pieces.get(key, True) and anchor.is_once_enough
                for place in places:
                    several[place].append(anchor)
            self._pieces[scope] = [(*key, once) for key, once in pieces.items()]
            by_place |= {place: Found(scope, tuple(found)) for place, found in several.items()}
        with closing(Sealed(folder / LINES_FILE)) as kept:
            lines = kept.slice(0).decode("latin-1").split("\n")
        at = 0
        for line in lines[:-1]:
            self._found[line] = by_place[at]
            at += len(line) + 1


def _anchors(path: Path) -> Iterator[tuple[Anchor, tuple[int, ...]]]:
    """Each anchor with the places of its lines, in the order of the pieces."""
    with closing(Sealed(path)) as kept:
        (number,) = kept.unpack(NUMBER, 0)
        raw = kept.slice(NUMBER.size * (number + 2))
    for low, high, back, run, caseless, half, places in decode(raw):
        yield Anchor(caseless, run, back, low, high, half), places
