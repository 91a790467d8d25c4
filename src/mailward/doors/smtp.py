"""The SMTP gateway: takes a message, scans it, hands it to the next hop, passes its answer on.

It has no queue of its own (S12). A client's MAIL and RCPT go to the next hop as they come, so each
recipient is answered by the server that knows it. 250 after the message means that the next hop has
it, or that the quarantine has it on disk. When the next hop or the scanner is down the answer is
451, and the sender, who still has the message, tries again.

It is no open relay: all mail goes to the configured next hops (one for most; ``smtp.routes`` names
others by the recipient's domain), which decide which recipients they take, and see this computer as
their client. It listens on the loopback interface unless told
otherwise; a next hop that relays for this computer's address must not when strangers reach the
gateway.

Where it stops short: the next hop may be lost after it was given the final dot, before it answered.
Nobody can know then whether it took the message; the sender hears 451 and sends it again, so it may
be delivered twice, never lost (RFC 1047).
"""

import asyncio
import socket
from collections import Counter

import structlog

from mailward.doors import listening, tls
from mailward.doors.handover import Handover
from mailward.doors.judge import Judge
from mailward.doors.next_hop import split_address
from mailward.doors.reply import Reply
from mailward.doors.routes import Routes
from mailward.doors.scanning import Scans
from mailward.doors.smtp_connection import Connection
from mailward.doors.smtp_session import Session
from mailward.doors.told import Notify, Record, unrecorded
from mailward.protect.guard import Guard
from mailward.protect.quarantine import Quarantine
from mailward.protect.stamp import Stamps
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings

log = structlog.get_logger(__name__)

_DRAIN_S = 30.0
"""For messages under way when the gateway stops; after that their senders try again."""
_TOO_MANY = Reply.of("421 4.3.2 Too many connections, try again later")
_TOO_MANY_YOURS = Reply.of("421 4.7.0 Too many connections from your address, try again later")


class _Gate:
    """Counts connections, in total and by client; knows who is still in when the house closes."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._by_client: Counter[str] = Counter()
        self.sessions: set[Connection] = set()
        self.closing = False
        self.empty = asyncio.Event()
        self.empty.set()

    def admit(self, connection: Connection, client: str) -> Reply | None:
        if len(self.sessions) >= self._settings.max_connections:
            log.warning("refused", client=client, because="smtp.max_connections")
            return _TOO_MANY
        if self._by_client[client] >= self._settings.max_connections_per_client:
            log.warning("refused", client=client, because="smtp.max_connections_per_client")
            return _TOO_MANY_YOURS
        self.sessions.add(connection)
        self._by_client[client] += 1
        self.empty.clear()
        return None

    def leave(self, connection: Connection, client: str) -> None:
        self.sessions.discard(connection)
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]
        if not self.sessions:
            self.empty.set()


class Gateway:
    """The door. ``start`` opens it, ``stop`` finishes what was begun and closes it."""

    def __init__(
        self,
        settings: SmtpSettings,
        policy: PolicySettings,
        scanner: Scans,
        quarantine: Quarantine,
        record: Record = unrecorded,
        stamps: Stamps | None = None,
        guard: Guard | None = None,
        notify: Notify | None = None,
    ) -> None:
        self._settings = settings
        self._hostname = settings.hostname or socket.getfqdn()
        self._handover = Handover(Judge(policy, scanner, stamps, guard), quarantine, record, notify)
        self._gate = _Gate(settings)
        self._certificate = tls.certificate(settings)
        self._routes = Routes.of(settings)
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self.host, self.port = split_address(settings.listen)
        """Where it listens; once started, the port that was given when 0 was asked for."""

    async def start(self) -> None:
        """Take connections. Raises ConfigError when the address cannot be used."""
        self._listening = listening.listen(
            self._settings.listen, "smtp.listen", reuse_port=self._settings.reuse_port
        )
        self.port = listening.port(self._listening)
        self._server = await asyncio.get_running_loop().create_server(
            self._session,
            sock=self._listening,
        )

    def _session(self) -> Session:
        return Session(
            self._settings,
            self._hostname,
            self._handover,
            self._gate,
            self._certificate,
            self._routes,
        )

    async def stop(self, timeout_s: float = _DRAIN_S) -> None:
        """Take no more, let messages under way finish within ``timeout_s``, then close."""
        if self._server is None:
            return
        self._close()
        self._gate.closing = True
        for session in tuple(self._gate.sessions):
            session.close_soon()
        try:
            await asyncio.wait_for(self._gate.empty.wait(), timeout_s)
        except TimeoutError:
            log.warning("sessions cut off", count=len(self._gate.sessions))
            for session in tuple(self._gate.sessions):
                session.drop()
            await self._gate.empty.wait()
        self._server = None

    async def retire(self) -> None:
        """Take no more, let sessions go on as they began, and return when all have ended."""
        self._close()
        await self._gate.empty.wait()
        self._server = None

    def _close(self) -> None:
        if self._server is not None and self._listening is not None:
            self._server.close()
            listening.close(self._listening)
            self._listening = None
