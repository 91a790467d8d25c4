"""Room in the quarantine: how much is held, what may still come, what makes room.

::

    <folder>/usage   bytes and messages held, a tally under the lock; counted anew at each start
    <folder>/lock    flock for the tally: any number of processes may share a folder
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from mailward import durable
from mailward.errors import TemporaryError
from mailward.settings.protect import QuarantineSettings

ENTRY_ID = re.compile(r"([0-9]{8}T[0-9]{6})-[0-9a-f]{8}")
RESERVED = "reserved"
"""A file of holes, as large as the entry will be: other processes count it while it is written."""
_ABANDONED_S = 3600.0
"""A half-written entry this old has lost its writer: no message takes an hour to write."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is held."""

    size_bytes: int
    messages: int

    def plus(self, size_bytes: int, messages: int) -> "Usage":
        """After a change; a tally that was wrong never goes below nothing."""
        return Usage(max(0, self.size_bytes + size_bytes), max(0, self.messages + messages))


def held_since(id_: str) -> datetime:
    """When an entry of that name was held. Raises ValueError."""
    return datetime.strptime(id_[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


class Room:
    """The tally of one folder. ``remove``: takes an entry away, False if it must stay for now."""

    def __init__(
        self, folder: Path, settings: QuarantineSettings, remove: Callable[[str], bool]
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._remove = remove
        self._counted = False

    def reserve(self, temporary: Path, size: int) -> None:
        """Make the folder ``temporary`` and count ``size`` bytes for it.

        The oldest make room if they are old enough. Raises TemporaryError when there is none.
        """
        if not self._folder.is_dir():
            durable.make_folder(self._folder.parent)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            durable.fsync_folder(self._folder.parent)  # S12: the way to an entry lasts as well
        with self._lock():
            if not self._counted:
                self._sweep()
                self._write(self._counted_anew())
                self._counted = True
            used = self._make_room(self._read(), size)
            temporary.mkdir(mode=0o700)
            (temporary / RESERVED).touch(mode=0o600)
            os.truncate(temporary / RESERVED, size)
            self._write(used.plus(size, 1))

    def take_away(self, folder: Path, remove: Callable[[], bool], size: int | None = None) -> bool:
        """Have ``remove`` take an entry away, and count it no more; False if it was not removed.

        Both under the lock: who counts anew sees all of it or nothing. ``size``: what was reserved
        for it, if it may not be there in full.
        """
        with self._lock():
            used, counted = self._read(), entry_bytes(folder) if size is None else size
            removed = remove()
            if removed:
                self._write(used.plus(-counted, -1))
            return removed

    def changed(self, folder: Path, change: Callable[[], None]) -> None:
        """Have ``change`` write an entry anew, and count what it is now."""
        with self._lock():
            used, before = self._read(), entry_bytes(folder)
            change()
            self._write(used.plus(entry_bytes(folder) - before, 0))

    def expire(self) -> list[str]:
        """Remove what was held longer than ``keep_days``; the names of what went."""
        oldest = datetime.now(UTC) - timedelta(days=self._settings.keep_days)
        gone = []
        for id_ in self.ids():
            if _since(id_) >= oldest:
                break
            if self.take_away(self._folder / id_, partial(self._remove, id_)):
                gone.append(id_)
        return gone

    def ids(self) -> list[str]:
        """The entries, the oldest first."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if ENTRY_ID.fullmatch(name))

    def _make_room(self, used: Usage, size: int) -> Usage:
        limits = self._settings
        if self._fits(used, size):
            return used
        if size <= limits.max_bytes:
            youngest = datetime.now(UTC) - timedelta(hours=limits.keep_at_least_h)
            for id_ in self.ids():
                if _since(id_) >= youngest:
                    break
                freed = entry_bytes(self._folder / id_)
                if self._remove(id_):
                    used = used.plus(-freed, -1)
                    self._write(used)
                if self._fits(used, size):
                    return used
        raise TemporaryError(
            f"quarantine {self._folder} is full: {used.size_bytes} bytes of {limits.max_bytes} "
            f"(quarantine.max_bytes), {used.messages} messages of {limits.max_messages} "
            "(quarantine.max_messages), and none is older than quarantine.keep_at_least_h. "
            "Release or delete messages, or raise the limits"
        )

    def _fits(self, used: Usage, size: int) -> bool:
        limits = self._settings
        return (
            used.size_bytes + size <= limits.max_bytes and used.messages + 1 <= limits.max_messages
        )

    def _read(self) -> Usage:
        try:
            size, messages = (self._folder / "usage").read_text(encoding="ascii").split()
            return Usage(int(size), int(messages))
        except (OSError, ValueError):
            return self._counted_anew()

    def _write(self, usage: Usage) -> None:
        path = self._folder / "usage"
        path.write_text(f"{usage.size_bytes} {usage.messages}", encoding="ascii")
        path.chmod(0o600)

    def _counted_anew(self) -> Usage:
        """Under the lock nobody begins an entry, but those begun before get their names without it,
        and what is renamed while a folder is listed may be in the list under neither name. So it
        is listed until nothing has changed meanwhile.
        """
        names = self._folders()
        while True:
            sizes = [entry_bytes(self._folder / name) for name in names]
            before, names = names, self._folders()
            if names == before:
                return Usage(sum(sizes), len(sizes))

    def _folders(self) -> set[str]:
        return {path.name for path in self._folder.iterdir() if path.is_dir()}

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            if durable.is_temporary(path) and time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)

    def _lock(self) -> contextlib.AbstractContextManager[None]:
        return durable.alone(self._folder / "lock")


def entry_bytes(folder: Path) -> int:
    """What an entry counts, finished or not; 0 when it vanishes meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / RESERVED).stat().st_size
    total = 0
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _since(id_: str) -> datetime:
    try:
        return held_since(id_)
    except ValueError:  # a name of ours with an impossible date: the oldest there is
        return datetime.min.replace(tzinfo=UTC)
