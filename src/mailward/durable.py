"""Files that are whole or absent, whatever happens in between: write, fsync, rename, fsync the folder.

The pattern is that of restic's local backend and of ``renameio``. Linux and POSIX only: a rename
within a file system is atomic, and is on disk once the folder has been fsynced.
"""

import os
import secrets
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


def write_atomic(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``content``: the old or the new content is there at every instant (S4).

    Raises OSError, with ``path`` as it was and nothing left beside it.
    """
    temporary = temporary_beside(path)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file or folder its real name, durably. Its content must be fsynced already."""
    os.replace(temporary, path)
    fsync_folder(path.parent)
