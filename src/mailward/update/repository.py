"""A repository as an agent sees it: signed metadata binds manifests, manifests bind shards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from mailward.definitions import frames
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


class SignedFiles:
    """The targets of a TUF repository, each verified. ``trusted_dir`` keeps the verified metadata.

    ``root`` is where all trust begins; making one asks the repository nothing. Raises TrustError if
    ``root`` is no root metadata.
    """

    def __init__(
        self, metadata_url: str, targets_url: str, root: bytes, trusted_dir: Path, fetcher: Fetcher
    ) -> None:
        trusted_dir.mkdir(parents=True, exist_ok=True)
        self._where = metadata_url.rstrip("/").removesuffix("/metadata")
        with _in_our_words(self._where):
            self._updater = Updater(
                metadata_dir=str(trusted_dir),
                metadata_base_url=metadata_url,
                target_base_url=targets_url,
                fetcher=_TufFetcher(fetcher),
                bootstrap=root,
            )

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets. Raises TrustError or FetchError."""
        with _in_our_words(self._where):
            self._updater.refresh()

    def read(self, name: str, max_bytes: int, copy: Path) -> bytes:
        """A target's content, from ``copy`` if that still is what the metadata says, else fetched.

        Raises TrustError or FetchError; then ``copy`` is as it was.
        """
        with _in_our_words(self._where):
            info = self._updater.get_targetinfo(name)
            if info is None:
                raise TrustError(f"{self._where}: the repository's signed metadata names no {name}")
            if info.length > max_bytes:
                raise TrustError(
                    f"{self._where}: {name} has {info.length} bytes, {max_bytes} allowed"
                )
            if self._updater.find_cached_target(info, str(copy)) is None:
                self._updater.download_target(info, str(copy))
            return copy.read_bytes()


class Repository:
    """One visit to a repository. ``trusted_dir`` keeps its verified metadata between visits."""

    def __init__(self, address: str, root: bytes, trusted_dir: Path, fetcher: Fetcher) -> None:
        self._base = address.rstrip("/")
        self._fetcher = fetcher
        self._cache = trusted_dir / "cache"
        self._signed = SignedFiles(
            f"{self._base}/metadata/", f"{self._base}/targets/", root, trusted_dir, fetcher
        )

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets. Raises TrustError or FetchError."""
        self._signed.refresh()

    def current(self, channel: Channel) -> Current:
        """What a channel offers. Raises TrustError or FetchError."""
        raw = self._signed.read(
            f"{channel}/current.json", CURRENT_MAX_BYTES, self._cache / f"{channel}.current"
        )
        return trust.read_current(raw, channel)

    def manifest(self, channel: Channel, version: Version, set_max_bytes: int) -> Manifest:
        """A set's manifest. Raises TrustError or FetchError."""
        raw = self._signed.read(
            f"{channel}/{version}.json", MANIFEST_MAX_BYTES, self._cache / f"{channel}.manifest"
        )
        return trust.read_manifest(raw, channel, version, set_max_bytes)

    def shard(self, shard: Shard) -> Iterator[bytes]:
        """A shard's content in chunks, bounded; whoever stores it checks its hash."""
        sha = shard.sha256
        url = f"{self._base}/objects/{sha[:2]}/{sha}.zst"
        frame = self._fetcher.fetch(url, shard.object_bytes)
        return frames.unpack_object(frame, shard.size_bytes, url)

    def patched(self, shard: Shard, patch: Patch, old: bytes) -> Iterator[bytes]:
        """A shard's content, made from the ``old`` one by a patch; bounded like ``shard``."""
        url = f"{self._base}/patches/{patch.new[:2]}/{patch.new}/{patch.old}.zst"
        frame = self._fetcher.fetch(url, patch.size_bytes)
        return frames.unpack_patch(frame, old, shard.size_bytes, url)


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
