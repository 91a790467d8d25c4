"""What the operating system says about the disk, in the store's words."""

import contextlib
import errno
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


def no_room(doing: str, folder: Path, why: str) -> StoreError:
    """No room means: refuse, and go on scanning (S6)."""
    return StoreError(
        f"no room to {doing} in {folder}: {why}. Free some space or lower store.keep_sets; "
        "the active set goes on scanning"
    )
