"""A repository as an agent sees it: python-tuf's metadata binds manifests, manifests bind shards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backports import zstd
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from mailward.definitions.model import (
    CURRENT_MAX_BYTES,
    MANIFEST_MAX_BYTES,
    Channel,
    Current,
    Manifest,
    Patch,
    Shard,
    Version,
)
from mailward.errors import FetchError, MailwardError, TrustError
from mailward.update import trust
from mailward.update.fetch import Fetcher, NotThereError

_METADATA_MAX_BYTES = 5 * 1024 * 1024
"""Of any metadata file; python-tuf bounds each role more tightly."""

_PATCH_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 31}
"""A patch's frame looks back over the whole old content: up to 2 GiB, zstd's own maximum."""

_STEP_BYTES = 1024 * 1024
"""Unpacked at a time."""

_OBJECT_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 27}
"""What zstd readers accept without being asked: 128 MiB of memory."""


class Repository:
    """One visit to a repository. ``trusted_dir`` keeps its verified metadata between visits."""

    def __init__(self, address: str, root: bytes, trusted_dir: Path, fetcher: Fetcher) -> None:
        base = address.rstrip("/")
        trusted_dir.mkdir(parents=True, exist_ok=True)
        self._base = base
        self._fetcher = fetcher
        self._cache = trusted_dir / "cache"
        with _in_our_words(base):
            self._updater = Updater(
                metadata_dir=str(trusted_dir),
                metadata_base_url=f"{base}/metadata/",
                target_base_url=f"{base}/targets/",
                fetcher=_TufFetcher(fetcher),
                bootstrap=root,
            )

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets. Raises TrustError or FetchError."""
        with _in_our_words(self._base):
            self._updater.refresh()

    def current(self, channel: Channel) -> Current:
        """What a channel offers. Raises TrustError or FetchError."""
        raw = self._target(f"{channel}/current.json", CURRENT_MAX_BYTES, f"{channel}.current")
        return trust.read_current(raw, channel)

    def manifest(self, channel: Channel, version: Version, set_max_bytes: int) -> Manifest:
        """A set's manifest. Raises TrustError or FetchError."""
        raw = self._target(f"{channel}/{version}.json", MANIFEST_MAX_BYTES, f"{channel}.manifest")
        return trust.read_manifest(raw, channel, version, set_max_bytes)

    def shard(self, shard: Shard) -> Iterator[bytes]:
        """A shard's content in chunks, bounded; whoever stores it checks its hash."""
        sha = shard.sha256
        url = f"{self._base}/objects/{sha[:2]}/{sha}.zst"
        frame = self._fetcher.fetch(url, shard.object_bytes)
        return _unpack(frame, zstd.ZstdDecompressor(options=_OBJECT_OPTIONS), shard, url)

    def patched(self, shard: Shard, patch: Patch, old: bytes) -> Iterator[bytes]:
        """A shard's content, made from the ``old`` one by a patch; bounded like ``shard``."""
        url = f"{self._base}/patches/{patch.new[:2]}/{patch.new}/{patch.old}.zst"
        frame = self._fetcher.fetch(url, patch.size_bytes)
        prefix = zstd.ZstdDict(old, is_raw=True).as_prefix
        return _unpack(frame, zstd.ZstdDecompressor(prefix, options=_PATCH_OPTIONS), shard, url)

    def _target(self, path: str, max_bytes: int, cached_as: str) -> bytes:
        """A TUF target, from the cache if that still is what the metadata says."""
        cached = self._cache / cached_as
        with _in_our_words(self._base):
            info = self._updater.get_targetinfo(path)
            if info is None:
                raise TrustError(f"{self._base}: the repository's signed metadata names no {path}")
            if info.length > max_bytes:
                raise TrustError(
                    f"{self._base}: {path} has {info.length} bytes, {max_bytes} allowed"
                )
            if self._updater.find_cached_target(info, str(cached)) is None:
                self._updater.download_target(info, str(cached))
            return cached.read_bytes()


def _unpack(
    frame: Iterator[bytes], decompressor: zstd.ZstdDecompressor, shard: Shard, url: str
) -> Iterator[bytes]:
    """Decompress in steps, never more than the shard's size (S1)."""
    left = shard.size_bytes
    try:
        for compressed in frame:
            chunk = decompressor.decompress(compressed, max_length=_STEP_BYTES)
            while True:
                left -= len(chunk)
                if left < 0:
                    raise TrustError(
                        f"{url}: unpacks to more than the {shard.size_bytes} bytes named"
                    )
                if chunk:
                    yield chunk
                if decompressor.eof or decompressor.needs_input:
                    break
                chunk = decompressor.decompress(b"", max_length=_STEP_BYTES)
            if decompressor.eof:
                break
    except zstd.ZstdError as e:
        raise TrustError(f"{url}: not a whole zstd frame: {e}") from e
    if left or not decompressor.eof:
        raise TrustError(f"{url}: {left} of {shard.size_bytes} bytes missing")


class _TufFetcher(FetcherInterface):
    """Our fetchers behind python-tuf's interface."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def _fetch(self, url: str) -> Iterator[bytes]:
        chunks = self._fetcher.fetch(url, _METADATA_MAX_BYTES)
        try:
            first = next(chunks, b"")
        except NotThereError as e:
            raise DownloadHTTPError(str(e), e.status) from e
        return _chain(first, chunks)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


@contextmanager
def _in_our_words(base: str) -> Iterator[None]:
    """python-tuf's errors as ours, with what they mean for an administrator."""
    try:
        yield
    except MailwardError:
        raise
    except ExpiredMetadataError as e:
        raise TrustError(
            f"{base}: signed metadata has expired ({e}): the publisher has stopped refreshing it, "
            "somebody holds back newer files, or this computer's clock is wrong"
        ) from e
    except RepositoryError as e:
        raise TrustError(f"{base}: signed metadata is not to be trusted: {e}") from e
    except DownloadLengthMismatchError as e:
        raise TrustError(f"{base}: {e}") from e
    except DownloadError as e:
        cause = e.__cause__ if isinstance(e.__cause__, FetchError) else e
        raise FetchError(str(cause)) from e
