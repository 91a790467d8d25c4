"""Mend a store that a disk or a hand has damaged. Scanning goes on with what is whole (S5).

Shards are fetched again by their hashes and manifests by their signed metadata, with the same trust
as in an update (S1); what was made on this computer is made anew in a trial (S2); the pointer
becomes what the history tells.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from mailward.definitions.model import Channel, Manifest, Version
from mailward.definitions.sets import is_news
from mailward.definitions.store import Problem, Store, StoredSet, StoreWriter
from mailward.errors import (
    ConfigError,
    MailwardError,
    StoreError,
    TrialError,
    TrustError,
    UsageError,
)
from mailward.scan.engines import all_engines
from mailward.scan.measure import measure
from mailward.scan.prepared import missing
from mailward.settings.update import UpdateSettings
from mailward.update import trial
from mailward.update.agent import Progress, read_root, show_license
from mailward.update.fetch import Mirrors, mirrors_of
from mailward.update.fetch.partial import Partials
from mailward.update.licenses import Licenses
from mailward.update.repository import Repository, reach
from mailward.update.shards import Shards

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of it."""

    done: tuple[str, ...]
    """What was mended, in words."""
    hindered: tuple[str, ...]
    """What could not be done, and why."""
    left: tuple[Problem, ...]
    """What is still wrong."""


class Repair:
    """Mends one store."""

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        trusted_dir: Path,
        license_dir: Path,
        progress: Progress = lambda step, done, total: None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._trusted_dir = trusted_dir
        self._licenses = Licenses(license_dir, trusted_dir)
        self._progress = progress
        self._done: list[str] = []
        self._hindered: list[str] = []
        self._loads: dict[Version, str | None] = {}
        """Why the prepared files of a set do not load, once it was tried."""

    def problems(self, version: Version | None = None) -> list[Problem]:
        """What is wrong with a set, or with all and the pointer; also files that do not load."""
        found = self._store.verify(version)
        sets: list[StoredSet] = []
        with contextlib.suppress(StoreError):  # a pointer that cannot be read: it is said already
            sets = self._store.sets()
        for stored in sets:
            if version in (None, stored.version) and stored.proved_at is not None:
                why = self._does_not_load(stored)
                if why is not None:
                    found.append(Problem(stored.version, f"its prepared files do not load: {why}"))
        return found

    def run(self, version: Version | None = None) -> Repaired:
        """Mend a set, or all of them and the pointer. Raises BusyError (S8), StoreError."""
        with self._store.writer("definitions verify --repair") as writer:
            self._require_pointer(writer)
            with self._repository() as source:
                for each in [version] if version else self._store.versions():
                    self._attempt(each, partial(self._mend_set, writer, source, each))
            self._mend_pointer(writer)  # readers look again, and find what was mended
            if self._done:
                writer.note("repaired", reason="; ".join(self._done))
        left = self.problems(version)
        return Repaired(tuple(self._done), tuple(self._hindered), tuple(left))

    @contextlib.contextmanager
    def _repository(self) -> Iterator["_Source | None"]:
        """None if it cannot be reached or trusted: then only what needs none of it is mended."""
        try:
            root = read_root(self._settings)
            mirrors = mirrors_of(self._settings)
        except ConfigError as e:
            self._hindered.append(f"nothing can be fetched: {e}")
            yield None
            return
        with contextlib.closing(mirrors):
            source = None
            try:
                self._progress("checking the repository", 0, 0)
                source = _Source(reach(root, self._trusted_dir, mirrors), mirrors)
            except MailwardError as e:
                self._hindered.append(f"nothing can be fetched: {e}")
            yield source

    def _mend_set(self, writer: StoreWriter, source: "_Source | None", version: Version) -> None:
        stored = self._readable(version)
        offered = self._offered(source, version, stored)
        manifest = stored.manifest if stored is not None else offered
        if manifest is None:
            raise StoreError("its manifest is damaged, and the repository does not have it")
        is_other = stored is not None and offered is not None and _is_other(stored, offered)
        if is_other and offered is not None:
            manifest = offered
        damaged = self._store.damaged_shards(manifest)
        if damaged:
            self._fetch(writer, source, manifest, damaged)
            self._done.append(f"{version}: {len(damaged)} shards fetched")
        if stored is None or is_other:
            stored = writer.restage(manifest)
            self._done.append(f"{version}: its manifest is the signed one again")
        self._mend_prepared(writer, stored)

    def _fetch(
        self,
        writer: StoreWriter,
        source: "_Source | None",
        manifest: Manifest,
        damaged: frozenset[str],
    ) -> None:
        if source is None:
            raise StoreError(f"{len(damaged)} shards are damaged and cannot be fetched")
        show_license(self._licenses, manifest.channel, source.mirrors, self._trusted_dir)
        partials = Partials(self._trusted_dir / "partial", source.mirrors)
        Shards(source.repository, self._store, writer, partials).fetch(
            manifest, lambda done, total: self._progress("fetching", done, total), damaged
        )

    def _mend_prepared(self, writer: StoreWriter, stored: StoredSet) -> None:
        """What a trial makes: the trial's result, and the files that workers load."""
        if stored.trial is not None and not stored.trial.passed:
            return
        if stored.trial is not None and self._does_not_load(stored) is None:
            return
        self._progress(f"proving set {stored.version}", 0, 0)
        with writer.workspace() as workspace:
            result = trial.run(stored.manifest, stored.shard_paths(), workspace, self._settings)
            writer.record_trial(stored.version, result, workspace if result.passed else None)
        if not result.passed:
            raise StoreError(f"it fails its trial: {'; '.join(result.problems[:3])}")
        self._loads[stored.version] = None  # the trial has tried
        self._done.append(f"{stored.version}: its prepared files were made anew")

    def _require_pointer(self, writer: StoreWriter) -> None:
        """One that can be read: nothing else can be looked at without."""
        try:
            self._store.pointer()
        except StoreError:
            self._mend_pointer(writer)

    def _does_not_load(self, stored: StoredSet) -> str | None:
        """Why a worker could not load it. What other engines have made says nothing: workers of
        this release make their own then."""
        if stored.version not in self._loads:
            self._loads[stored.version] = self._try_to_load(stored)
        return self._loads[stored.version]

    def _try_to_load(self, stored: StoredSet) -> str | None:
        if missing(stored.prepared, all_engines()):
            return None
        try:
            measure(
                stored.prepared,
                timeout_s=self._settings.trial_timeout_s,
                memory_bytes=self._settings.trial_memory_bytes,
            )
        except TrialError as e:
            return str(e)
        return None

    def _mend_pointer(self, writer: StoreWriter) -> None:
        done = writer.mend_pointer()
        if done is not None:
            self._done.append(done)

    def _readable(self, version: Version) -> StoredSet | None:
        try:
            return self._store.get(version)
        except (StoreError, UsageError):
            return None

    def _offered(
        self, source: "_Source | None", version: Version, stored: StoredSet | None
    ) -> Manifest | None:
        """The signed manifest of a set, if the repository still has it."""
        if source is None:
            return None
        for channel in [stored.manifest.channel] if stored is not None else list(Channel):
            if source.repository.offers(channel, version):
                bound = self._settings.max_set_bytes
                return source.repository.manifest(channel, version, bound)
        return None

    def _attempt(self, version: Version, mend: Callable[[], None]) -> None:
        """One set that cannot be mended does not keep the others from it."""
        try:
            mend()
        except (MailwardError, OSError) as e:
            self._hindered.append(f"{version}: {e}")


@dataclass(frozen=True, slots=True)
class _Source:
    """Where things come from."""

    repository: Repository
    mirrors: Mirrors


def _is_other(stored: StoredSet, offered: Manifest) -> bool:
    """Whether a manifest names other content than the one that was signed."""
    try:
        is_news(stored.manifest, offered)
    except TrustError:
        return True
    return False
