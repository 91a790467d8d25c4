"""One updater for a store: of several instances that share it, the one that was told to.

The lock is the kernel's, held for as long as the instance runs (``lock`` is for single writes,
which `mailward update` makes beside a running service). Who holds it stands in the file.
"""

import contextlib
import fcntl
import getpass
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mailward import durable
from mailward.definitions.disk import disk_errors
from mailward.errors import ConfigError

UPDATER = "updater"
NOBODY = "nobody"
_OWNER_MAX_BYTES = 4096


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the updater of the store in ``folder``. Raises ConfigError, naming who is, StoreError."""
    path = folder / UPDATER
    with disk_errors("be its updater", folder):
        durable.make_folder(folder)
        fd = _open(path)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"update.role: {folder} has its updater already, {owner(folder)}: set update.role "
                'to "reader" here, or end the other one'
            ) from None
        if not os.access(path, os.W_OK):
            raise ConfigError(
                f"update.role: {folder} belongs to another user: run the updater as that user, or "
                'set update.role to "reader"'
            )
        _sign(fd)
        yield
    finally:
        os.close(fd)


def owner(folder: Path) -> str:
    """Who updates the store, for people; ``nobody`` if nobody does at the moment."""
    path = folder / UPDATER
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = json.loads(file.read(_OWNER_MAX_BYTES))
                return f"process {said['pid']} of {said['user']} since {said['since']}"
    except OSError:
        return NOBODY
    except (ValueError, KeyError, TypeError):
        return "another process"
    return NOBODY


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # enough to see who has it


def _sign(fd: int) -> None:
    plain = {
        "pid": os.getpid(),
        "user": getpass.getuser(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(plain).encode(), 0)
