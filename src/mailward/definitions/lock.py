"""One writer per store (S8): a lock that the kernel gives back when its owner is gone.

``flock`` belongs to the open file, so it ends with the process that opened it, however that ended:
there is no stale lock to judge. Python's files are closed in children that run another program; a
child made by a bare ``fork`` would hold the lock as long as it lives: make none while writing.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mailward import durable
from mailward.errors import BusyError


@contextlib.contextmanager
def hold(path: Path, purpose: str) -> Iterator[None]:
    """Hold the lock file ``path``. Raises BusyError at once, naming the owner; OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"the definition store {path.parent} is being written by {_owner(fd)}: "
                "try again when that is done"
            ) from None
        _sign(fd, {"pid": os.getpid(), "purpose": purpose, "since": _now()})
        try:
            yield
        finally:
            _sign(fd, {})
    finally:
        os.close(fd)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sign(fd: int, owner: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # a full disk: the name is lost, the lock is not
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        if owner:
            durable.write_all(fd, json.dumps(owner).encode())


def _owner(fd: int) -> str:
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
        return f"process {owner['pid']} ({owner['purpose']}) since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
