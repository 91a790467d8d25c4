"""The pool's end of a worker process: have it forked, ask it, end it."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mailward.errors import FormatError
from mailward.scan import frames
from mailward.scan.engine import Source
from mailward.scan.explain import Explanation
from mailward.scan.part import Role
from mailward.scan.verdict import Verdict
from mailward.scan.worker import LOAD_TIMEOUT_S
from mailward.scan.worker_parent import Forked, WorkerParent
from mailward.settings.scan import ScanSettings

_END_TIMEOUT_S = 2.0
"""For a worker that was told to end, or is ending by itself; then it is killed."""


class WorkerLostError(Exception):
    """The worker ended, or was too late and has been ended. ``late`` tells which."""

    def __init__(self, how: str, *, late: bool = False) -> None:
        super().__init__(how)
        self.late = late


class WorkerProcess:
    """One worker. One request at a time."""

    def __init__(
        self,
        forked: Forked,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: ScanSettings,
        on_end: Callable[[], None],
    ) -> None:
        self.version = ""
        """Of the set that it scans with; empty before one is loaded."""
        self._forked = forked
        self._reader = reader
        self._writer = writer
        self._settings = settings
        forked.ended.add_done_callback(lambda _: on_end())

    @classmethod
    async def start(
        cls, parent: WorkerParent, on_end: Callable[[], None] = lambda: None
    ) -> "WorkerProcess":
        """A new process. ``on_end`` is called when it is gone. Raises OSError."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                forked = await parent.fork(theirs)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        return cls(forked, reader, writer, parent.settings, on_end)

    @property
    def alive(self) -> bool:
        """Whether the process is still there."""
        return not self._forked.ended.done()

    async def load(self, version: str, prepared: Path) -> list[str]:
        """Switch to a set. The names of engines that have no prepared files: then nothing changed.

        Raises FormatError if it cannot be loaded, WorkerLostError.
        """
        header = {"do": "load", "version": version, "prepared": str(prepared)}
        answer = await self._ask(header, LOAD_TIMEOUT_S)
        _raise_error(answer)
        missing: list[str] = answer.get("missing", [])
        if not missing:
            self.version = version
        return missing

    async def prepare(self, sources: Sequence[Source], into: Path) -> None:
        """Make prepared files below the empty folder ``into``. Raises as ``load``."""
        plain = [[s.name, s.kind.value, str(s.path)] for s in sources]
        header = {"do": "prepare", "sources": plain, "into": str(into)}
        _raise_error(await self._ask(header, LOAD_TIMEOUT_S))

    async def scan(self, data: bytes | bytearray, role: Role, name: str) -> tuple[Verdict, float]:
        """Scan one message; the verdict, and the processor time in ms. Raises WorkerLostError."""
        header = {"do": "scan", "role": role.value, "name": name}
        answer = await self._ask(header, self._settings.message_timeout_s, data)
        return Verdict.from_plain(answer["verdict"]), answer["cpu_ms"]

    async def explain(self, data: bytes, name: str) -> Explanation:
        """Scan one file and tell how its parts were reached. Raises WorkerLostError."""
        header = {"do": "explain", "name": name}
        answer = await self._ask(header, self._settings.message_timeout_s, data)
        return Explanation.from_plain(answer)

    async def kill(self) -> None:
        """End it now. May be repeated."""
        self._writer.close()
        await self._forked.kill()

    async def close(self) -> None:
        """Let it end by itself, or kill it."""
        self._writer.close()
        await asyncio.wait([self._forked.ended], timeout=_END_TIMEOUT_S)
        await self.kill()

    async def _ask(
        self, header: frames.Header, timeout_s: float, body: bytes | bytearray = b""
    ) -> frames.Header:
        try:
            async with asyncio.timeout(timeout_s):
                return await frames.exchange(self._reader, self._writer, header, body)
        except TimeoutError:
            await self.kill()
            raise WorkerLostError(f"took longer than {timeout_s:g} s", late=True) from None
        except (OSError, EOFError):
            await self.close()
            raise WorkerLostError(self._forked.ended.result()) from None


def _raise_error(answer: frames.Header) -> None:
    if "error" in answer:
        raise FormatError(answer["error"])
