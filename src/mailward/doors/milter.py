"""The milter door: Postfix and Sendmail hand each message in, and do with it what they are told.

The server says 250 only when it has the message in its queue, or we have it in quarantine; when
this door is gone, Postfix's ``milter_default_action = tempfail`` makes the sender try again (S12).
The wire is in ``milter_wire`` and ``milter_replies``, one connection in ``milter_session``.
"""

import asyncio
import contextlib
import socket

import structlog

from mailward.doors import listening
from mailward.doors.judge import Judge
from mailward.doors.milter_session import Context, Session
from mailward.doors.scanning import Scans
from mailward.doors.told import Notify, Record, unrecorded
from mailward.protect.guard import Guard
from mailward.protect.quarantine import Quarantine
from mailward.protect.stamp import Stamps
from mailward.settings.doors import MilterSettings
from mailward.settings.protect import PolicySettings

log = structlog.get_logger(__name__)

_DRAIN_S = 30.0
"""For messages under way when the door closes; after that their senders try again."""


class MilterDoor:
    """``start`` opens it, ``stop`` finishes what was begun and closes it."""

    def __init__(
        self,
        settings: MilterSettings,
        policy: PolicySettings,
        scanner: Scans,
        quarantine: Quarantine,
        record: Record = unrecorded,
        stamps: Stamps | None = None,
        guard: Guard | None = None,
        notify: Notify | None = None,
    ) -> None:
        self._settings = settings
        self._context = Context(
            settings, Judge(policy, scanner, stamps, guard), quarantine, record, notify
        )
        self._listening: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []
        self._serving: dict[asyncio.Task[None], Session] = {}

    async def start(self) -> None:
        """Take connections. Raises ConfigError when an address cannot be used."""
        s = self._settings
        self._listening = listening.listen_all(
            s.listen,
            "milter.listen",
            mode=s.socket_mode,
            group=s.socket_group,
            reuse_port=s.reuse_port,
        )
        for each in self._listening:
            # Also for Unix sockets: their own way would remove a path that may be shared.
            self._servers.append(await asyncio.start_server(self._connected, sock=each))

    @property
    def ports(self) -> list[int]:
        """In the order of ``listen``; 0 for Unix sockets."""
        return [listening.port(each) for each in self._listening]

    async def stop(self, timeout_s: float = _DRAIN_S) -> None:
        """Take no more, let messages under way finish within ``timeout_s``, then close."""
        self._close()
        for task, session in self._serving.items():
            session.closing = True
            if not session.busy:
                task.cancel()
        if self._serving:
            _, late = await asyncio.wait(tuple(self._serving), timeout=timeout_s)
            if late:
                log.warning("milter messages cut off", count=len(late))
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def retire(self) -> None:
        """Take no more, let connections go on as they began, and return when all have ended."""
        self._close()
        while self._serving:
            await asyncio.wait(tuple(self._serving))

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        while self._listening:
            listening.close(self._listening.pop())

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= self._settings.max_connections:
            log.warning("refused", door="milter", because="milter.max_connections")
            writer.transport.abort()
            return
        session = Session(reader, writer, self._context)
        task = asyncio.create_task(session.run())
        self._serving[task] = session
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._serving[task]
        with contextlib.suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                log.error("milter session failed", exc_info=error)
