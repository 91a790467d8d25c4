"""The definition store: where sets rest on this computer. One writer, any number of readers (S8).

::

    <folder>/
      objects/ab/<sha256>              shards, shared between sets
      sets/<version>/manifest.json     + trial.json, and prepared/<engine>-<fingerprint>/
      active                           the pointer: set in use, way back, refused sets
      history.jsonl, history.jsonl.1   what happened
      lock                             held by the writer, which names itself in it
      work/                            what is unfinished; emptied by the next writer

A reader takes no lock and never waits: everything it can see is whole, because everything gets its
name by one rename when it is finished and loses it by one rename before it is taken apart (S4).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from mailward import durable
from mailward.definitions import lock
from mailward.definitions.disk import disk_errors
from mailward.definitions.history import Event, History
from mailward.definitions.model import Manifest, Version
from mailward.definitions.objects import Objects
from mailward.definitions.pointer import POINTER_MAX_BYTES, Pointer, recovered
from mailward.definitions.sets import State, StoredSet, read_set
from mailward.definitions.writer import StoreWriter
from mailward.errors import FormatError, StoreError, UsageError
from mailward.settings.update import StoreSettings

__all__ = ["Event", "Pointer", "Problem", "State", "Store", "StoreWriter", "StoredSet"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the store that is not as it should be."""

    version: Version | None
    """The set it concerns; None if it concerns the store as a whole."""
    detail: str


class Store:
    """The store in ``folder``. Opening it creates nothing; the first writer does."""

    def __init__(self, folder: Path, settings: StoreSettings = StoreSettings()) -> None:  # noqa: B008 (frozen)
        self.folder = folder
        self.settings = settings
        self._objects = Objects(folder / "objects")
        self._sets = folder / "sets"
        self._pointer = folder / "active"
        self._history = History(folder / "history.jsonl")

    def active(self) -> StoredSet | None:
        """The set in use; None if there never was one.

        If it is damaged, the newest one before it that is whole, so that scanning goes on (S5).
        Raises StoreError when there is none.
        """
        pointer = self.pointer()
        while pointer is not None and pointer.version is not None:
            try:
                return self._read(pointer.version, pointer)
            except (StoreError, UsageError) as damage:
                latest = self.pointer()
                if latest == pointer:
                    return self._whole_before(pointer, damage)
                pointer = latest  # it was pruned while we read: somebody activated others
        return None

    def pointer(self) -> Pointer | None:
        """What is in use and what is refused; None in a store that has seen neither.

        A damaged pointer is made good from the history. Raises StoreError when that tells nothing.
        """
        try:
            with disk_errors("read the pointer", self.folder), self._pointer.open("rb") as file:
                raw = file.read(POINTER_MAX_BYTES + 1)
        except StoreError as e:
            if isinstance(e.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise
        try:
            return Pointer.from_json(raw)
        except FormatError as damage:
            return self._recovered_pointer(damage)

    def pointer_damage(self) -> str | None:
        """What is wrong with the pointer's file; None if nothing, or if there is none."""
        with disk_errors("read the pointer", self.folder):
            try:
                Pointer.from_json(self._pointer.read_bytes()[: POINTER_MAX_BYTES + 1])
            except FileNotFoundError:
                return None
            except FormatError as damage:
                return f"the pointer {self._pointer} is damaged: {damage}"
        return None

    def pointer_stamp(self) -> tuple[int, int, int]:
        """Inode, time (ns) and size of the pointer, zeros if there is none: changes with it."""
        try:
            stat = self._pointer.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def sets(self) -> list[StoredSet]:
        """Every set that can be read, newest first. ``verify`` tells about the others."""
        pointer = self.pointer()
        readable = []
        for version in self.versions():
            try:
                readable.append(self._read(version, pointer))
            except StoreError as damage:
                log.warning("set left out of the listing", why=str(damage))
            except UsageError:
                continue  # pruned while we read
        return readable

    def versions(self) -> list[Version]:
        """Of all sets, newest first, whether they can be read or not."""
        found = []
        with disk_errors("list the sets", self.folder), contextlib.suppress(FileNotFoundError):
            for path in self._sets.iterdir():
                with contextlib.suppress(FormatError):  # not ours
                    found.append(Version.parse(path.name))
        return sorted(found, reverse=True)

    def whole_before(self) -> list[StoredSet]:
        """The whole sets that were in use before the active one, the way back, newest first."""
        pointer = self.pointer() or Pointer()
        found = []
        for version in pointer.before:
            with contextlib.suppress(StoreError, UsageError):
                stored = self._read(version, pointer)
                if stored.defect() is None:
                    found.append(stored)
        return found

    def get(self, version: Version) -> StoredSet:
        """One set. Raises UsageError if it is not there, StoreError if it is damaged."""
        return self._read(version, self.pointer())

    def object_path(self, sha256: str) -> Path:
        """Where the shard content of that hash is, or would be."""
        return self._objects.path(sha256)

    def has_object(self, sha256: str) -> bool:
        """Whether the shard content of that hash is there."""
        return self._objects.path(sha256).is_file()

    def history(self, limit: int | None = None) -> list[Event]:
        """What happened, newest last; the last ``limit`` of it. Damaged lines are left out."""
        with disk_errors("read the history", self.folder):
            return self._history.read(limit)

    def verify(self, version: Version | None = None) -> list[Problem]:
        """Read and hash everything of one set, or of all and the pointer; what is wrong with it."""
        if version is not None:
            self._require(version)
            return self._verify_set(version, {})
        checked: dict[tuple[str, int], str | None] = {}
        found = [p for each in self.versions() for p in self._verify_set(each, checked)]
        try:
            pointer = self.pointer()
        except StoreError as damage:
            return [*found, Problem(None, str(damage))]
        damage_at_rest = self.pointer_damage()
        if damage_at_rest is not None:
            found.append(Problem(None, damage_at_rest))
        if pointer is not None and pointer.version not in (None, *self.versions()):
            found.append(Problem(pointer.version, f"active set {pointer.version} is missing"))
        return found

    def damaged_shards(self, manifest: Manifest) -> frozenset[str]:
        """The hashes of a manifest's shards that are missing or have other content."""
        with disk_errors(f"verify set {manifest.version}", self.folder):
            return frozenset(
                shard.sha256
                for shard in manifest.shards
                if self._objects.problem(shard.sha256, shard.size_bytes, hashing=True)
            )

    @contextlib.contextmanager
    def writer(self, purpose: str) -> Iterator[StoreWriter]:
        """The one writer (S8). Raises BusyError at once, naming the owner, while there is another.

        ``purpose`` is what others are told about it meanwhile, e.g. ``update certified``.
        """
        with disk_errors("open the definition store for writing", self.folder):
            for name in ("objects", "sets", "work"):
                durable.make_folder(self.folder / name)
            held = contextlib.ExitStack()
            held.enter_context(lock.hold(self.folder / "lock", purpose))
        with held:
            yield StoreWriter(self, self._objects, self._history)

    def _read(self, version: Version, pointer: Pointer | None) -> StoredSet:
        with disk_errors(f"read set {version}", self.folder):
            return read_set(self._sets / str(version), pointer)

    def _require(self, version: Version) -> None:
        if version not in self.versions():
            raise UsageError(f"set {version} is not in the store. See: mailward definitions list")

    def _verify_set(
        self, version: Version, checked: dict[tuple[str, int], str | None]
    ) -> list[Problem]:
        """``checked`` remembers what objects were found to be, which sets share."""
        try:
            stored = self.get(version)
        except StoreError as damage:
            return [Problem(version, str(damage))]
        except UsageError:
            return []  # pruned while we looked
        found = []
        for shard in stored.manifest.shards:
            key = shard.sha256, shard.size_bytes
            if key not in checked:
                with disk_errors(f"verify set {version}", self.folder):
                    checked[key] = self._objects.problem(*key, hashing=True)
            if checked[key] is not None:
                found.append(Problem(version, f"shard {shard.name} {checked[key]}"))
        return found if stored.folder.is_dir() else []

    def _whole_before(self, pointer: Pointer, damage: Exception) -> StoredSet:
        for stored in self.whole_before():
            log.error(
                "the active set is damaged; an earlier one is used in its place",
                active=str(pointer.version),
                used=str(stored.version),
                why=str(damage),
            )
            return stored
        raise StoreError(
            f"{damage}; no earlier set is whole. To get a new one: mailward update"
        ) from damage

    def _recovered_pointer(self, damage: FormatError) -> Pointer:
        pointer = recovered(self.history())
        if pointer is None:
            raise StoreError(
                f"{self._pointer} is damaged ({damage}) and the history does not tell which set "
                "was in use. To use the newest whole one: mailward definitions verify --repair"
            ) from damage
        log.error(
            "the pointer is damaged; the history tells which set is in use",
            active=str(pointer.version),
            why=str(damage),
        )
        return pointer
