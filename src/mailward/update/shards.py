"""What a set lacks, fetched in parallel: as patches where there are some, otherwise whole.

What one address gives with other content than was signed is asked of the next one.
"""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import structlog

from mailward.definitions import frames
from mailward.definitions.model import Manifest, Patch, Shard
from mailward.definitions.store import Store, StoreWriter
from mailward.errors import FetchError, TrustError
from mailward.update.fetch.base import CHUNK_BYTES
from mailward.update.fetch.partial import Frame, Partials
from mailward.update.repository import Repository

log = structlog.get_logger(__name__)

_AT_ONCE = 4
"""Downloads: enough to hide a server's delays, few enough to be a polite client."""

_PATCHED_MAX_BYTES = 512 * 1024 * 1024
"""Patching holds the old content in memory; larger shards come whole."""

_TELL_S = 0.25
"""Progress is told that often."""

Tell = Callable[[int, int], None]
"""Told the bytes that have come, and all that are to come."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How a shard may come."""

    shard: Shard
    frame: Frame
    patch: Patch | None
    """None: whole."""


class Shards:
    """Fetches what one repository offers into one store."""

    def __init__(
        self, repository: Repository, store: Store, writer: StoreWriter, partials: Partials
    ) -> None:
        self._repository = repository
        self._store = store
        self._writer = writer
        self._partials = partials

    def fetch(self, manifest: Manifest, tell: Tell, damaged: Collection[str] = ()) -> None:
        """Every shard of the set that the store lacks, and those of the hashes in ``damaged``.

        Raises FetchError, TrustError or StoreError; what had come by then is kept for next time.
        """
        lacking = {
            s.sha256: s
            for s in manifest.shards
            if s.sha256 in damaged or not self._store.has_object(s.sha256)
        }
        ways = [self._ways(manifest, shard) for shard in lacking.values()]
        self._writer.require_room(  # S6: the contents, and the files that they come in
            sum(way.shard.size_bytes + way.frame.size_bytes for way, *_ in ways)
        )
        self._partials.keep_only({way.frame.name for each in ways for way in each})
        total = sum(way.frame.size_bytes for way, *_ in ways)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            try:
                self._fetch_all(pool, ways, lambda: tell(self._partials.done_bytes, total))
            except BaseException:
                self._partials.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._partials.keep_only(())  # patches that were tried in vain

    def _fetch_all(
        self, pool: ThreadPoolExecutor, ways: list[list[_Way]], tell: Callable[[], None]
    ) -> None:
        """Downloads by the pool's threads; unpacking here, one at a time, for the memory's sake."""
        pending: dict[Future[Path], list[_Way]] = {}

        def begin(left: list[_Way]) -> None:
            pending[pool.submit(self._partials.fetch, left[0].frame)] = left

        for each in ways:
            begin(each)
        while pending:
            done, _ = wait(pending, _TELL_S, FIRST_COMPLETED)
            tell()
            for future in done:
                way, *others = pending.pop(future)
                try:
                    self._take(way, future.result())
                except (FetchError, TrustError) as e:
                    # What was carried on with may have been wrong since an earlier update.
                    if isinstance(e, TrustError) and self._partials.forget_carried_on(way.frame):
                        others = [way, *others]
                    if isinstance(e, FetchError):  # every address was asked for it
                        others = [other for other in others if other.frame.name != way.frame.name]
                    if not others:
                        raise
                    log.info("not usable, trying again", file=way.frame.name, why=str(e))
                    begin(others)
        tell()

    def _ways(self, manifest: Manifest, shard: Shard) -> list[_Way]:
        """How this shard may come, cheapest first."""
        patches = [
            _Way(shard, frame, patch)
            for patch in manifest.patches
            if patch.new == shard.sha256 and self._can_patch(patch)
            for frame in self._repository.patch_frames(patch)
        ]
        return [*patches, *(_Way(shard, f, None) for f in self._repository.object_frames(shard))]

    def _can_patch(self, patch: Patch) -> bool:
        old = self._store.object_path(patch.old)
        return old.is_file() and old.stat().st_size <= _PATCHED_MAX_BYTES

    def _take(self, way: _Way, path: Path) -> None:
        """Into the store, which checks the hash (S1). The file is of no use then, good or bad."""
        shard = way.shard
        content = _chunks(path)
        if way.patch is None:
            unpacked = frames.unpack_object(content, shard.size_bytes, way.frame.url)
        else:
            old = self._store.object_path(way.patch.old).read_bytes()
            unpacked = frames.unpack_patch(content, old, shard.size_bytes, way.frame.url)
        try:
            self._writer.add_object(shard.sha256, shard.size_bytes, unpacked)
        except TrustError:
            self._partials.drop(way.frame)
            raise
        self._partials.drop(way.frame)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
