"""The worker process: loads sets, scans, and does nothing else. Forked by ``forking``.

It ends when its socket does. Whatever goes wrong in it ends it, with a trace on standard error: the
pool has another forked (S13).

It has no network and starts no programs. What it may write is decided by the first request: to
prepare, below that folder and nothing else; any other, nothing at all.
"""

import contextlib
import ctypes
import gc
import resource
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.errors import FormatError
from mailward.scan import frames
from mailward.scan.engine import Engine, Source
from mailward.scan.explain import explain
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet, missing, prepare
from mailward.scan.sandbox import confine
from mailward.scan.scanner import Scanner
from mailward.settings.base import MIB
from mailward.settings.scan import ScanSettings

_MEMORY_BYTES = 4096 * MIB
"""Private memory: two large sets during a swap, and all parts of a message with copies of some."""
_OPEN_FILES_MAX = 256
_TIDY_BYTES = MIB
"""Messages from here on are tidied up after, once they are answered: some milliseconds."""
_YOUNG_MAX = 10_000
"""New values that are looked through for cycles at once. Few parsers leave any, and Python's 700
took 1.5 % of the time of ordinary mail; so many are 0.3 MB."""
_C_LIBRARY = ctypes.CDLL(None)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""mallopt(3)."""
_APART_BYTES = 256 * 1024
"""What is larger is memory of its own and given back at once. Else the limit grows with what is
freed, up to 32 MB, and what is kept for long comes to lie above the room of large messages."""
_ALARM_EXTRA_S = 1.0
"""The pool ends a worker that is late. Should the pool be gone, the worker ends itself."""
LOAD_TIMEOUT_S = 120.0
"""Loading takes milliseconds; preparing, when it must be done here, some seconds."""


Engines = Sequence[Engine]


class Worker:
    """Answers the pool's requests, one after the other."""

    def __init__(self, engines: Engines, settings: ScanSettings) -> None:
        self._engines = engines
        self._settings = settings
        self._loaded: LoadedSet | None = None

    def serve(self, connection: socket.socket) -> None:
        """Until the other side is gone."""
        request = frames.receive(connection)
        if request is not None:
            first = request[0]
            confine([Path(first["into"])] if first["do"] == "prepare" else [])
        while request is not None:
            frames.send(connection, self._answer(*request))
            if len(request[1]) >= _TIDY_BYTES:
                tidy()
            request = frames.receive(connection)

    def _answer(self, header: frames.Header, body: bytes) -> frames.Header:
        match header["do"]:
            case "load":
                with _alarm(LOAD_TIMEOUT_S):
                    return self._load(header["version"], Path(header["prepared"]))
            case "prepare":
                with _alarm(LOAD_TIMEOUT_S):
                    return self._prepare(header["sources"], Path(header["into"]))
            case "scan":
                with _alarm(self._settings.message_timeout_s):
                    return self._scan(body, Role(header["role"]), header["name"])
            case "explain":
                with _alarm(self._settings.message_timeout_s):
                    return self._explain(body, header["name"])
        raise ValueError(f"no such request: {header['do']}")

    def _load(self, version: str, prepared: Path) -> frames.Header:
        """The new set beside the old one, which stays in use if anything is wrong (S5)."""
        unprepared = missing(prepared, self._engines)
        if unprepared:
            return {"missing": [engine.name for engine in unprepared]}
        try:
            fresh = LoadedSet.load(version, prepared, self._engines)
        except (FormatError, OSError) as e:
            return {"error": str(e)}
        self._loaded, old = fresh, self._loaded
        if old is not None:
            old.close()
        return {}

    def _prepare(self, sources: list[list[str]], into: Path) -> frames.Header:
        try:
            prepare(
                [Source(name, ShardKind(kind), Path(path)) for name, kind, path in sources],
                self._engines,
                into,
            )
        except (FormatError, OSError) as e:
            return {"error": str(e)}
        return {}

    def _scan(self, data: bytes, role: Role, name: str) -> frames.Header:
        if self._loaded is None:
            raise ValueError("asked to scan before a set was loaded")
        # Of the processor, not of the clock: what else the computer does is not the set's fault.
        began = time.process_time()
        verdict = Scanner(self._loaded, self._settings).scan(data, role=role, name=name)
        cpu_ms = (time.process_time() - began) * 1000
        return {"verdict": verdict.to_plain(), "cpu_ms": cpu_ms}

    def _explain(self, data: bytes, name: str) -> frames.Header:
        if self._loaded is None:
            raise ValueError("asked to explain before a set was loaded")
        scanner = Scanner(self._loaded, self._settings)
        return explain(scanner, data, Role.FILE, name).to_plain()


def tidy() -> None:
    """Give back what a large message took: trees of documents refer to themselves, and are found by
    the collector only; the C library keeps what was freed below what was not.

    What is left is kept for long (signatures made ready) and need not be looked through again: that
    was 30 ms of each message."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):  # another C library than GNU's
        _C_LIBRARY.malloc_trim(0)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds + _ALARM_EXTRA_S)  # its default action: the end
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES_MAX, _OPEN_FILES_MAX))
    # Not the address space: engines reserve much of it that they never touch, and map shared files.
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))


def set_allocator() -> None:
    """For this process and those that are forked from it."""
    with contextlib.suppress(AttributeError):  # another C library than GNU's
        _C_LIBRARY.mallopt(_M_MMAP_THRESHOLD, _APART_BYTES)
        _C_LIBRARY.mallopt(_M_TRIM_THRESHOLD, MIB)


def run(connection: socket.socket, engines: Engines, settings: ScanSettings) -> None:
    """Be a worker, until the other side is gone."""
    _limit()
    gc.set_threshold(_YOUNG_MAX)
    with contextlib.suppress(ConnectionError):
        Worker(engines, settings).serve(connection)
