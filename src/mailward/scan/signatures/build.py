"""From shards to prepared files: lines, pieces, tables of digests.

What they are called is in ``prepared_files``, their formats where they are read.
"""

import gc
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Preparation, Source
from mailward.scan.engines.hash_build import build as build_tables
from mailward.scan.signatures import digests, piece_build, reading, sealed, surroundings
from mailward.scan.signatures.anchors import Anchor, anchors
from mailward.scan.signatures.earlier_lines import EarlierLines, Found
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.evaluation import compile_regex
from mailward.scan.signatures.pieces import Scope
from mailward.scan.signatures.prepared_files import (
    INDEX_FILE,
    LETTERS,
    LINES_FILE,
    SURROUNDINGS_FILE,
    UNWANTED_MARK,
)
from mailward.scan.signatures.reading import Ignored, Line, Tally
from mailward.scan.signatures.signature import Regex, Signature

_TOGETHER = 4096
"""Signatures whose pieces are chosen at once."""

_DIGESTS_FILE = "digests"
"""On the way to the tables."""


def build(sources: Sequence[Source], into: Path, earlier: Path | None = None) -> Preparation:
    """Write prepared files into ``into``, with what ``earlier`` can spare. Raises FormatError or
    OSError."""
    tally = Tally()
    ignored = _ignored(sources, tally)
    used = [s for s in sources if reading.suffix_of(s) not in reading.IGNORED]
    builder = _Builder(into, tally, ignored, EarlierLines(earlier))
    with _no_collection():
        builder.read(reading.lines(used, tally))
        builder.finish()
    return Preparation(
        tally.active.total(),
        tuple(tally.refused),
        tally.unnamed,
        kinds=dict(sorted(tally.active.items())),
        unsupported=dict(sorted(tally.unsupported.items())),
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python looks for cycles again and again while values are made by the hundred thousand, which
    takes a third of the time; here are none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _ignored(sources: Sequence[Source], tally: Tally) -> Ignored:
    ignored = Ignored()
    lists = [s for s in sources if reading.suffix_of(s) in reading.IGNORED]
    for line in reading.lines(lists, tally):
        try:
            ignored.add(line)
        except MalformedError as e:
            tally.refuse(line, str(e))
        else:
            tally.active[line.suffix[1:]] += 1
    return ignored


class _Builder:
    def __init__(self, into: Path, tally: Tally, ignored: Ignored, earlier: EarlierLines) -> None:
        self._into = into
        self._tally = tally
        self._ignored = ignored
        self._earlier = earlier
        self._lines = bytearray()
        self._surroundings = bytearray()
        self._seen: set[str] = set()
        self._anchors: dict[Scope, list[tuple[int, Anchor]]] = defaultdict(list)
        self._groups: dict[int, list[int]] = defaultdict(list)

    def read(self, lines: Iterator[Line]) -> None:
        with (self._into / _DIGESTS_FILE).open("w", encoding="latin-1") as file:
            while batch := list(islice(lines, _TOGETHER)):
                bodies: list[tuple[Line, Signature | Found]] = []
                for line in batch:
                    if line.text in self._seen:
                        continue  # in two shards: the same signature
                    self._seen.add(line.text)
                    of = digests.KINDS.get(line.suffix)
                    if of is not None:
                        self._add_digest(line, of, file.write)
                    elif line.suffix in surroundings.SUFFIXES:
                        self._add_surrounding(line)
                    elif (known := self._known(line)) is not None:
                        bodies.append((line, known))
                    elif (signature := reading.body(line, self._tally)) is not None:
                        bodies.append((line, signature))
                self._add(bodies)

    def _add_digest(self, line: Line, of: digests.Of, write) -> None:  # type: ignore[no-untyped-def]
        try:
            digest, size, name = digests.read(line.text, of)
        except MalformedError as e:
            self._tally.refuse(line, str(e))
        except UnsupportedError as e:
            self._tally.unsupported[str(e)] += 1
        else:
            if self._ignored.has(name, line):
                self._tally.unsupported["ignored by the set itself"] += 1
                return
            write(f"{digest}:{size}:{_marked(name, line.suffix)}\n")
            self._tally.active[line.suffix[1:]] += 1

    def _add_surrounding(self, line: Line) -> None:
        try:
            name = surroundings.check(line.suffix, line.text)
        except MalformedError as e:
            self._tally.refuse(line, str(e))
        except UnsupportedError as e:
            self._tally.unsupported[str(e)] += 1
        else:
            if self._ignored.has(name, line):
                self._tally.unsupported["ignored by the set itself"] += 1
                return
            self._surroundings += surroundings.written(line.suffix, line.text)
            self._tally.active[line.suffix[1:]] += 1

    def _known(self, line: Line) -> Found | None:
        found = self._earlier.find(LETTERS[line.suffix] + line.text)
        if found is None or self._ignored.has(reading.name_of(line), line):
            return None
        return found

    def _add(self, bodies: list[tuple[Line, Signature | Found]]) -> None:
        chosen = iter(anchors([body for _, body in bodies if isinstance(body, Signature)]))
        for line, body in bodies:
            found = body if isinstance(body, Found) else self._judge(line, body, next(chosen))
            if found is None:
                continue
            self._tally.active[line.suffix[1:]] += 1
            place = len(self._lines)
            self._lines += f"{LETTERS[line.suffix]}{line.text}\n".encode("latin-1")
            if found.group is not None:
                self._groups[found.group].append(place)
            else:
                self._anchors[found.scope] += [(place, anchor) for anchor in found.anchors]

    def _judge(
        self, line: Line, signature: Signature, chosen: tuple[Anchor, ...] | MalformedError
    ) -> Found | None:
        """What a line is looked for by; None if it is not used, which is noted."""
        if self._ignored.has(signature.name, line):
            self._tally.unsupported["ignored by the set itself"] += 1
            return None
        if isinstance(chosen, MalformedError):
            self._tally.refuse(line, str(chosen))
            return None
        try:
            for subsignature in signature.subsignatures:
                if isinstance(subsignature, Regex):
                    compile_regex(subsignature)
        except UnsupportedError as e:
            self._tally.unsupported[str(e)] += 1
            return None
        if signature.group is not None:
            return Found((0, ""), (), signature.group)
        return Found((signature.target, signature.container), chosen)

    def finish(self) -> None:
        for scope, several in sorted(self._anchors.items()):
            piece_build.write(self._into, scope, several, self._earlier)
        sealed.write(self._into / LINES_FILE, bytes(self._lines))
        sealed.write(self._into / SURROUNDINGS_FILE, bytes(self._surroundings))
        temporary = self._into / _DIGESTS_FILE
        build_tables([Source(_DIGESTS_FILE, ShardKind.HASHES, temporary)], self._into)
        temporary.unlink()
        index = {"scopes": sorted(self._anchors), "groups": self._groups}
        sealed.write(self._into / INDEX_FILE, json.dumps(index).encode())


def _marked(name: str, suffix: str) -> str:
    return UNWANTED_MARK + name if suffix in reading.UNWANTED else name
