"""What a feed last gave, so that a bad day of somebody else's server costs no detection.

``feeds/<name>/`` in the publisher's folder holds ``state.json`` and the shards that it names. A
feed that cannot be had, that is no such feed any more (an HTML page), that lost too many of its
signatures or went back to an older version is refused: its last good content stays in use, and the
build says so. ``state.json`` is replaced last and by one rename (S4), once the feed was accepted.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
from backports import zstd
from pydantic import Field

from mailward import __version__, durable
from mailward.definitions.model import (
    Count,
    Moment,
    Sha256,
    ShardKind,
    ShardName,
    SizeBytes,
    Text,
    Value,
    read_value,
)
from mailward.errors import FetchError, FormatError, TrustError, UsageError
from mailward.publish.feeds.address import AddressFeed, Fetching, Validators
from mailward.publish.feeds.base import Draft, Feed, Reading
from mailward.publish.feeds.spec import STARTER, FeedSpec
from mailward.publish.home import Home, write

log = structlog.get_logger(__name__)

_TEXT_MAX = 4000
_STATE_MAX_BYTES = 16 * 1024 * 1024
_SMALL_FEED = 10
"""Below this many signatures before, shares say nothing; that it is empty now still does."""

_LEVEL = 3
"""Of zstd: written once per change, read when upstream fails."""


class KeptShard(Value):
    """A shard of a feed's last good content."""

    name: ShardName
    kind: ShardKind
    sha256: Sha256
    size_bytes: SizeBytes
    signatures: Count


class FeedState(Value):
    """``state.json``: what a feed was when it was last accepted."""

    place: Text
    reader: Sha256
    """Of the feed's settings and of the release: what others made of the same file may differ."""
    etag: Text = ""
    last_modified: Text = ""
    versions: dict[str, Annotated[int, Field(ge=0)]]
    """As upstream numbers them; see Reading."""
    signatures: Count
    sha256: Sha256
    """Of all shards together."""
    accepted_at: Moment
    """When this content was first read."""
    shards: tuple[KeptShard, ...]


def remembered(
    home: Home,
    specs: Iterable[FeedSpec],
    fetching: Fetching | None = None,
    accept: Collection[str] = (),
) -> list[Feed]:
    """Feeds with memory in ``home``. Raises UsageError for two of one name, and as FeedSpec.open.

    ``accept``: names of feeds to take as they are now, however much they shrank.
    """
    specs = list(specs)
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two feeds are called {name}: name one of them yourself, KIND:NAME=PLACE"
            )
    if unknown := set(accept) - set(names):
        raise UsageError(
            f"there is no feed called {min(unknown)} to accept: {', '.join(sorted(names))}"
        )
    return [
        spec.open()
        if spec.kind == STARTER
        else RememberingFeed(home, spec, spec.open(fetching), spec.name in accept)
        for spec in specs
    ]


def objection(reading: Reading, before: FeedState, max_shrink: float) -> str:
    """Why ``reading`` must not replace what was there before; empty if it may."""
    was, now = before.signatures, reading.signatures
    if was and not now:
        return f"nothing is left of its {was} signatures"
    if was >= _SMALL_FEED and now < was * (1 - max_shrink):
        return f"it shrank from {was} signatures to {now}, by more than {max_shrink:.0%}"
    for name, version in reading.versions:
        known = before.versions.get(name, 0)
        if version < known:
            return f"{name} went back from version {known} to {version}"
    return ""


def _require_like(before: FeedState, reading: Reading, spec: FeedSpec) -> None:
    reason = objection(reading, before, spec.max_shrink)
    if reason:
        raise FormatError(
            f"feed {spec.name}: {reason}: if that is right, take it with `repo build --accept"
            f" {spec.name}`"
        )


@dataclass(frozen=True, slots=True)
class RememberingFeed:
    """A feed whose last good content is kept."""

    home: Home
    spec: FeedSpec
    feed: Feed
    accept: bool = False

    @property
    def name(self) -> str:
        """See Feed.name."""
        return self.spec.name

    def read(self) -> Reading:
        """See Feed.read; raises only if there is no last good content.

        Takes the publisher's lock for a moment. Raises BusyError and PublishError like it.
        """
        memory = _Memory(self.home, self.name)
        before = memory.recall()
        try:
            reading, validators = self._read(memory, before)
            if before is not None and not self.accept:
                _require_like(before, reading, self.spec)
        except (FetchError, FormatError, TrustError, OSError, UsageError) as e:
            if before is None or (isinstance(e, UsageError) and before.place != self.spec.place):
                raise  # nothing to fall back to, or a slip of the pen
            drafts = memory.content(before)
            if drafts is None:
                raise
            log.warning("feed refused, last good content kept", feed=self.name, reason=str(e))
            return Reading(drafts, versions=tuple(before.versions.items()), kept=str(e))
        memory.keep(self._state(reading, validators), reading.drafts, before)
        return reading

    def _read(self, memory: "_Memory", before: FeedState | None) -> tuple[Reading, Validators]:
        if not isinstance(self.feed, AddressFeed):
            return self.feed.read(), Validators()
        same = Validators()
        if before is not None and before.reader == _reader(self.spec):
            same = Validators(before.etag, before.last_modified)
        found = self.feed.read_unless(same)
        if found is not None:
            return found
        drafts = None if before is None else memory.content(before)
        if before is None or drafts is None:
            return self.feed.read(), Validators()  # it is the same, but we have lost it
        return Reading(drafts, versions=tuple(before.versions.items())), same

    def _state(self, reading: Reading, validators: Validators) -> FeedState:
        shards = tuple(
            KeptShard(
                name=draft.name,
                kind=draft.kind,
                sha256=hashlib.sha256(draft.content).hexdigest(),
                size_bytes=len(draft.content),
                signatures=draft.signatures,
            )
            for draft in reading.drafts
        )
        whole = "".join(f"{shard.name} {shard.sha256}\n" for shard in shards)
        return FeedState(
            place=self.spec.place[:_TEXT_MAX],
            reader=_reader(self.spec),
            etag=validators.etag,
            last_modified=validators.last_modified,
            versions=dict(reading.versions),
            signatures=reading.signatures,
            sha256=hashlib.sha256(whole.encode()).hexdigest(),
            accepted_at=datetime.now(UTC).replace(microsecond=0),
            shards=shards,
        )


def _reader(spec: FeedSpec) -> str:
    settings = (__version__, spec.kind, spec.name, spec.place, spec.columns, spec.suffix)
    return hashlib.sha256(repr(settings).encode()).hexdigest()


class _Memory:
    """``feeds/<name>/``."""

    def __init__(self, home: Home, name: str) -> None:
        self._home = home
        self._folder = home.folder / "feeds" / name

    def recall(self) -> FeedState | None:
        """What was accepted last; None if nothing was."""
        path = self._folder / "state.json"
        try:
            return read_value(FeedState, path.read_bytes(), _STATE_MAX_BYTES, str(path))
        except FileNotFoundError:
            return None
        except FormatError as e:
            log.warning("feed's state is damaged, it is read as if for the first time", why=str(e))
            return None

    def content(self, state: FeedState) -> tuple[Draft, ...] | None:
        """The shards of a state; None if they are not all there and whole."""
        with self._home.lock():
            drafts = []
            for shard in state.shards:
                try:
                    frame = self._path(shard).read_bytes()
                    content = zstd.ZstdDecompressor().decompress(frame, shard.size_bytes + 1)
                except (OSError, zstd.ZstdError) as e:
                    log.warning(
                        "last good content of feed is damaged", shard=shard.name, why=str(e)
                    )
                    return None
                if hashlib.sha256(content).hexdigest() != shard.sha256:
                    log.warning("last good content of feed is damaged", shard=shard.name)
                    return None
                drafts.append(Draft(shard.name, shard.kind, content, shard.signatures))
        return tuple(drafts)

    def keep(self, state: FeedState, drafts: Sequence[Draft], before: FeedState | None) -> None:
        """Remember an accepted reading; what was kept before goes once it is."""
        if before is not None and before.sha256 == state.sha256:
            state = state.model_copy(update={"accepted_at": before.accepted_at})
        if state == before:
            return
        with self._home.lock():
            for shard, draft in zip(state.shards, drafts, strict=True):
                path = self._path(shard)
                if not path.exists():
                    write(path, zstd.compress(draft.content, _LEVEL))
            write(self._folder / "state.json", state.to_json())  # S4
            named = {self._path(shard) for shard in state.shards}
            for path in self._folder.glob("*.zst"):
                if path not in named and not durable.is_temporary(path):
                    path.unlink()

    def _path(self, shard: KeptShard) -> Path:
        return self._folder / f"{shard.sha256}.zst"
