"""What the operating system says about the disk, in the store's words."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from mailward.errors import StoreError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextlib.contextmanager
def disk_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn an OSError of the body into a StoreError that says what was being done, and where."""
    try:
        yield
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise no_room(doing, folder, e.strerror or "disk full") from e
        raise StoreError(f"cannot {doing} in {folder}: {e.strerror or e}") from e


def unwritable(folder: Path, min_free_bytes: int) -> str | None:
    """Why nothing new can be kept below ``folder``; None if it can. Only asks, and writes nothing.

    Raises OSError.
    """
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return None  # nothing was kept there yet
    if found.f_flag & os.ST_RDONLY:
        return f"{folder} is on a file system that is read-only: is the disk in order?"
    free = found.f_bavail * found.f_frsize
    if free < min_free_bytes:
        return (
            f"no room for new definitions in {folder}: {free} bytes are free and {min_free_bytes} "
            "are to stay free (store.min_free_bytes)"
        )
    if found.f_files and not found.f_favail:
        return f"no room for new definitions in {folder}: the file system has no inodes left"
    return None


def no_room(doing: str, folder: Path, why: str) -> StoreError:
    """No room means: refuse, and go on scanning (S6)."""
    return StoreError(
        f"no room to {doing} in {folder}: {why}. Free some space or lower store.keep_sets; "
        "the active set goes on scanning"
    )
