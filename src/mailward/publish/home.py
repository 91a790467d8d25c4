"""A publisher's folder: where things are in it, and the lock that keeps two publishers apart.

::

    keys/                       private keys, for nobody else to read
    public/                     what any web server serves
      metadata/ targets/        signed
      objects/ patches/         named by their hashes
    candidates/<version>/       built sets and the reports on them
    lock                        held while something is written
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailward import durable
from mailward.errors import BusyError, UsageError

_LOCK_WAIT_S = 30.0
"""Publishing takes seconds; who still waits after this is told to come back."""

_LOCK_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Home:
    """A publisher's folder."""

    folder: Path

    @property
    def keys(self) -> Path:
        """Private keys: never below ``public``."""
        return self.folder / "keys"

    @property
    def public(self) -> Path:
        """The repository as agents see it."""
        return self.folder / "public"

    @property
    def metadata(self) -> Path:
        """Signed roles."""
        return self.public / "metadata"

    @property
    def targets(self) -> Path:
        """Manifests and what channels offer."""
        return self.public / "targets"

    @property
    def candidates(self) -> Path:
        """Built sets."""
        return self.folder / "candidates"

    def object_path(self, sha256: str) -> Path:
        """A shard's zstd frame."""
        return self.public / "objects" / sha256[:2] / f"{sha256}.zst"

    def patch_path(self, old: str, new: str) -> Path:
        """The frame that turns content ``old`` into ``new``."""
        return self.public / "patches" / new[:2] / new / f"{old}.zst"

    def require(self) -> None:
        """Raises UsageError unless ``repo init`` has been here and finished."""
        if not (self.metadata / "timestamp.json").is_file():
            raise UsageError(
                f"{self.folder} is not a publisher's folder: make one with"
                f" `mailward repo init --repo {self.folder}`"
            )

    @contextmanager
    def lock(self, wait_s: float = _LOCK_WAIT_S) -> Iterator[None]:
        """Be the only one who writes here (S8). Raises BusyError after ``wait_s``.

        The kernel lets go of it when its holder dies, so there is nothing to break.
        """
        durable.make_folder(self.folder)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _take(fd, self.folder, time.monotonic() + wait_s)
            os.truncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)


def tidy(home: Home) -> None:
    """Remove the unfinished files of publishers that were killed. The caller holds the lock."""
    for path in list(home.folder.rglob("*")):
        if durable.is_temporary(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write(path: Path, content: bytes) -> None:
    """``durable.write_atomic`` that makes the folder first."""
    durable.make_folder(path.parent)
    durable.write_atomic(path, content)


def _take(fd: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                raise BusyError(
                    f"another publisher (process {owner}) is writing in {folder}: try again later"
                ) from None
            time.sleep(_LOCK_POLL_S)
        else:
            return
