"""Child processes that scan the same files with one set each, and say what it took."""

import multiprocessing
import resource
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from mailward.errors import FormatError, PublishError
from mailward.publish.gates.files import below
from mailward.scan import known_good as built_in
from mailward.scan.engines import all_engines
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings

FILES_MAX = 200
FILE_MAX_BYTES = 1024 * 1024
"""Taken from the known-good collection at even distances: some seconds a round at most."""

ROUND_MIN_S = 0.2
"""Of processor time for a set's round: a few files are scanned until it is reached."""

_REPEATS_MAX = 50
_ANSWER_TIMEOUT_S = 600.0
_MEMORY_BYTES = 4 << 30

_SPAWN = multiprocessing.get_context("spawn")

Corpus = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one set."""

    cpu_s: float
    """Processor time for all files once."""
    memory_bytes: int
    """Private memory of the process, less what it had before it loaded the set."""
    names: tuple[str, ...]
    files_s: tuple[float, ...]
    """Processor time for each file."""


def corpus(known_good: Sequence[Path]) -> Corpus:
    """Built-in messages, and some files of the collection."""
    files = [(f"built-in message '{name}'", data) for name, data in built_in.messages()]
    paths = [path for path in below(known_good) if path.stat().st_size <= FILE_MAX_BYTES]
    step = max(1, -(-len(paths) // FILES_MAX))
    return files + [(path.name, path.read_bytes()) for path in paths[::step]]


class Probe:
    """The children: one for each set, in the order of ``prepared``. Use it as a context."""

    def __init__(self, prepared: Sequence[Path], files: Corpus) -> None:
        self._prepared = prepared
        self._files = files
        self._children: list[_Child] = []
        self._repeats = 1

    def __enter__(self) -> "Probe":
        """Load all sets, and see how often files must be scanned. Raises PublishError."""
        try:
            for path in self._prepared:
                self._children.append(_Child(path, self._files))
            warm = self.round()
        except BaseException:
            self.__exit__()
            raise
        quickest = max(min(each.cpu_s for each in warm), 1e-6)
        self._repeats = min(_REPEATS_MAX, max(1, round(ROUND_MIN_S / quickest)))
        return self

    def __exit__(self, *_: object) -> None:
        """End them."""
        for child in self._children:
            child.end()

    def round(self) -> list[Measured]:
        """All files with each set, one set after the other. Raises PublishError."""
        return [child.ask(self._repeats) for child in self._children]


class _Child:
    def __init__(self, prepared: Path, files: Corpus) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_child, args=(theirs, str(prepared), files), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, repeats: int) -> Measured:
        try:
            self._connection.send(repeats)
            if not self._connection.poll(_ANSWER_TIMEOUT_S):
                raise PublishError(f"measuring: a child has been silent for {_ANSWER_TIMEOUT_S} s")
            answer = self._connection.recv()
        except (EOFError, OSError) as e:
            self._process.join()
            raise PublishError(
                f"measuring: a child ended with exit code {self._process.exitcode}"
            ) from e
        if not isinstance(answer, Measured):
            raise PublishError(f"measuring: {answer}")
        return answer

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _child(connection: Connection, prepared: str, files: Corpus) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = _private_bytes()
    try:
        loaded = LoadedSet.load("check", Path(prepared), all_engines())
    except FormatError as e:
        connection.send(str(e))
        return
    scanner = Scanner(loaded, ScanSettings())
    with suppress(EOFError):  # the parent is gone
        while True:
            repeats = connection.recv()
            connection.send(_round(scanner, files, repeats, before))


def _round(scanner: Scanner, files: Corpus, repeats: int, before: int) -> Measured:
    spent = [0.0] * len(files)
    for _ in range(repeats):
        for number, (name, data) in enumerate(files):
            began = time.process_time()
            scanner.scan(data, role=Role.FILE, name=name)
            spent[number] += time.process_time() - began
    each = tuple(seconds / repeats for seconds in spent)
    return Measured(
        cpu_s=sum(each),
        memory_bytes=max(0, _private_bytes() - before),
        names=tuple(name for name, _ in files),
        files_s=each,
    )


def _private_bytes() -> int:
    """Anonymous memory: what another process does not share."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0
