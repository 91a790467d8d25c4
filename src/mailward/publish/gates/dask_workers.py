"""Workers on other computers, through a Dask scheduler (the extra ``mailward[dask]``).

They need this release of Mailward and nothing else: the set and the files travel to them. Whoever
can reach a scheduler can run code on its workers: keep it in a network of its own.
"""

import hashlib
import importlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from mailward.definitions.model import ShardKind
from mailward.errors import TemporaryError, UsageError
from mailward.publish.gates.base import Subject
from mailward.publish.gates.files import File, Found, batches, judged
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet, prepare
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings

_CONNECT_TIMEOUT_S = 15

_AHEAD = 3
"""Batches on their way for each thread of the cluster: it is never idle, and memory is bounded."""

Shards = tuple[tuple[str, str, bytes], ...]
"""Name, kind and content of each."""


@dataclass(frozen=True, slots=True)
class DaskWorkers:
    """A Dask cluster."""

    subject: Subject
    address: str
    """Of its scheduler: HOST:PORT."""

    def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
        """See ``Workers.run``. Raises UsageError without the extra, TemporaryError."""
        dask = _distributed()
        try:
            client = dask.Client(self.address, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as e:
            raise TemporaryError(
                f"--workers {self.address}: no Dask scheduler answers there: {e}"
            ) from e
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise TemporaryError(f"--workers {self.address}: the cluster has no worker")
            for found in _run(dask, client, threads, self._shards(), files):
                told(found)

    def _shards(self) -> Shards:
        return tuple((s.name, s.kind.value, s.path.read_bytes()) for s in self.subject.sources)


def _run(
    dask: ModuleType, client: Any, threads: int, shards: Shards, files: Iterator[File]
) -> Iterator[list[Found]]:
    key = hashlib.sha256(b"".join(hashlib.sha256(s[2]).digest() for s in shards)).hexdigest()
    everywhere = client.scatter([shards], broadcast=True, hash=False)[0]
    coming = batches(files)
    waiting: dict[Any, list[File]] = {}
    done = dask.as_completed(loop=client.loop)

    def hand_out() -> None:
        batch = next(coming, None)
        if batch is not None:
            sent = [_with_content(file) for file in batch]
            future = client.submit(scan_there, key, everywhere, sent, pure=False, retries=1)
            waiting[future] = batch
            done.add(future)

    for _ in range(threads * _AHEAD):
        hand_out()
    for future in done:
        yield _outcome(future, waiting.pop(future))
        hand_out()


def _with_content(file: File) -> File:
    try:
        return replace(file, content=Path(file.path).read_bytes())
    except OSError:
        return file  # went away meanwhile: the worker will say so


def _distributed() -> ModuleType:
    try:
        return importlib.import_module("distributed")
    except ImportError as e:
        raise UsageError(
            "--workers needs Dask, which is not installed: pip install 'mailward[dask]'"
        ) from e


def _outcome(future: Any, batch: list[File]) -> list[Found]:
    """The answer, or who is to blame for there being none: a worker that died, an error there."""
    error = future.exception()
    if error is None:
        found: list[Found] = future.result()
        return found
    why = f"failed on a worker: {type(error).__name__}: {error}"[:300]
    return [Found(file.path, file.key, trouble=why) for file in batch]


class _Sets:
    """The set that this worker process has prepared; each of its threads has its own scanner."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._mine = threading.local()

    def scanner(self, key: str, shards: Shards) -> Scanner:
        with self._lock:
            if self._folder is None or self._key != key:
                self._folder = tempfile.TemporaryDirectory(prefix="mailward-worker-")
                _prepare(Path(self._folder.name), shards)
                self._key = key
            if getattr(self._mine, "key", "") != key:
                prepared = Path(self._folder.name) / "prepared"
                loaded = LoadedSet.load("check", prepared, all_engines())
                self._mine.scanner = Scanner(loaded, ScanSettings())
                self._mine.key = key
        scanner: Scanner = self._mine.scanner
        return scanner


_sets = _Sets()


def scan_there(key: str, shards: Shards, batch: list[File]) -> list[Found]:
    """On a worker: prepare the set if it is new here, and scan."""
    scanner = _sets.scanner(key, shards)
    return [_scan(scanner, file) for file in batch]


def _scan(scanner: Scanner, file: File) -> Found:
    if file.content is None:
        return Found(file.path, file.key, trouble="cannot be read")
    verdict = scanner.scan(file.content, role=Role.FILE, name=Path(file.path).name)
    return judged(file, verdict)


def _prepare(folder: Path, shards: Shards) -> None:
    sources = []
    for number, (name, kind, content) in enumerate(shards):
        path = folder / f"shard-{number}"
        path.write_bytes(content)
        sources.append(Source(name, ShardKind(kind), path))
    prepare(sources, all_engines(), folder / "prepared")
