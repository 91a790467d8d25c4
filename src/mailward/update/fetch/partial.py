"""Downloads that outlive the process: what has come is kept, and the rest fetched later.

Files are named by what they become, so a file goes on with any server that has it. Nothing here
is checked but sizes: whoever uses the content checks its hash, and drops what is wrong (S1).
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mailward import durable
from mailward.errors import FetchError
from mailward.update.fetch.base import CHUNK_BYTES, Fetcher, NotResumableError

_SMALL_STEPS_MAX = 5
"""Connections in a row that broke off within a chunk; who gives less is left for the next time."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A file to fetch."""

    url: str
    name: str
    """Of the partial file; says what the content is."""
    size_bytes: int
    """At most."""


class StoppedError(FetchError):
    """Nobody wants the downloads any more."""


class Partials:
    """The folder of unfinished downloads. Threads may share it, each with frames of its own."""

    def __init__(self, folder: Path, fetcher: Fetcher) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._done: dict[str, int] = {}
        self._carried_on: set[str] = set()

    @property
    def done_bytes(self) -> int:
        """Of all frames asked for up to now, those that had come earlier included."""
        with self._lock:
            return sum(self._done.values())

    def keep_only(self, names: Collection[str]) -> None:
        """Remove what earlier updates left and this one does not need. Raises OSError."""
        durable.make_folder(self._folder)
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink()

    def forget_carried_on(self, frame: Frame) -> bool:
        """Whether its download went on from what an earlier update left; says so only once."""
        with self._lock:
            carried_on = frame.name in self._carried_on
            self._carried_on.discard(frame.name)
        return carried_on

    def drop(self, frame: Frame) -> None:
        """Remove what has come of it: it is used up, or wrong. Raises OSError."""
        (self._folder / frame.name).unlink(missing_ok=True)

    def fetch(self, frame: Frame) -> Path:
        """The whole file. Raises FetchError with what has come kept; OSError."""
        path = self._folder / frame.name
        small_steps = 0
        while True:
            before = path.stat().st_size if path.exists() else 0
            try:
                self._go_on(path, frame)
                return path
            except NotResumableError:
                if not before:
                    raise
                self.drop(frame)
            except StoppedError:
                raise
            except FetchError:
                came = path.stat().st_size - before
                small_steps = 0 if came >= CHUNK_BYTES else small_steps + 1
                if came <= 0 or small_steps == _SMALL_STEPS_MAX:
                    raise

    def stop(self) -> None:
        """End all downloads at their next chunk, with StoppedError."""
        self._stopped.set()

    def _go_on(self, path: Path, frame: Frame) -> None:
        with path.open("ab") as file:
            start = file.tell()
            self._begin(frame, start)
            if start > frame.size_bytes:
                raise NotResumableError(f"{path}: longer than {frame.size_bytes} bytes")
            if start == frame.size_bytes:
                return
            for chunk in self._fetcher.fetch(frame.url, frame.size_bytes, start):
                file.write(chunk)
                self._count(frame, file.tell())
                if self._stopped.is_set():
                    raise StoppedError(f"{frame.url}: stopped")

    def _begin(self, frame: Frame, start: int) -> None:
        with self._lock:
            if start and frame.name not in self._done:
                self._carried_on.add(frame.name)
            self._done[frame.name] = start

    def _count(self, frame: Frame, done_bytes: int) -> None:
        with self._lock:
            self._done[frame.name] = done_bytes
