"""One connection of the clamd protocol: its commands, one alone or a session of numbered ones."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from mailward.doors import clamd_files, clamd_wire
from mailward.doors.clamd_files import Content, Found, UnreadableError
from mailward.doors.clamd_peer import GoneError, Peer, TooLargeError
from mailward.doors.clamd_wire import COMMANDS, Command, Findings
from mailward.doors.scanning import Scans
from mailward.errors import ScannerDownError
from mailward.protect import outbreak
from mailward.protect.guard import Guard
from mailward.scan.part import Role
from mailward.scan.scanner import too_large
from mailward.scan.verdict import Verdict
from mailward.settings.doors import ClamdSettings
from mailward.settings.scan import ScanSettings

log = structlog.get_logger(__name__)

_AT_ONCE = 8
"""Scans of one client: more would only take the workers from others."""
_NOT_SCANNED = "Scanner is not available, try again later."
_DOUBTED = "What was found is held in doubt until it is judged, try again later."
_PATHS_OFF = "Access denied."

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """What all sessions share."""

    settings: ClamdSettings
    scan: ScanSettings
    scanner: Scans
    threads: Executor
    definitions: Callable[[], tuple[str, str] | None]
    shut_down: Callable[[], None]
    product: str
    guard: Guard | None = None
    sessions: int = 0
    scans: int = 0


class Session:
    """``run`` it to its end, which closes the connection."""

    def __init__(self, peer: Peer, context: Context) -> None:
        self._peer = peer
        self._context = context
        self._scans: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.closing = False
        """Set from outside: end after what is under way."""
        self.busy = False
        """Whether a command is under way."""

    async def run(self) -> None:
        """Never fails, but for defects."""
        try:
            command = await self._next()
            if command is not None and command.verb == "IDSESSION":
                await self._numbered()
            elif command is not None:
                await self._do(command, "")
        except TimeoutError:
            await self._say_timed_out()
        except OSError as e:
            log.debug("clamd client lost", why=str(e))
        finally:
            for task in tuple(self._scans):
                task.cancel()
            self._peer.close()

    async def _say_timed_out(self) -> None:
        with contextlib.suppress(OSError):
            await self._peer.send(clamd_wire.TIMED_OUT)

    async def _numbered(self) -> None:
        number = 0
        while not self.closing and (command := await self._next()) is not None:
            if command.verb == "END":
                break
            number += 1
            prefix = f"{number}: "
            await asyncio.sleep(0)  # thousands may be there already: others come first
            if not (command.verb and COMMANDS[command.verb].session):
                await self._finished()
                await self._reply(command, prefix, clamd_wire.INVALID_IN_SESSION)
                return
            if not await self._do(command, prefix):
                return
        await self._finished()

    async def _finished(self) -> None:
        while self._scans:
            await asyncio.wait(tuple(self._scans))

    async def _next(self) -> Command | None:
        self.busy = bool(self._scans)
        while (command := clamd_wire.next_command(self._peer.buffer, eof=self._peer.eof)) is None:
            if self._peer.eof:
                return None
            await self._peer.more()
        self.busy = True
        return command

    async def _do(self, command: Command, prefix: str) -> bool:
        """Whether the session may go on. Scans go on by themselves in a session."""
        match command.verb:
            case "INSTREAM":
                return await self._instream(command, prefix)
            case "FILDES":
                return await self._fildes(command, prefix)
            case "SCAN" | "CONTSCAN" | "MULTISCAN" | "ALLMATCHSCAN":
                await self._meanwhile(self._path(command, prefix), prefix)
                return True
        await self._reply(command, prefix, await self._answer(command))
        if command.verb in ("SHUTDOWN", "QUIT") and self._context.settings.shutdown:
            log.warning("shut down by a clamd client")
            self._context.shut_down()
        return True

    async def _answer(self, command: Command) -> str:
        context = self._context
        match command.verb:
            case "PING":
                return "PONG"
            case "VERSION":
                return clamd_wire.version(
                    context.product, await self._off_loop(context.definitions)
                )
            case "VERSIONCOMMANDS":
                return clamd_wire.version_commands(
                    context.product, await self._off_loop(context.definitions)
                )
            case "RELOAD":
                return "RELOADING"
            case "STATS":
                return clamd_wire.stats(
                    workers=context.scan.workers,
                    sessions=context.sessions,
                    queued=context.scans,
                    idle_timeout_s=context.settings.client_timeout_s,
                )
            case "SHUTDOWN" | "QUIT":
                return "" if context.settings.shutdown else clamd_wire.UNAVAILABLE
        return clamd_wire.UNKNOWN

    async def _reply(self, command: Command, prefix: str, *lines: str) -> None:
        data = b"".join(
            (prefix + line).encode("utf-8", "surrogateescape") + command.end
            for line in lines
            if line
        )
        if data:
            await self._peer.send(data)

    # Things to scan.

    async def _instream(self, command: Command, prefix: str) -> bool:
        try:
            data = await self._peer.stream(self._context.settings.max_stream_bytes)
        except TooLargeError:
            await self._finished()
            await self._reply(command, prefix, clamd_wire.TOO_LARGE)
            await self._peer.linger()
            return False
        except GoneError:
            return False
        content = Content(data, len(data))

        async def scan() -> None:
            await self._report(command, prefix, "stream", await self._findings(content, "stream"))

        await self._meanwhile(scan(), prefix)
        return True

    async def _fildes(self, command: Command, prefix: str) -> bool:
        fd = None
        if self._peer.local:
            await self._peer.take(1)  # the byte that the descriptor came with
            fd = self._peer.descriptor()
        if fd is None:
            await self._finished()
            await self._reply(command, prefix, clamd_wire.NO_DESCRIPTOR)
            return False
        what = f"fd[{fd}]"
        limit = self._context.scan.max_message_bytes
        # Read at once: the descriptor must not wait for a turn.
        try:
            content = await self._off_loop(lambda: clamd_files.read_descriptor(fd, limit))
        except UnreadableError as e:
            await self._reply(command, prefix, f"{what}: {e} ERROR")
            return True

        async def scan() -> None:
            await self._report(command, prefix, what, await self._findings(content, what))

        await self._meanwhile(scan(), prefix)
        return True

    async def _path(self, command: Command, prefix: str) -> None:
        settings, path = self._context.settings, command.path
        shown = _shown(path)
        if not (settings.paths if self._peer.local else settings.paths_over_tcp):
            await self._reply(command, prefix, f"{shown}: {_PATHS_OFF} ERROR")
            return
        told = False
        if command.verb == "MULTISCAN":
            told = await self._all_at_once(command, prefix)
        else:
            async for found in self._walk(path):
                result = await self._file(found)
                if result.names or result.failure or found.path == path:
                    told = True
                    await self._report(command, prefix, _shown(found.path), result)
                if result.names and command.verb != "CONTSCAN":
                    break
        if not told:
            await self._reply(command, prefix, f"{shown}: OK")

    async def _all_at_once(self, command: Command, prefix: str) -> bool:
        turns = asyncio.Semaphore(_AT_ONCE)
        told = False

        async def one(found: Found) -> None:
            nonlocal told
            try:
                result = await self._file(found)
                if result.names or result.failure or found.path == command.path:
                    told = True
                    await self._report(command, prefix, _shown(found.path), result)
            finally:
                turns.release()

        tasks: list[asyncio.Task[None]] = []
        try:
            async for found in self._walk(command.path):
                await turns.acquire()
                tasks = [task for task in tasks if not task.done()]
                tasks.append(asyncio.create_task(one(found)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return told

    async def _walk(self, path: bytes) -> AsyncIterator[Found]:
        walking = clamd_files.walk(path)
        while (found := await self._off_loop(lambda: next(walking, None))) is not None:
            if self._peer.gone:
                raise GoneError("it did not wait for the end")
            yield found

    async def _file(self, found: Found) -> Findings:
        if found.problem:
            return Findings(failure=found.problem)
        limit = self._context.scan.max_message_bytes
        try:
            content = await self._off_loop(lambda: clamd_files.read_path(found.path, limit))
        except UnreadableError as e:
            return Findings(failure=str(e))
        return await self._findings(content, _shown(found.path))

    # Scanning.

    async def _meanwhile(self, scan: Coroutine[Any, Any, None], prefix: str) -> None:
        """Now; in a session beside what the client sends next, a few at once."""
        if not prefix:
            await scan
            return
        await self._turns.acquire()
        task = asyncio.create_task(scan)
        self._scans.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._scans.discard(task)
        self._turns.release()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):  # else the client is gone
            log.error("clamd session failed", exc_info=error)

    async def _findings(self, content: Content, what: str) -> Findings:
        context = self._context
        began = time.perf_counter()
        context.scans += 1
        try:
            if content.size_bytes > len(content.data):
                verdict = Verdict(unopened=(too_large(content.size_bytes, context.scan),))
            else:
                verdict = await context.scanner.scan(content.data, role=Role.FILE, name=what)
        except ScannerDownError as e:
            log.warning("not scanned", door="clamd", what=what, problem=str(e))
            return Findings(failure=_NOT_SCANNED)
        finally:
            context.scans -= 1
        result = self._told(verdict, content.data)
        log.info(
            "scanned",
            door="clamd",
            what=what,
            size_bytes=content.size_bytes,
            verdict=verdict.kind.value,
            told=list(result.names) or [result.failure or "OK"],
            set=verdict.set,
            ms=round((time.perf_counter() - began) * 1000, 1),
        )
        return result

    def _told(self, verdict: Verdict, data: bytes | bytearray) -> Findings:
        settings, guard = self._context.settings, self._context.guard
        if guard is not None and (doubted := guard.note(verdict, data)):
            rest = clamd_wire.findings(outbreak.without(verdict, doubted), settings.unscannable)
            if settings.doubted == clamd_wire.ERROR:
                return rest if rest.names else Findings(failure=_DOUBTED)  # S14
        return clamd_wire.findings(verdict, settings.unscannable)

    async def _report(self, command: Command, prefix: str, what: str, result: Findings) -> None:
        every = command.verb == "ALLMATCHSCAN"
        await self._reply(command, prefix, *result.lines(what, all_of_them=every))

    async def _off_loop(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._context.threads, call)


def _shown(path: bytes) -> str:
    """As the client gave it, whatever its bytes."""
    return path.decode("utf-8", "surrogateescape")
