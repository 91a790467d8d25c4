"""The Feed interface: somebody else's detection knowledge becomes shards-to-be.

A feed never condemns what it can read for what it cannot: a bad line or file is left out, named and
counted. ``tests/contract/test_feeds.py`` is the suite that every feed passes.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from mailward.definitions.model import ShardKind
from mailward.errors import UsageError

MIB = 1024 * 1024

FILE_MAX_BYTES = 1024 * MIB
"""Of one file of a feed: it is read into memory; ClamAV's main set unpacks to 300 MB."""

LINE_MAX_BYTES = MIB
"""Of one line; the longest of ClamAV's official signatures has 16,300 bytes."""

FILES_MAX = 100_000
"""In a feed's folder."""

NAMED_MAX = 1000
"""Things left out that are named one by one; the rest are counted."""

_SHARD_NAME_MAX = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """A shard before it is stored and named by its hash."""

    name: str
    kind: ShardKind
    content: bytes
    signatures: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A piece of content in which a set must find ``expect``: what a trial checks (S2)."""

    name: str
    expect: str
    content: bytes


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A piece of a feed that was not taken."""

    where: str
    reason: str


@dataclass(slots=True)
class Omissions:
    """Collects what is left out: the first are named, all are counted."""

    named: list[LeftOut] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, reason: str, count: int = 1) -> None:
        """Note ``count`` pieces (files, or lines of one file) that share a reason."""
        self.count += count
        if len(self.named) < NAMED_MAX:
            self.named.append(LeftOut(where, reason))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a feed gave."""

    drafts: tuple[Draft, ...]
    probes: tuple[Probe, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    left_out_count: int = 0
    remarks: tuple[str, ...] = ()
    """What the publisher should know, though nothing was left out for it."""
    versions: tuple[tuple[str, int], ...] = ()
    """What upstream calls its pieces, where it numbers them: ClamAV's containers."""
    kept: str = ""
    """Why this is the last good content and not what upstream gives now; empty: it is new."""

    @property
    def signatures(self) -> int:
        """Of all drafts."""
        return sum(draft.signatures for draft in self.drafts)


class Feed(Protocol):
    """One upstream source."""

    @property
    def name(self) -> str:
        """Lower-case word that names its shards: stays the same as long as the feed does."""
        ...

    def read(self) -> Reading:
        """Read it whole. The same content gives the same drafts, byte for byte.

        Raises UsageError if the place is not there, FetchError if an address does not give it,
        FormatError if it is not such a feed at all (an HTML page, say), TrustError if a digest or
        signature in it is wrong, OSError if it cannot be read. May be repeated.
        """
        ...


def safe_name(text: str) -> str:
    """``text`` as a shard's name; what has to be changed gets a hash, so that names differ."""
    safe = re.sub(r"[^A-Za-z0-9._/+@-]", "_", text)
    if safe == text and len(text) <= _SHARD_NAME_MAX:
        return text
    path = PurePosixPath(safe)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = str(path.with_suffix(""))[: _SHARD_NAME_MAX - 40]
    return f"{stem}-{digest}{path.suffix[:30]}"


def yara_lines(sources: Iterable[tuple[str, str]]) -> bytes:
    """A YARA shard's content from (namespace, source), as ShardKind.YARA describes it."""
    return b"".join(
        json.dumps({"namespace": namespace, "source": source}).encode() + b"\n"
        for namespace, source in sorted(sources)
    )


def require_there(place: Path) -> Path:
    """``place``, if it exists. Raises UsageError."""
    if not place.exists():
        raise UsageError(f"feed {place}: there is no such file or folder")
    return place
