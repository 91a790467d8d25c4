"""One set at rest: ``sets/<version>/`` with its manifest, its trial and its prepared files."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import structlog

from mailward.definitions.model import MANIFEST_MAX_BYTES, Channel, Manifest, Shard, Trial, Version
from mailward.definitions.objects import Objects
from mailward.definitions.pointer import Pointer
from mailward.errors import FormatError, StoreError, TrustError, UsageError

log = structlog.get_logger(__name__)

MANIFEST = "manifest.json"
TRIAL = "trial.json"
PREPARED = "prepared"


class State(StrEnum):
    """How far a set has come (S9)."""

    DOWNLOADED = "downloaded"
    PROVED = "proved"
    ACTIVE = "active"
    REFUSED = "refused"
    """It failed its trial, was rolled back or withdrawn: not to be taken (S7)."""


@dataclass(frozen=True, slots=True)
class StoredSet:
    """A set in the store, as it was when it was asked for."""

    version: Version
    folder: Path
    manifest: Manifest
    trial: Trial | None = None
    downloaded_at: datetime | None = None
    activated_at: datetime | None = None
    """Since when it has been the active set; None if it is not."""
    refused: str | None = None
    """Why it is not to be taken; None if it may be."""

    @property
    def prepared(self) -> Path:
        """What engines load; made by the trial."""
        return self.folder / PREPARED

    @property
    def proved_at(self) -> datetime | None:
        """When it passed its trial; None if it did not."""
        return self.trial.at if self.trial is not None and self.trial.passed else None

    @property
    def state(self) -> State:
        """How far it has come (S9)."""
        if self.activated_at is not None:
            return State.ACTIVE
        if self.refused is not None or (self.trial is not None and not self.trial.passed):
            return State.REFUSED
        return State.PROVED if self.proved_at is not None else State.DOWNLOADED

    def shard_paths(self) -> list[tuple[Shard, Path]]:
        """Each shard and the file that holds its content."""
        return [(shard, self._objects.path(shard.sha256)) for shard in self.manifest.shards]

    def defect(self) -> str | None:
        """Why it cannot be used as it is; None if it can. Looks at sizes, not at contents."""
        if self.trial is None:
            return "it has not been proved yet"
        if not self.trial.passed:
            return "it failed its trial: " + "; ".join(self.trial.problems)
        return self._shard_problem(hashing=False)

    def damage(self) -> str | None:
        """What is wrong with its contents; None if nothing. Reads all of them. Raises OSError."""
        return self._shard_problem(hashing=True)

    def _shard_problem(self, *, hashing: bool) -> str | None:
        for shard in self.manifest.shards:
            problem = self._objects.problem(shard.sha256, shard.size_bytes, hashing=hashing)
            if problem is not None:
                return f"shard {shard.name} {problem}"
        return None

    @property
    def _objects(self) -> Objects:
        return Objects(self.folder.parents[1] / "objects")


def read_set(folder: Path, pointer: Pointer | None) -> StoredSet:
    """The set in ``folder``.

    Raises UsageError if there is none, StoreError if it is damaged, OSError if the disk fails.
    """
    version = Version.parse(folder.name)
    try:
        raw, written_at = _read(folder / MANIFEST)
        manifest = Manifest.from_json(raw)
    except (FileNotFoundError, NotADirectoryError, FormatError) as e:
        _require_folder(folder, version)
        raise StoreError(f"set {version} is damaged: {folder / MANIFEST}: {e}") from e
    if manifest.version != version:
        raise StoreError(f"set {version} is damaged: its manifest is that of {manifest.version}")
    trial = _read_trial(folder / TRIAL, version)
    if trial is None:
        _require_folder(folder, version)  # else it was pruned between the two reads
    active = pointer is not None and pointer.version == version
    return StoredSet(
        version=version,
        folder=folder,
        manifest=manifest,
        trial=trial,
        downloaded_at=written_at,
        activated_at=pointer.activated_at if pointer is not None and active else None,
        refused=pointer.refusal(version) if pointer is not None else None,
    )


def is_news(known: Manifest, offered: Manifest) -> bool:
    """Whether ``offered`` says more about the same content. Raises TrustError for other content."""
    if _content(known) != _content(offered):
        raise TrustError(
            f"set {offered.version} was offered with other content than it had when it first came: "
            "a version names one content for ever; tell its publisher"
        )
    if known.channel is Channel.CERTIFIED and offered.channel is Channel.RAPID:
        return False
    return known != offered


def _require_folder(folder: Path, version: Version) -> None:
    if not folder.is_dir():
        raise UsageError(f"set {version} is not in the store. See: mailward definitions list")


def _read_trial(path: Path, version: Version) -> Trial | None:
    """A trial that cannot be read proves nothing: the set has to be proved again."""
    try:
        trial = Trial.from_json(_read(path)[0])
    except FileNotFoundError:
        return None
    except FormatError as e:
        log.warning("trial cannot be read", set=str(version), why=str(e))
        return None
    if trial.version != version:
        log.warning("trial is that of another set", set=str(version), of=str(trial.version))
        return None
    return trial


def _read(path: Path) -> tuple[bytes, datetime]:
    with path.open("rb") as file:
        raw = file.read(MANIFEST_MAX_BYTES + 1)
        return raw, datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)


def _content(manifest: Manifest) -> frozenset[tuple[str, str, str, int]]:
    return frozenset((s.name, s.kind, s.sha256, s.size_bytes) for s in manifest.shards)
