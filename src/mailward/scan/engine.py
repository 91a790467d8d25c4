"""The Engine interface: definitions become prepared files, prepared files find risks in parts.

An engine is a small stateless object. ``prepare`` is slow and runs in a child process, once for a
set (S2); ``load`` is fast and runs in every worker; the ``Detector`` that it gives scans.

``tests/contract/engine_contract.py`` is the suite that every engine passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mailward.definitions.model import ShardKind
from mailward.scan.part import Part

NAMED_MAX = 1000
"""Refused signatures that a preparation names: enough to act on; the others are counted."""


@dataclass(frozen=True, slots=True)
class Source:
    """A shard's content at rest, as an engine prepares it."""

    name: str
    kind: ShardKind
    path: Path


@dataclass(frozen=True, slots=True)
class Refused:
    """One signature that was left out (S3)."""

    signature: str
    """Its name, or what could be read of it."""
    shard: str
    line: int | None
    """1-based line in the shard (hashes, ClamAV) or in the source file (YARA); None if unknown."""
    reason: str


@dataclass(frozen=True, slots=True)
class Preparation:
    """What came of preparing an engine's shards."""

    signatures: int
    """How many are active."""
    refused: tuple[Refused, ...] = ()
    """The first ``NAMED_MAX`` of those left out."""
    unnamed: int = 0
    """How many more were left out."""
    excluded: tuple[str, ...] = ()
    """Switched off by the set (``scan.excluded``): ``prepared.prepare`` notes it."""
    kinds: dict[str, int] = field(default_factory=dict, compare=False)
    """How many active ones are of which kind, if the engine reads several formats."""
    unsupported: dict[str, int] = field(default_factory=dict, compare=False)
    """How many sound ones cannot be used by this release, by reason: not bad, but not active."""

    @property
    def refused_count(self) -> int:
        """How many were left out altogether."""
        return len(self.refused) + self.unnamed


@dataclass(frozen=True, slots=True)
class Hit:
    """A signature that matched a part."""

    name: str
    suspicious: bool = False
    severity: str = ""
    description: str = ""
    signatures: tuple[str, ...] = field(default=(), compare=False)
    """Which of the engine's signatures say so, in the engine's own words, each without an end of
    line: what ``scan.excluded`` switches off."""


class ScanTimeoutError(Exception):
    """The part took longer than its time limit; it is then unscannable, never clean (S11).

    ``found``: what matched until then.
    """

    def __init__(self, why: str = "", found: Sequence[Hit] = ()) -> None:
        super().__init__(why)
        self.found = tuple(found)


class Detector(Protocol):
    """A loaded engine in one worker. Not safe for threads; many may exist at once (hot swap)."""

    def scan(self, part: Part, timeout_s: float) -> Sequence[Hit]:
        """All signatures that match ``part``. Raises ScanTimeoutError. May be repeated freely."""
        ...

    def close(self) -> None:
        """Let go of files and maps. May be repeated."""
        ...


class Engine(Protocol):
    """One way of detecting."""

    @property
    def name(self) -> str:
        """Lower-case, for listings, verdicts and the prepared folder."""
        ...

    @property
    def kinds(self) -> frozenset[ShardKind]:
        """The kinds of shards that it reads."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever prepared files must be made anew: engine version, format, processor.

        At most 40 characters of ``[a-z0-9.]``; part of a folder's name.
        """
        ...

    def prepare(
        self, sources: Sequence[Source], into: Path, earlier: Path | None = None
    ) -> Preparation:
        """Write prepared files into the empty folder ``into``, on any input bytes.

        ``earlier``: what this very code made of other sources, to be spared what did not change; it
        may be damaged, or taken away meanwhile, and what is written must not depend on it.

        Bad signatures are left out and named (S3). Raises FormatError when a whole shard is bad
        (not text, truncated framing), OSError when the disk fails.
        """
        ...

    def load(self, prepared: Path) -> Detector:
        """Load what ``prepare`` of the same fingerprint wrote. Raises FormatError if damaged."""
        ...
