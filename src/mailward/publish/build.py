"""Feeds become a candidate: sorted shards, stored by their hashes, and the manifest of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import structlog

from mailward.definitions.model import (
    ENGINE_LEVEL,
    Channel,
    Manifest,
    Shard,
    ShardKind,
    Version,
)
from mailward.errors import PublishError, UsageError
from mailward.publish import candidates, exclusions, objects
from mailward.publish.feeds import Draft, Feed, LeftOut, Reading
from mailward.publish.history import offered_versions, published_sets
from mailward.publish.home import Home, tidy
from mailward.publish.metadata import Signed
from mailward.publish.probes import with_probes

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FeedReport:
    """What came of one feed."""

    name: str
    signatures: int
    versions: tuple[tuple[str, int], ...]
    """As upstream numbers its pieces; see Reading."""
    kept: str
    """Why its last good content was used instead of what it is now; empty: it was not."""
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """What a build came to."""

    manifest: Manifest
    new: bool
    """False: nothing changed since this set was built."""
    left_out: tuple[LeftOut, ...]
    left_out_count: int
    feeds: tuple[FeedReport, ...] = ()

    @property
    def version(self) -> Version:
        """The set's."""
        return self.manifest.version


def build(home: Home, feeds: Sequence[Feed], now: datetime | None = None) -> Build:
    """Read ``feeds`` and make the next candidate, unless nothing changed.

    The same input gives the same shards and patches, byte for byte. Raises UsageError, FormatError
    or OSError for a feed that cannot be read, PublishError, BusyError; what is published is
    unchanged.
    """
    home.require()
    readings = [feed.read() for feed in feeds]
    drafts = _drafts(readings) + exclusions.drafts(home)
    left_out = tuple(piece for reading in readings for piece in reading.left_out)
    count = sum(reading.left_out_count for reading in readings)
    reports = tuple(_report(feed, reading) for feed, reading in zip(feeds, readings, strict=True))
    with home.lock():
        tidy(home)
        shards = _store(home, drafts)
        built = candidates.versions(home)
        newest = candidates.load(home, built[-1]) if built else None
        if newest is not None and newest.shards == shards:
            return Build(newest, False, left_out, count, reports)
        manifest = _manifest(home, shards, built, now or datetime.now(UTC))
        candidates.save(home, manifest)
    log.info("set built", version=str(manifest.version), signatures=manifest.signatures)
    return Build(manifest, True, left_out, count, reports)


def rebuild(home: Home, manifest: Manifest, now: datetime | None = None) -> Manifest:
    """The same content as ``manifest`` with today's exclusions, as a new candidate.

    Raises UsageError (the list of exclusions), PublishError, BusyError.
    """
    with home.lock():
        kept = [shard for shard in manifest.shards if shard.kind is not ShardKind.EXCLUDED]
        shards = tuple(sorted([*kept, *_store(home, exclusions.drafts(home))], key=_by_name))
        rebuilt = _manifest(home, shards, candidates.versions(home), now or datetime.now(UTC))
        candidates.save(home, rebuilt)
    log.info("set rebuilt", version=str(rebuilt.version), instead_of=str(manifest.version))
    return rebuilt


def next_version(used: Iterable[Version], now: datetime) -> Version:
    """Today's next number, and always above every version used, whatever the clock says."""
    today = int(now.astimezone(UTC).strftime("%Y%m%d"))
    highest = max(used, default=Version(0, 0))
    if today > highest.date:
        return Version(today, 1)
    return Version(highest.date, highest.number + 1)


def _report(feed: Feed, reading: Reading) -> FeedReport:
    return FeedReport(
        feed.name, reading.signatures, reading.versions, reading.kept, reading.remarks
    )


def _drafts(readings: Iterable[Reading]) -> list[Draft]:
    readings = list(readings)
    drafts = [draft for reading in readings for draft in reading.drafts]
    drafts = with_probes(drafts, [probe for reading in readings for probe in reading.probes])
    drafts.sort(key=lambda draft: draft.name)
    for one, other in pairwise(drafts):
        if one.name == other.name:
            raise UsageError(
                f"two feeds give the shard {one.name}: name one of them yourself, KIND:NAME=PLACE"
            )
    return drafts


def _store(home: Home, drafts: Iterable[Draft]) -> tuple[Shard, ...]:
    shards = []
    for draft in drafts:
        sha256, object_bytes = objects.put(home, draft.content)
        shards.append(
            Shard(
                name=draft.name,
                kind=draft.kind,
                sha256=sha256,
                size_bytes=len(draft.content),
                object_bytes=object_bytes,
                signatures=draft.signatures,
            )
        )
    return tuple(sorted(shards, key=_by_name))


def _by_name(shard: Shard) -> str:
    return shard.name


def _manifest(
    home: Home, shards: tuple[Shard, ...], built: Iterable[Version], now: datetime
) -> Manifest:
    if not shards:
        raise PublishError("the feeds hold nothing at all: a set needs at least one shard")
    signed = Signed.load(home)
    used = {*built, *(v for channel in Channel for v in offered_versions(home, signed, channel))}
    return Manifest(
        version=next_version(used, now),
        channel=Channel.RAPID,  # where every set comes first; publishing writes the real one
        built_at=now.replace(microsecond=0),
        engine_level=ENGINE_LEVEL,
        shards=shards,
        patches=objects.make_patches(home, shards, published_sets(home, signed)),
    )
