"""The clamd door: for what speaks to ClamAV's daemon, such as clamav-milter, Rspamd and Exim.

It gives verdicts and does nothing with mail: what happens is for whoever asks. Scanning is as at
every other door. What differs from clamd, each for its reason:

- what cannot be looked into is FOUND under a name of its own, unless configured otherwise (S11);
- links are followed when a client names one, where clamd says OK without having looked;
- TCP clients cannot have files of this computer read, and nobody can shut it down, unless the
  configuration allows it;
- RELOAD is answered and changes nothing: a new set is in use as soon as it is active;
- a client that sends too much is read on for a while, so that it hears why it is refused.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from mailward import __version__
from mailward.doors import listening
from mailward.doors.clamd_peer import Peer
from mailward.doors.clamd_session import Context, Session
from mailward.doors.scanning import Scans
from mailward.protect.guard import Guard
from mailward.settings.doors import ClamdSettings
from mailward.settings.scan import ScanSettings

log = structlog.get_logger(__name__)

PRODUCT = f"Mailward {__version__}"

_DRAIN_S = 30.0
"""For what is being scanned when the door closes."""
_FILE_THREADS = 4
"""Of their own: a file system that hangs must not hold up the quarantine."""
_OUT_OF_FILES_S = 1.0


class ClamdDoor:
    """``start`` opens it, ``stop`` finishes what was begun and closes it."""

    def __init__(
        self,
        settings: ClamdSettings,
        scan: ScanSettings,
        scanner: Scans,
        *,
        definitions: Callable[[], tuple[str, str] | None] = lambda: None,
        shut_down: Callable[[], None] = lambda: None,
        guard: Guard | None = None,
    ) -> None:
        """``definitions``: the set in use and when it was built, for VERSION; may block."""
        self._settings = settings
        self._threads = ThreadPoolExecutor(_FILE_THREADS, "clamd-files")
        self._context = Context(
            settings, scan, scanner, self._threads, definitions, shut_down, PRODUCT, guard
        )
        self._places = asyncio.Semaphore(settings.max_connections)
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: dict[asyncio.Task[None], Session] = {}

    async def start(self) -> None:
        """Take connections. Raises ConfigError when an address cannot be used."""
        s = self._settings
        self._listening = listening.listen_all(
            s.listen,
            "clamd.listen",
            mode=s.socket_mode,
            group=s.socket_group,
            reuse_port=s.reuse_port,
        )
        self._accepting = [asyncio.create_task(self._accept(each)) for each in self._listening]

    @property
    def ports(self) -> list[int]:
        """In the order of ``listen``; 0 for Unix sockets."""
        return [listening.port(each) for each in self._listening]

    async def stop(self, timeout_s: float = _DRAIN_S) -> None:
        """Take no more, finish what is being scanned within ``timeout_s``, then close."""
        await self._stop_accepting()
        for task, session in self._serving.items():
            session.closing = True
            if not session.busy:
                task.cancel()
        if self._serving:
            _, late = await asyncio.wait(tuple(self._serving), timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def retire(self) -> None:
        """Take no more, let sessions go on as they began, and return when all have ended."""
        await self._stop_accepting()
        while self._serving:
            await asyncio.wait(tuple(self._serving))
        self._threads.shutdown(wait=False)

    async def _stop_accepting(self) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._close()

    def _close(self) -> None:
        while self._listening:
            listening.close(self._listening.pop())

    async def _accept(self, where: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            connection = None
            try:
                connection, _ = await loop.sock_accept(where)
            except OSError as e:
                log.error("clamd door cannot take a connection", why=e.strerror or str(e))
                await asyncio.sleep(_OUT_OF_FILES_S)
            finally:
                if connection is None:
                    self._places.release()
            if connection is not None:
                connection.setblocking(False)
                session = Session(Peer(connection, self._settings.client_timeout_s), self._context)
                task = asyncio.create_task(session.run())
                self._serving[task] = session
                self._context.sessions = len(self._serving)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._serving[task]
        self._context.sessions = len(self._serving)
        self._places.release()
        with contextlib.suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                log.error("clamd session failed", exc_info=error)
