"""The engine ``signatures``: ClamAV's text formats on Vectorscan.

Preparing is in ``scan.signatures.build``; what is supported, and how a signature is found, in
``docs/signatures.md``.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.engines import hash_table
from mailward.scan.engines.hash_table import ALGORITHMS, NAMES_FILE, Names, Table, table_file
from mailward.scan.part import Part
from mailward.scan.processor import processor
from mailward.scan.signatures import executable, reading, sealed
from mailward.scan.signatures.clean_parts import CleanParts
from mailward.scan.signatures.digests import Of
from mailward.scan.signatures.evaluation import BodyMatcher, Evaluator
from mailward.scan.signatures.filetype import OFFICE_ZIP, ZIP, Target
from mailward.scan.signatures.pieces import OUTERMOST, Pieces
from mailward.scan.signatures.prepared_files import (
    INDEX_FILE,
    LINES_FILE,
    SUFFIXES,
    SURROUNDINGS_FILE,
    UNWANTED_MARK,
)
from mailward.scan.signatures.sealed import Sealed
from mailward.scan.signatures.signature import Body, Signature
from mailward.scan.signatures.subject import Subject
from mailward.scan.signatures.surroundings import Surroundings
from mailward.scan.signatures.views import Containers, views

_EVALUATORS_MAX = 4096
"""Signatures kept ready in each process: those that mail often seems to match."""


class SignaturesEngine:
    """Reads ``clamav`` shards."""

    name = "signatures"
    kinds = frozenset({ShardKind.CLAMAV})

    def fingerprint(self) -> str:
        """Vectorscan, the formats of the files, and the processor that Vectorscan compiles for."""
        return f"{version('hyperscan')}.{sealed.FORMAT}.{hash_table.FORMAT}.{processor()}"

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        """Choose and compile what is looked for."""
        # Here, because numpy would cost every worker 20 MB that only preparing needs.
        from mailward.scan.signatures.build import build

        return build(sources, into, earlier)

    def load(self, prepared: Path) -> "SignaturesDetector":
        """Map what is shared and copy Vectorscan's databases: some 40 ms for 180,000 signatures."""
        return SignaturesDetector(prepared)


class SignaturesDetector:
    """Looks for pieces, and evaluates the signatures whose pieces it found."""

    def __init__(self, prepared: Path) -> None:
        self._files = ExitStack()
        self._evaluators: dict[int, Evaluator] = {}
        self._matchers: dict[Body, BodyMatcher] = {}
        self._containers = Containers()
        self._clean = CleanParts()
        try:
            self._open(prepared)
        except BaseException:
            self.close()
            raise

    def _open(self, prepared: Path) -> None:
        opened = self._files.enter_context
        index = json.loads(opened(closing(Sealed(prepared / INDEX_FILE))).slice(0))
        self._groups = {int(group): places for group, places in index["groups"].items()}
        self._lines = opened(closing(Sealed(prepared / LINES_FILE)))
        with closing(Sealed(prepared / SURROUNDINGS_FILE)) as kept:
            self._surroundings = Surroundings(kept.slice(0))
        self._pieces = {
            (target, container): opened(closing(Pieces(prepared, (target, container))))
            for target, container in index["scopes"]
        }
        names = opened(closing(Names(prepared / NAMES_FILE)))
        self._tables = [
            opened(closing(Table(prepared / table_file(width), width, names)))
            for width in ALGORITHMS
        ]

        # Asked for every part, and nearly always answered with no: so it is known beforehand.
        filled = [table for table in self._tables if table.has_rows]
        self._tables_of = {of: [(t, t.may_hold(of.key(None))) for t in filled] for of in Of}
        self._scopes: dict[tuple[tuple[int, ...], str], tuple[Pieces, ...]] = {}

    def scan(self, part: Part, timeout_s: float) -> Sequence[Hit]:
        """All signatures that match the part in one of its forms.

        Raises ScanTimeoutError, with what was found until then.
        """
        containers = self._containers.of(part)
        key = self._clean.key(part, containers)
        if key in self._clean:
            return []
        found: dict[Hit, None] = {}
        try:
            for hit in self._hits(part, containers, time.monotonic() + timeout_s):
                found[hit] = None
        except ScanTimeoutError as e:
            if self._by_digest(part.data, Of.FALSE_POSITIVE):
                return []
            raise ScanTimeoutError(str(e), list(found)) from e
        if found and self._by_digest(part.data, Of.FALSE_POSITIVE):
            return []
        if not found:
            self._clean.add(key)
        return list(found)

    def _hits(self, part: Part, containers: Sequence[str], deadline: float) -> Iterator[Hit]:
        yield from self._by_digest(part.data, Of.FILE)
        kind = self._surroundings.types.identify(part.data, part)
        if kind.target is Target.PE:
            yield from self._by_section(part.data)
        yield from self._surroundings.hits(part, kind, containers, deadline)
        for view in views(part, kind):
            subject = Subject(
                view.data,
                deadline,
                lambda: executable.parse(part.data),
                containers,
                # ClamAV: a text's size is the file's, a page's that of the form.
                file_size=len(part.data) if Target.TEXT in view.targets else None,
            )
            yield from self._by_content(subject, view.targets)

    def _by_digest(self, data: bytes, of: Of) -> list[Hit]:
        size = len(data)
        found = []
        for table, any_size in self._tables_of[of]:
            keys = [of.key(size)] if table.may_hold(of.key(size)) else []
            if any_size:
                keys.append(of.key(None))
            if keys:
                digest = hashlib.new(table.algorithm, data, usedforsecurity=False).digest()
                found += [_hit(name) for key in keys for name in table.find(digest, key)]
        return found

    def _by_section(self, data: bytes) -> Iterator[Hit]:
        layout = executable.parse(data)
        sizes = {section.size for section in layout.sections} if layout is not None else set()
        keys = {size: (Of.SECTION.key(size), Of.SECTION.key(None)) for size in sizes}
        for table in self._tables:
            if layout is None or not any(map(table.may_hold, chain(*keys.values()))):
                continue
            for size, digest in executable.section_hashes(data, layout, table.algorithm):
                for key in keys[size]:
                    yield from (_hit(name) for name in table.find(digest, key))

    def _by_content(self, subject: Subject, targets: tuple[int, ...]) -> Iterator[Hit]:
        for pieces in self._pieces_for(targets, subject.containers):
            candidates = pieces.candidates(subject.data, subject.is_late)
            subject.check_time()
            for place in candidates:
                evaluator = self._evaluators.get(place) or self._evaluator(place)
                if evaluator.matches(subject):
                    yield evaluator.hit

    def _pieces_for(
        self, targets: tuple[int, ...], containers: Sequence[str]
    ) -> tuple[Pieces, ...]:
        key = targets, containers[-1] if containers else OUTERMOST
        found = self._scopes.get(key)
        if found is None:
            within = ["", key[1], *([ZIP] if key[1].startswith(OFFICE_ZIP) else [])]
            scopes = [(target, inside) for target in targets for inside in within]
            found = tuple(self._pieces[scope] for scope in scopes if scope in self._pieces)
            self._scopes[key] = found
        return found

    def _evaluator(self, place: int) -> Evaluator:
        if len(self._evaluators) >= _EVALUATORS_MAX:
            self._evaluators.clear()
            self._matchers.clear()
        signature, suffix = self._read(place)
        hit = Hit(
            signature.name, suspicious=suffix in reading.UNWANTED, signatures=(signature.name,)
        )
        evaluator = Evaluator(
            signature, hit, self._members, self._matcher, lambda: self._read(place)[0]
        )
        self._evaluators[place] = evaluator
        return evaluator

    def _matcher(self, body: Body) -> BodyMatcher:
        matcher = self._matchers.get(body)
        if matcher is None:
            matcher = self._matchers[body] = BodyMatcher(body)
        return matcher

    def _members(self, group: int) -> list[Signature]:
        return [self._read(place)[0] for place in self._groups.get(group, ())]

    def _read(self, place: int) -> tuple[Signature, str]:
        line = self._lines.line(place).decode("latin-1")
        suffix = SUFFIXES[line[0]]
        return reading.AGAIN[suffix](line[1:]), suffix

    def close(self) -> None:
        """Let go of the files. May be repeated."""
        self._files.close()
        self._evaluators.clear()  # each knows this detector: only the collector would find them


def _hit(marked: str) -> Hit:
    name = marked.removeprefix(UNWANTED_MARK)
    return Hit(name, suspicious=marked != name, signatures=(name,))
