"""Files that are whole or absent, whatever happens: write, fsync, rename, fsync the folder.

The pattern is that of restic's local backend and of ``renameio``. Linux and POSIX only: a rename
within a file system is atomic, and is on disk once the folder has been fsynced.
"""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY_PREFIX = ".tmp-"


def temporary_beside(path: Path) -> Path:
    """A fresh name in ``path``'s folder, so that a rename from it never crosses file systems."""
    return path.with_name(f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}")


def is_temporary(path: Path) -> bool:
    """Whether ``path`` was made by ``temporary_beside``: left over, if its writer is gone."""
    return path.name.startswith(_TEMPORARY_PREFIX)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_tree(folder: Path) -> None:
    """Make all of ``folder`` durable. Raises OSError, also for what is no file or folder."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            fsync_tree(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            _fsync_file(entry.path)
        else:
            raise OSError(errno.EINVAL, "neither a file nor a folder", entry.path)
    fsync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and what is missing above it, durably. It may exist already."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):  # somebody else made it meanwhile
        folder.mkdir()
    fsync_folder(folder.parent)


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Only one process at a time is in here; ``lock`` is a file that stays. Blocks."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write all of ``content``: one call may write less than it was given."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_atomic(
    path: Path, content: bytes, mode: int = 0o644, scratch: Path | None = None
) -> None:
    """Replace ``path`` by ``content``: the old or the new content is there at every instant (S4).

    ``scratch``: a folder of the same file system for the unfinished file; default: beside ``path``.
    Raises OSError, with nothing left beside it and ``path`` as it was (or as it was to be, when the
    disk failed after the rename).
    """
    temporary = temporary_beside(path if scratch is None else scratch / path.name)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish(temporary: Path, path: Path) -> None:
    """Give a finished and fsynced file or folder its real name, durably."""
    os.replace(temporary, path)
    fsync_folder(path.parent)


def _fsync_file(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
