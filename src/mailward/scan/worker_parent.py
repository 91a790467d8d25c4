"""The pool's end of the process that workers are forked from: start it, have it fork, hear of ends.

It is started with the first worker, and again should it have ended: its workers are lost with it,
as if each had crashed (S13).
"""

import asyncio
import contextlib
import signal
import socket
import sys
from itertools import count
from typing import Self

from mailward.scan.forking import MESSAGE_MAX_BYTES
from mailward.settings.scan import ScanSettings

_START_TIMEOUT_S = 60.0
"""Importing takes half a second of processor time; the computer may be busy."""
KILL_TIMEOUT_S = 5.0
"""A parent that has not ended a worker by then is stuck, and is killed with all of them."""


class WorkerParent:
    """Forks workers for whoever has it. An async context manager; may be used again after it.

    ``engines``: ``module:callable`` that gives the engines.
    """

    def __init__(self, settings: ScanSettings, engines: str) -> None:
        self.settings = settings
        self._engines = engines
        self._running: _Running | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End it, and every worker that is left. May be repeated."""
        running, self._running = self._running, None
        if running is not None:
            running.end()
            await asyncio.shield(running.over)

    async def fork(self, connection: socket.socket) -> "Forked":
        """A new worker that serves ``connection``. Raises OSError."""
        async with self._starting:
            running = self._running
            if running is None or running.over.done():
                running = self._running = await _Running.start(self.settings, self._engines)
        return await running.fork(connection)


class Forked:
    """One worker, as its parent knows it."""

    def __init__(self, running: "_Running", name: int) -> None:
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = loop.create_future()
        """Raises OSError if there is no process for it."""
        self.ended: asyncio.Future[str] = loop.create_future()
        """What became of it, once it is gone."""
        self._running = running
        self._name = name

    async def kill(self) -> None:
        """End it now. May be repeated."""
        if not self.ended.done():
            self._running.kill(self._name)
            await asyncio.wait([self.ended], timeout=KILL_TIMEOUT_S)
        if not self.ended.done():
            self._running.end()
            await asyncio.shield(self.ended)


class _Running:
    """One parent process."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._names = count()
        self._workers: dict[int, Forked] = {}
        self.over = asyncio.create_task(self._wait())
        """What became of it."""
        asyncio.get_running_loop().add_reader(control, self._hear)

    @classmethod
    async def start(cls, settings: ScanSettings, engines: str) -> "_Running":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the current folder is no place to import from
                    "-m",
                    "mailward.scan.forking",
                    str(theirs.fileno()),
                    engines,
                    settings.model_dump_json(),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, ours)

    async def fork(self, connection: socket.socket) -> Forked:
        name = next(self._names)
        worker = self._workers[name] = Forked(self, name)
        try:
            socket.send_fds(self._control, [str(name).encode()], [connection.fileno()])
        except OSError as e:
            del self._workers[name]
            raise OSError(await self._why_over() or str(e)) from None
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await worker.started
        except TimeoutError:
            self.end()
            raise OSError(f"it did not begin within {_START_TIMEOUT_S:g} s") from None
        return worker

    def kill(self, name: int) -> None:
        with contextlib.suppress(OSError):
            self._control.send(str(name).encode())

    def end(self) -> None:
        """And all of its workers."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _why_over(self) -> str:
        """Empty if it runs."""
        done, _ = await asyncio.wait([self.over], timeout=KILL_TIMEOUT_S)
        return self.over.result() if done else ""

    def _hear(self) -> None:
        """What it tells, as far as it is there."""
        with contextlib.suppress(OSError):
            while told := self._control.recv(MESSAGE_MAX_BYTES).decode():
                what, name, *more = told.split(" ", 2)
                self._told(what, int(name), *more)
            asyncio.get_running_loop().remove_reader(self._control)

    def _told(self, what: str, name: int, about: str = "") -> None:
        worker = self._workers.get(name)
        if worker is None:
            return
        if what == "ended":
            del self._workers[name]
            worker.ended.set_result(_death(int(about)))
        elif worker.started.done():  # nobody waits for it any more
            return
        elif what == "started":
            worker.started.set_result(None)
        else:
            del self._workers[name]
            worker.started.set_exception(OSError(about))

    async def _wait(self) -> str:
        how = _death(await self._process.wait())
        self._hear()
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        for worker in self._workers.values():
            worker.ended.set_result(f"ended with its parent, which {how}")
            if not worker.started.done():
                worker.started.set_exception(OSError(how))
        self._workers.clear()
        return how


def _death(returncode: int) -> str:
    if returncode < 0:
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"
