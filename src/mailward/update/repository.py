"""A repository as an agent sees it: signed metadata binds manifests, manifests bind shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
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
from mailward.errors import FetchError, FormatError, MailwardError, TrustError
from mailward.license import LICENSING_MAX_BYTES, LICENSING_PATH, Licensing
from mailward.update import trust
from mailward.update.fetch import Fetcher, Mirrors, NotThereError
from mailward.update.fetch.partial import Frame

log = structlog.get_logger(__name__)

_METADATA_MAX_BYTES = 5 * 1024 * 1024
"""Of any metadata file; python-tuf bounds each role more tightly."""

_LEFTOVERS = "tmp????????"
"""python-tuf's unfinished files (``tempfile``): there when it was killed, and nobody's then.
Whoever makes a SignedFiles is the only one that writes there (S8)."""


class SignedFiles:
    """The targets of a TUF repository, each verified. ``trusted_dir`` keeps the verified metadata.

    ``root`` is where all trust begins; making one asks the repository nothing. Raises TrustError if
    ``root`` is no root metadata.
    """

    def __init__(
        self, metadata_url: str, targets_url: str, root: bytes, trusted_dir: Path, fetcher: Fetcher
    ) -> None:
        trusted_dir.mkdir(parents=True, exist_ok=True)
        for leftover in trusted_dir.rglob(_LEFTOVERS):
            leftover.unlink()
        self._where = metadata_url.rstrip("/").removesuffix("/metadata")
        self._places: Sequence[str] = (targets_url,)
        self._tuf_fetcher = _TufFetcher(fetcher)
        with self._in_our_words():
            self._updater = Updater(
                metadata_dir=str(trusted_dir),
                metadata_base_url=metadata_url,
                target_base_url=targets_url,
                fetcher=self._tuf_fetcher,
                bootstrap=root,
            )

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets. Raises TrustError or FetchError."""
        with self._in_our_words():
            self._updater.refresh()

    def go_on_with(self, fetcher: Fetcher, places: Sequence[str]) -> None:
        """Fetch the rest by this one, below the first of ``places`` that has the right content."""
        self._tuf_fetcher.fetcher = fetcher
        self._places = places

    def names(self, name: str) -> bool:
        """Whether the signed metadata names a target. Raises TrustError or FetchError."""
        with self._in_our_words():
            return self._updater.get_targetinfo(name) is not None

    def read(self, name: str, max_bytes: int, copy: Path) -> bytes:
        """A target's content, from ``copy`` if that still is what the metadata says, else fetched.

        Raises TrustError or FetchError; then ``copy`` is as it was.
        """
        with self._in_our_words():
            info = self._updater.get_targetinfo(name)
            if info is None:
                raise TrustError(f"{self._where}: the repository's signed metadata names no {name}")
            if info.length > max_bytes:
                raise TrustError(
                    f"{self._where}: {name} has {info.length} bytes, {max_bytes} allowed"
                )
            if self._updater.find_cached_target(info, str(copy)) is None:
                self._download(info, copy)
            return copy.read_bytes()

    def _download(self, info: TargetFile, copy: Path) -> None:
        *others, last = self._places
        for place in others:
            try:
                self._updater.download_target(info, str(copy), place)
            except (RepositoryError, DownloadLengthMismatchError) as e:
                log.warning("a mirror has other content than was signed", at=place, why=str(e))
            else:
                return
        self._updater.download_target(info, str(copy), last)

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        """python-tuf's errors as ours, with what they mean for an administrator."""
        try:
            yield
        except MailwardError:
            raise
        except ExpiredMetadataError as e:
            raise TrustError(
                f"{self._where}: signed metadata has expired ({e}): the publisher has stopped "
                "refreshing it, somebody holds back newer files, or this computer's clock is wrong"
            ) from e
        except RepositoryError as e:
            raise TrustError(
                f"{self._where}: signed metadata is not to be trusted: {e}{self._last()}"
            ) from e
        except DownloadLengthMismatchError as e:
            raise TrustError(f"{self._where}: {e}{self._last()}") from e
        except DownloadError as e:
            cause = e.__cause__ if isinstance(e.__cause__, FetchError) else e
            raise FetchError(str(cause)) from e

    def _last(self) -> str:
        """The file that came last: python-tuf does not always say which one it looked at."""
        last = self._tuf_fetcher.last.removeprefix(f"{self._where}/")
        return f" (in {last})" if last else ""


class Repository:
    """One visit to a repository. ``trusted_dir`` keeps its verified metadata between visits."""

    def __init__(self, address: str, root: bytes, trusted_dir: Path, mirrors: Mirrors) -> None:
        self._base = address
        self._mirrors = mirrors
        self._addresses = [address, *(a for a in mirrors.addresses if a != address)]
        self._cache = trusted_dir / "cache"
        self._signed = SignedFiles(
            f"{self._base}/metadata/",
            f"{self._base}/targets/",
            root,
            trusted_dir,
            mirrors.only(self._base),
        )

    def refresh(self) -> None:
        """Root, timestamp, snapshot, targets, all from one address: two may be in two states.

        What follows is bound to these and may come from any. Raises TrustError or FetchError.
        """
        self._signed.refresh()
        places = [f"{each}/targets/" for each in self._addresses]
        self._signed.go_on_with(self._mirrors, places)

    def current(self, channel: Channel) -> Current:
        """What a channel offers. Raises TrustError or FetchError."""
        raw = self._signed.read(
            f"{channel}/current.json", CURRENT_MAX_BYTES, self._cache / f"{channel}.current"
        )
        return trust.read_current(raw, channel)

    def licensing(self) -> Licensing | None:
        """What the publisher signed about licenses; None if it names nothing.

        Raises TrustError or FetchError.
        """
        copy = self._cache / LICENSING_PATH
        if not self._signed.names(LICENSING_PATH):
            copy.unlink(missing_ok=True)
            return None
        raw = self._signed.read(LICENSING_PATH, LICENSING_MAX_BYTES, copy)
        try:
            return Licensing.from_json(raw)
        except FormatError as e:
            raise TrustError(f"{self._base}: {e}") from e

    def offers(self, channel: Channel, version: Version) -> bool:
        """Whether the channel still has the manifest of a set. Raises TrustError or FetchError."""
        return self._signed.names(f"{channel}/{version}.json")

    def manifest(self, channel: Channel, version: Version, set_max_bytes: int) -> Manifest:
        """A set's manifest. Raises TrustError or FetchError."""
        raw = self._signed.read(
            f"{channel}/{version}.json", MANIFEST_MAX_BYTES, self._cache / f"{channel}.manifest"
        )
        return trust.read_manifest(raw, channel, version, set_max_bytes)

    def object_frames(self, shard: Shard) -> list[Frame]:
        """The file that holds a shard, at each address."""
        sha = shard.sha256
        path = f"objects/{sha[:2]}/{sha}.zst"
        return [Frame(f"{a}/{path}", f"{sha}.zst", shard.object_bytes) for a in self._addresses]

    def patch_frames(self, patch: Patch) -> list[Frame]:
        """The file that holds a patch, at each address."""
        path = f"patches/{patch.new[:2]}/{patch.new}/{patch.old}.zst"
        name = f"{patch.new}-{patch.old}.zst"
        return [Frame(f"{a}/{path}", name, patch.size_bytes) for a in self._addresses]


def reach(root: bytes, trusted_dir: Path, mirrors: Mirrors) -> Repository:
    """The first of the addresses whose metadata can be had and trusted, already refreshed.

    Raises TrustError or FetchError, which says what was wrong with each.
    """
    errors: list[FetchError | TrustError] = []
    for address in mirrors.addresses:
        try:
            repository = Repository(address, root, trusted_dir, mirrors)
            repository.refresh()
            return repository
        except (FetchError, TrustError) as e:
            errors.append(e)
    raise _together(errors)


def _together(errors: Sequence[FetchError | TrustError]) -> FetchError | TrustError:
    """Temporary if any of them is: that address may be in order the next time."""
    if len(errors) == 1:
        return errors[0]
    kind = FetchError if any(isinstance(error, FetchError) for error in errors) else TrustError
    return kind("; ".join(str(error) for error in errors))


class _TufFetcher(FetcherInterface):
    """Our fetchers behind python-tuf's interface."""

    def __init__(self, fetcher: Fetcher) -> None:
        self.fetcher = fetcher
        self.last = ""
        """What was asked for last."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.last = url
        chunks = self.fetcher.fetch(url, _METADATA_MAX_BYTES)
        try:
            first = next(chunks, b"")
        except NotThereError as e:
            raise DownloadHTTPError(str(e), e.status) from e
        if first.lstrip()[:1] == b"<":  # metadata and manifests are JSON
            raise FetchError(
                f"{url}: the server answered with a web page instead of the file: a login page, "
                "or a proxy's error?"
            )
        return _chain(first, chunks)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
