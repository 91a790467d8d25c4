"""What the one writer may do (S8). Every method is one step that leaves the store whole (S4).

``update.agent`` calls them in this order: add_object, stage, record_trial, activate, prune. It can
be killed between and within any two of them and begin again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from mailward import durable
from mailward.definitions.disk import disk_errors, no_room
from mailward.definitions.history import History
from mailward.definitions.ignored import ENTRIES_MAX, Ignored, IgnoreList
from mailward.definitions.model import Manifest, Trial, Version
from mailward.definitions.objects import Objects
from mailward.definitions.pointer import Pointer, trace
from mailward.definitions.pruning import superfluous, weigh
from mailward.definitions.sets import MANIFEST, TRIAL, StoredSet, is_news, read_set
from mailward.errors import StoreError, TemporaryError, UsageError

if TYPE_CHECKING:
    from mailward.definitions.store import Store

log = structlog.get_logger(__name__)


class StoreWriter:
    """Made by ``Store.writer``, for as long as that holds the lock."""

    def __init__(self, store: "Store", objects: Objects, history: History) -> None:
        self._store = store
        self._folder = store.folder
        self._objects = objects
        self._history = history
        self._ignored = IgnoreList(store.folder)
        self._work = store.folder / "work"
        self._workspaces: set[Path] = set()
        self._added: set[str] = set()
        """Objects that no set names yet, checked when they came."""
        with disk_errors("clear leftovers", self._folder):
            self._clear_leftovers()

    def require_room(self, size_bytes: int) -> None:
        """Raises StoreError if ``size_bytes`` more would fill the disk (S6)."""
        with disk_errors("look for room", self._folder):
            free = shutil.disk_usage(self._folder).free
        least = self._store.settings.min_free_bytes
        if free - size_bytes < least:
            raise no_room(
                f"keep {size_bytes} more bytes",
                self._folder,
                f"{free} are free and {least} are to stay free (store.min_free_bytes)",
            )

    def add_object(self, sha256: str, size_bytes: int, chunks: Iterable[bytes]) -> Path:
        """Take in a shard's content, checked while it streams (S1).

        Raises TrustError when it is not what its hash and size say, StoreError when there is no
        room or the disk fails, and whatever ``chunks`` raises; nothing is left behind then. What
        had this name before is replaced, so a damaged object is mended by adding it again.
        """
        self.require_room(size_bytes)
        path = self._objects.add(sha256, size_bytes, chunks, self._work)
        self._added.add(sha256)
        return path

    def stage(self, manifest: Manifest, **cost: Any) -> StoredSet:
        """Put a set together from objects that are there. Its manifest must be trusted already.

        ``cost`` is what the history is told of bytes and durations.

        A version that is there already keeps its content and its trial and gets the newer evidence
        (rapid to certified, never back). Raises TrustError if it has other content; StoreError if
        an object is missing; TemporaryError if one was damaged at rest: it is gone then, and the
        next attempt fetches it again.
        """
        version = manifest.version
        with disk_errors(f"stage set {version}", self._folder):
            self._require_objects(manifest)
            folder = self._set_folder(version)
            known = self._readable(version)
            if known is None:
                self._discard_set(version)  # what is damaged cannot be compared: begin anew
                self._publish_set(manifest, folder)
            elif is_news(known.manifest, manifest):
                durable.write_atomic(folder / MANIFEST, manifest.to_json(), scratch=self._work)
            else:
                return known
            self.note("staged", version=version, channel=manifest.channel, **cost)
        self._added -= {shard.sha256 for shard in manifest.shards}
        return self._store.get(version)

    def restage(self, manifest: Manifest) -> StoredSet:
        """Put a set together anew, whatever is there of it now; its trial begins anew, too (S2).

        Raises StoreError if an object is missing or damaged.
        """
        with disk_errors(f"stage set {manifest.version}", self._folder):
            self._require_objects(manifest)
            self._discard_set(manifest.version)
            self._publish_set(manifest, self._set_folder(manifest.version))
        return self._store.get(manifest.version)

    def mend_pointer(self) -> str | None:
        """Write the pointer anew, so that readers look again; what was mended about it, if so.

        A damaged pointer becomes what the history tells; one that names a set that is not whole, or
        that nothing tells of, the newest whole set (S5). Raises StoreError.
        """
        damage = self._store.pointer_damage()
        try:
            pointer = self._store.pointer()
        except StoreError:
            pointer = Pointer()
        if pointer is None or (pointer.version is None and damage is None):
            return None
        whole = self._whole_sets(pointer)
        if pointer.version not in {stored.version for stored in whole} and whole:
            damage = damage or f"set {pointer.version} is in use and is not whole"
            newest = next((s for s in whole if s.version in pointer.before), whole[0])
            pointer = pointer.model_copy(
                update={
                    "version": newest.version,
                    "channel": newest.manifest.channel,
                    "activated_at": datetime.now(UTC),
                    "before": tuple(s.version for s in whole if s.version < newest.version),
                }
            )
        with disk_errors("move the pointer", self._folder):
            durable.write_atomic(self._folder / "active", pointer.to_json(), scratch=self._work)
        return None if damage is None else f"{damage}; now {pointer.version or 'no set'} is in use"

    def _whole_sets(self, pointer: Pointer) -> list[StoredSet]:
        """Those that could be in use, newest first."""
        found = []
        for version in self._store.versions():
            with contextlib.suppress(StoreError, UsageError):
                stored = read_set(self._set_folder(version), pointer)
                if stored.defect() is None and stored.refused is None:
                    found.append(stored)
        return found

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder on the store's file system, gone afterwards."""
        with disk_errors("make a workspace", self._folder):
            folder = durable.temporary_beside(self._work / "workspace")
            folder.mkdir()
        self._workspaces.add(folder)
        try:
            yield folder
        finally:
            self._workspaces.discard(folder)
            _remove(folder)

    def record_trial(self, version: Version, trial: Trial, prepared: Path | None) -> None:
        """Keep a set's trial, and what engines made: everything in the folder ``prepared`` moves.

        Prepared files of another fingerprint stay; those of the same are replaced. The trial is
        written last, so that a set counts as proved only when all of it is there.
        """
        if trial.version != version:
            raise UsageError(f"the trial of {trial.version} says nothing about set {version}")
        stored = self._store.get(version)
        with disk_errors(f"keep the trial of set {version}", self._folder):
            if prepared is not None:
                self._move_prepared(prepared, stored.prepared)
            durable.write_atomic(stored.folder / TRIAL, trial.to_json(), scratch=self._work)
        self.note(
            "proved" if trial.passed else "trial-failed",
            version=version,
            reason="; ".join(trial.problems),
            ms=round(trial.duration_ms, 1),
        )

    def activate(
        self, version: Version, reason: str, *, by_administrator: bool = False, **details: Any
    ) -> Pointer:
        """Use a set from now on: one atomic, durable rename (S4).

        Raises StoreError if it has not passed its trial or is not whole (S2), and, unless it is
        the administrator who wants it, if it is refused or older than the active one (S7).
        """
        stored = self._usable(version)
        old = self._store.pointer() or Pointer()
        new = old.activating(
            version, stored.manifest.channel, datetime.now(UTC), by_administrator=by_administrator
        )
        by = "administrator" if by_administrator else None
        return self._point("activated", version, reason, old, new, by=by, **details)

    def rollback(self, to: Version | None, reason: str, **details: Any) -> Pointer:
        """Go back to an earlier set, by default to the one before. What is left is refused (S7).

        ``details`` are for the history. Raises StoreError, with the active set unchanged, when
        there is nothing to go back to.
        """
        old = self._store.pointer() or Pointer()
        target = self._newest_whole(old) if to is None else self._usable(to)
        new = old.going_back(target.version, target.manifest.channel, datetime.now(UTC), reason)
        left = str(old.version)
        return self._point("rolled-back", target.version, reason, old, new, left=left, **details)

    def refuse(self, version: Version, reason: str) -> None:
        """Never take this set (again). If it is in use, it stays in use (S5, S7)."""
        old = self._store.pointer() or Pointer()
        self._point("refused", version, reason, old, old.refusing(version, reason))

    def ignore(self, entry: str, reason: str) -> None:
        """Have every product on this store ignore a signature. Raises StoreError, UsageError."""
        entries = self._ignored.read() | {entry: reason}
        if len(entries) > ENTRIES_MAX:
            raise UsageError(f"{ENTRIES_MAX} signatures are ignored already: heed some again")
        self._write_ignored(entries)
        self.note("ignored", signature=entry, reason=reason)

    def heed(self, entry: str) -> None:
        """Take ``ignore`` back. Raises StoreError, UsageError if it is not ignored."""
        entries = self._ignored.read()
        if entry not in entries:
            raise UsageError(f"{entry} is not ignored. See: mailward definitions ignore")
        del entries[entry]
        self._write_ignored(entries)
        self.note("heeded", signature=entry)

    def _write_ignored(self, entries: dict[str, str]) -> None:
        content = Ignored(entries=entries).to_json()
        with disk_errors("keep the ignore list", self._folder):
            durable.write_atomic(self._ignored.path, content, scratch=self._work)  # S4

    def prune(self) -> list[Version]:
        """Remove what is over the limits of the settings; the versions that went (S6).

        The active set and the two before it stay whatever the limits say.
        """
        with disk_errors("prune", self._folder):
            self._clear_leftovers()
            gone = self._superfluous()
            for version in gone:
                self._discard_set(version)
            self._drop_objects()
        if gone:
            self.note("pruned", versions=[str(version) for version in gone])
        return gone

    def note(self, event: str, **details: Any) -> None:
        """Add a line to the history. A line that cannot be written is logged, never a failure."""
        try:
            self._history.append(event, details)
        except OSError as e:
            log.error("history cannot be written", why=str(e), lost=event, details=details)

    def _set_folder(self, version: Version) -> Path:
        return self._folder / "sets" / str(version)

    def _readable(self, version: Version) -> StoredSet | None:
        """A set that is there and not damaged. Raises OSError: what cannot be read may be whole."""
        pointer = self._store.pointer()
        try:
            return read_set(self._set_folder(version), pointer)
        except (StoreError, UsageError):
            return None

    def _usable(self, version: Version) -> StoredSet:
        stored = self._store.get(version)
        defect = stored.defect()
        if defect is not None:
            raise StoreError(f"set {version} cannot be used: {defect}")
        return stored

    def _newest_whole(self, pointer: Pointer) -> StoredSet:
        for version in pointer.before:
            with contextlib.suppress(StoreError, UsageError):
                return self._usable(version)
        raise StoreError(
            f"nothing to go back to: no whole set was active before {pointer.version or 'any'}"
        )

    def _point(
        self,
        event: str,
        version: Version,
        reason: str,
        old: Pointer,
        new: Pointer,
        **details: Any,
    ) -> Pointer:
        path, content = self._folder / "active", new.to_json()
        with disk_errors("move the pointer", self._folder):
            if path.is_file() and path.read_bytes() == content:
                return new
            durable.write_atomic(path, content, scratch=self._work)  # S4
        self.note(event, version=version, reason=reason, **details, pointer=trace(old, new))
        return new

    def _require_objects(self, manifest: Manifest) -> None:
        for shard in manifest.shards:
            if shard.sha256 in self._added:
                continue
            problem = self._objects.problem(shard.sha256, shard.size_bytes, hashing=True)
            if problem is None:
                continue
            if not self._store.has_object(shard.sha256):
                raise StoreError(f"set {manifest.version}: shard {shard.name} {problem}")
            self._objects.path(shard.sha256).unlink()
            raise TemporaryError(
                f"set {manifest.version}: shard {shard.name} was damaged at rest and is removed "
                f"({problem}); the next update fetches it again"
            )

    def _publish_set(self, manifest: Manifest, folder: Path) -> None:
        unfinished = durable.temporary_beside(self._work / folder.name)
        unfinished.mkdir()
        durable.write_atomic(unfinished / MANIFEST, manifest.to_json())
        durable.publish(unfinished, folder)

    def _move_prepared(self, source: Path, prepared: Path) -> None:
        durable.fsync_tree(source)
        durable.make_folder(prepared)
        for made in sorted(source.iterdir()):
            self._set_aside(prepared / made.name)
            os.replace(made, prepared / made.name)
        durable.fsync_folder(prepared)

    def _discard_set(self, version: Version) -> None:
        self._set_aside(self._set_folder(version))

    def _set_aside(self, path: Path) -> None:
        """Readers see all of it, and then nothing of it: it is taken apart elsewhere."""
        aside = durable.temporary_beside(self._work / path.name)
        try:
            durable.publish(path, aside)
        except FileNotFoundError:
            return
        durable.fsync_folder(path.parent)
        _remove(aside)

    def _clear_leftovers(self) -> None:
        """What writers left that are gone: whoever holds the lock owns all of ``work``."""
        for path in self._work.iterdir():
            if path not in self._workspaces:
                _remove(path)

    def _protected(self) -> frozenset[Version]:
        """The active set and the two whole ones before it (S6)."""
        pointer = self._store.pointer() or Pointer()
        whole = (v for v in pointer.before if (s := self._readable(v)) and s.defect() is None)
        two = [version for _, version in zip(range(2), whole, strict=False)]
        return frozenset([*two, *([pointer.version] if pointer.version else [])])

    def _superfluous(self) -> list[Version]:
        """The damaged, and what is over the limits."""
        protected = self._protected()
        settings = self._store.settings
        damaged, weights = [], []
        for version in self._store.versions():
            stored = self._readable(version)
            if stored is not None:
                weights.append(weigh(stored))
            elif version not in protected:
                damaged.append(version)
        return damaged + superfluous(weights, protected, settings.keep_sets, settings.max_bytes)

    def _drop_objects(self) -> None:
        """Objects that no set needs; none while it is not known what a damaged active set needs."""
        needed = set(self._added)
        for version in self._store.versions():
            stored = self._readable(version)
            if stored is None:
                return
            needed.update(shard.sha256 for shard in stored.manifest.shards)
        for path in self._objects.all():
            if path.name not in needed:
                path.unlink()


def _remove(path: Path) -> None:
    """Take apart what nobody sees any more. What resists is the next writer's to remove."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as e:
        log.warning("leftover cannot be removed yet", path=str(path), why=str(e))
