"""What gates are given, and what they answer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mailward.definitions.model import Gate, Manifest
from mailward.publish import objects
from mailward.publish.home import Home
from mailward.scan.engine import Source

CULPRITS_MAX = 100
CULPRIT_MAX = 500
"""Characters; with the number of culprits it bounds a report, which travels in the manifest."""

_DETAIL_MAX = 2000

Progress = Callable[[str, int, int], None]
"""Told the gate, how much of it is done and how much there is (0: not counted)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a set may be, against the set before it."""

    min_share: float = 0.5
    max_share: float = 3.0
    """Of its signatures and bytes: a feed that lost half or trebled wants a look first."""
    time_ratio: float = 2.0
    """Of the processor time that scanning takes."""
    memory_ratio: float = 2.0
    """Of the memory that a worker needs."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A set under test."""

    home: Home
    manifest: Manifest
    sources: tuple[Source, ...]
    """Its shards, unpacked."""
    prepared: Path
    """What the engines made of them."""
    work: Path
    """For what gates leave behind; gone afterwards."""


@dataclass(frozen=True, slots=True)
class NotRun:
    """A gate that could not test anything, and why: neither passed nor failed."""

    name: str
    why: str


def gate(name: str, passed: bool, detail: str, culprits: Iterable[str] = ()) -> Gate:
    """A gate within the bounds of a report; of many culprits the first are named."""
    all_named = [culprit[:CULPRIT_MAX] for culprit in culprits]
    more = len(all_named) - CULPRITS_MAX
    if more > 0:
        detail += f"; {more} more culprits are not named"
    return Gate(
        name=name,
        passed=passed,
        detail=detail[:_DETAIL_MAX],
        culprits=tuple(all_named[:CULPRITS_MAX]),
    )


def unpack(home: Home, manifest: Manifest, folder: Path) -> tuple[Source, ...]:
    """A set's shards as files in the new folder ``folder``. Raises PublishError, OSError."""
    folder.mkdir()
    sources = []
    for shard in manifest.shards:
        path = folder / shard.sha256
        path.write_bytes(objects.get(home, shard))
        sources.append(Source(shard.name, shard.kind, path))
    return tuple(sources)
