"""What waits to be told, on disk: it is told after all when the process that knew of it is killed.

::

    <folder>/<random>/lock        held as long as the process lives whose notices these are
    <folder>/<random>/<number>    a notice as JSON

Several processes use one folder. The next one to start takes over what those that are gone have
left. Nothing is fsynced: notices outlive a process, not the power; messages are held by then.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from itertools import count
from pathlib import Path

import structlog

from mailward import durable
from mailward.protect.notify.notice import Notice
from mailward.rules import Action, Audience

log = structlog.get_logger(__name__)

_LOCK = "lock"


class WaitingNotices:
    """The notices of this process. Blocks; every method raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own: Path | None = None
        self._lock = -1

    def open(self) -> dict[int, Notice]:
        """Begin with what those that are gone have left, under numbers from 0 on."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with durable.alone(self._folder / _LOCK):
            left = sorted(path for path in self._folder.iterdir() if path.is_dir())
            own = self._folder / secrets.token_hex(8)
            own.mkdir(mode=0o700)
            self._lock = _lock(own / _LOCK)
            for folder in left:
                self._take_over(folder, own)
        taken = {int(path.name): notice for path in _files(own) for notice in _read(path)}
        self._own = own  # not before: new ones would get the numbers of those that were left
        return taken

    def keep(self, notices: Mapping[int, Notice]) -> None:
        """Put them down, each under its number."""
        if self._own is not None:
            for number, notice in notices.items():
                # Not by pydantic, which takes no addresses that are no Unicode.
                (self._own / str(number)).write_text(json.dumps(asdict(notice), default=str))

    def forget(self, numbers: Iterable[int]) -> None:
        """They were told, or will never be."""
        if self._own is not None:
            for number in numbers:
                (self._own / str(number)).unlink(missing_ok=True)

    def close(self) -> None:
        """End; what is still there is for the next one."""
        if self._own is None:
            return
        if not _files(self._own):
            shutil.rmtree(self._own)
        os.close(self._lock)
        self._own = None

    def _take_over(self, folder: Path, own: Path) -> None:
        lock = _lock(folder / _LOCK)
        if lock < 0:
            return
        try:
            numbers = count(len(_files(own)))
            for path in _files(folder):
                path.rename(own / str(next(numbers)))
            shutil.rmtree(folder)
        finally:
            os.close(lock)


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def _lock(path: Path) -> int:
    """A descriptor that holds it; -1 if somebody else does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def _read(path: Path) -> list[Notice]:
    """None if it cannot be read: it was being written at the end of a process, or damaged."""
    try:
        plain = json.loads(path.read_bytes())
        values = plain | {
            "audience": Audience(plain["audience"]),
            "action": Action(plain["action"]),
            "at": datetime.fromisoformat(plain["at"]),
            "recipients": tuple(plain["recipients"]),
        }
        return [Notice(**values)]
    except (ValueError, KeyError, TypeError, RecursionError):
        log.warning("a notification that was left cannot be read; it is dropped", path=str(path))
        path.unlink()
        return []
