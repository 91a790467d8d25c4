"""A publisher's folder: where things are in it, and the lock that keeps two publishers apart.

::

    keys/                       private keys, for nobody else to read
    public/                     what any web server serves
      metadata/ targets/        signed
      objects/ patches/         named by their hashes
    candidates/<version>/       built sets and the reports on them
    feeds/<name>/               each feed's last good content
    publisher.toml              feeds, gates and schedule, for people to edit
    checks/<version>/           what stringent checks have scanned already
    excluded.txt                signatures left out of every set, for people to edit
    known-bad.jsonl             which samples were found, and by what
    pending.json                signed files still to be put into public/, all or none
    pruning.json                since when which public file is not needed any more
    watch.json                  how `repo watch` fares
    license-usage.json          how many servers use each license
    lock, watch.lock            held while something is written; while `repo watch` runs
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mailward import durable
from mailward.definitions.model import Value, read_value
from mailward.errors import BusyError, FormatError, PublishError, UsageError

_LOCK_WAIT_S = 30.0
"""Publishing takes seconds; who still waits after this is told to come back."""

_LOCK_POLL_S = 0.05

_PENDING_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Write:
    """A file of the repository that is to be there."""

    path: Path
    content: bytes


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

    @property
    def checks(self) -> Path:
        """How far checks have come: may be removed at any time."""
        return self.folder / "checks"

    @property
    def prepared(self) -> Path:
        """What the set checked last was prepared to."""
        return self.folder / "prepared"

    @property
    def watch_lock(self) -> Path:
        """Held while `repo watch` runs."""
        return self.folder / "watch.lock"

    @property
    def license_usage(self) -> Path:
        """How many servers use each license."""
        return self.folder / "license-usage.json"

    @property
    def excluded(self) -> Path:
        """Signatures that every set leaves out."""
        return self.folder / "excluded.txt"

    @property
    def known_bad(self) -> Path:
        """Samples that must go on being found."""
        return self.folder / "known-bad.jsonl"

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

        The kernel lets go of it when its holder dies, so there is nothing to break; what its holder
        had begun is finished first. A disk that fails meanwhile is a PublishError.
        """
        try:
            with held(self.folder / "lock", "writing in", wait_s):
                _finish(self)
                yield
        except OSError as e:
            raise PublishError(
                f"{self.folder}: the disk failed: {e.strerror or e}"
                f"{f' ({e.filename})' if e.filename else ''}: what agents see is whole; make room"
                " or repair it, and try again"
            ) from e


def tidy(home: Home) -> None:
    """Remove the unfinished files of publishers that were killed. The caller holds the lock."""
    for folder in (home.keys, home.public, home.candidates, home.folder / "feeds"):
        for path in list(folder.rglob("*")):
            if durable.is_temporary(path):
                # One may lie in another, and be gone with it.
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    """``durable.write_atomic`` that makes the folder first."""
    durable.make_folder(path.parent)
    durable.write_atomic(path, content)


def write_in_order(writes: Sequence[Write]) -> None:
    """Write files, one whole after the other. The caller holds the lock."""
    for each in writes:
        write(each.path, each.content)


def write_all(home: Home, writes: Sequence[Write]) -> None:
    """Write signed files of which no single one publishes the others: once begun, all of them will
    be there, after a crash with the next command. The caller holds the lock."""
    pending = _Pending(
        files=tuple(
            _PendingFile(
                path=str(each.path.relative_to(home.public)), content=each.content.decode()
            )
            for each in writes
        )
    )
    durable.write_atomic(home.folder / "pending.json", pending.to_json(), scratch=home.public)
    _finish(home)


class _PendingFile(Value):
    path: Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9._/-]+$")]
    content: str


class _Pending(Value):
    files: tuple[_PendingFile, ...]


def _finish(home: Home) -> None:
    path = home.folder / "pending.json"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    try:
        pending = read_value(_Pending, raw, _PENDING_MAX_BYTES, "pending.json")
    except FormatError as e:
        raise PublishError(f"{path} is damaged ({e}): bring it back from a copy") from e
    write_in_order(
        [Write(home.public / each.path, each.content.encode()) for each in pending.files]
    )
    path.unlink()
    durable.fsync_folder(path.parent)


@contextmanager
def held(path: Path, doing: str, wait_s: float) -> Iterator[None]:
    """Hold the lock file ``path``. Raises BusyError after ``wait_s``, OSError."""
    durable.make_folder(path.parent)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(fd, f"{doing} {path.parent}", time.monotonic() + wait_s)
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _take(fd: int, doing: str, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                owner = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
                raise BusyError(
                    f"another publisher (process {owner}) is {doing}: try again later"
                ) from None
            time.sleep(_LOCK_POLL_S)
        else:
            return
