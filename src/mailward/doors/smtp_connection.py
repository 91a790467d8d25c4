"""One client's connection: aiosmtpd's command loop, made strict, bounded and discreet.

aiosmtpd brings the loop, the streams and a timer. Changed here, each for its reason:

- lines end in CRLF and data in CRLF.CRLF alone (``strict_reader``);
- the timer measures the client's silence: it starts anew with every byte and rests while the client
  waits for us;
- a client that does not read what it is told is dropped instead of being waited for;
- one that sends thousands of commands at once waits for the others after each;
- a client that has said QUIT and closed its half of the connection still hears its answers;
- replies are printable, bounded, with enhanced codes, and never tell of exceptions.
"""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from typing import AnyStr, Protocol, cast

import structlog
from aiosmtpd.proxy_protocol import V2_CMD, get_proxy
from aiosmtpd.smtp import SMTP

from mailward.doors import tls
from mailward.doors.commands import MAX_LINE, BadCommandError
from mailward.doors.reply import Reply
from mailward.doors.strict_reader import CHUNK, BadLineError, StrictReader
from mailward.rules import in_networks
from mailward.settings.doors import SmtpSettings

log = structlog.get_logger(__name__)

CLOSING = Reply.of("421 4.3.2 Service is closing, try again later")
_SILENT = Reply.of("421 4.4.2 Error: timeout exceeded")
_PROXY_S = 5.0
"""For the first line of a load balancer, which has it at hand."""
_GO_AHEAD = Reply.of("220 2.0.0 Ready to start TLS")
_INTERNAL = Reply.of("451 4.3.0 Internal error, try again later")


class Gate(Protocol):
    """Who may come in, and whether the house is closing."""

    closing: bool

    def admit(self, connection: "Connection", client: str) -> Reply | None:
        """None, or why not. An admitted one says ``leave`` when its connection is over."""
        ...

    def leave(self, connection: "Connection", client: str) -> None:
        """An admitted connection is over."""
        ...


class Connection(SMTP):
    """Bytes, timer and answers of one client; the session adds the commands."""

    line_length_limit = CHUNK

    def __init__(self, settings: SmtpSettings, hostname: str, gate: Gate) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            handler=None,
            data_size_limit=settings.max_message_bytes,
            hostname=hostname,
            ident="ESMTP Mailward",
            timeout=settings.client_timeout_s,
            loop=loop,
        )
        # The base class makes a reader of its own; this puts the strict one in its place.
        asyncio.StreamReaderProtocol.__init__(
            self, StrictReader(limit=CHUNK, loop=loop), self._cb_client_connected, loop
        )
        # The base class shares one table among all sessions and lets it grow.
        self.command_size_limits = defaultdict(lambda: MAX_LINE)
        self.command_size_limit = MAX_LINE
        self._settings = settings
        self._gate = gate
        self._client = ""
        """The client's IP address, as far as somebody whom we believe has said it."""
        self._peer = ""
        """The same, but for XCLIENT: who is asked for what it may say."""
        self._admitted = False
        self._in_data = False
        self._our_turn = False
        self.encrypted = False
        """Whether STARTTLS was done."""

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, or tell it at once to come back later."""
        self._client = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self._peer = self._client
        refusal = self._gate.admit(self, self._client)
        if refusal is not None:
            stream = cast("asyncio.WriteTransport", transport)
            stream.write(refusal.wire())
            stream.close()
            return
        self._admitted = True
        super().connection_made(transport)

    async def _introduced_by_proxy(self) -> bool:
        """Whether the session may begin: what comes from a load balancer says first for whom.

        Nobody else is believed. Limits are those of the client that it names.
        """
        if not in_networks(self._client, self._settings.proxy_networks):
            return True
        self._reset_timeout(_PROXY_S)
        proxy, said = self._client, await get_proxy(self._reader)
        if not said.valid:
            log.warning("no PROXY header from a load balancer", proxy=proxy, why=said.error)
            self.drop()
            return False
        own = said.command == V2_CMD.LOCAL
        if own or not isinstance(said.src_addr, IPv4Address | IPv6Address):  # UNKNOWN
            return True  # it speaks for itself: to see whether we are there, say
        if self._becomes(str(said.src_addr)):
            self._peer = self._client
            self._reset_timeout()
            return True
        return False

    def _becomes(self, client: str) -> bool:
        """Whether the session, which is another client's from now on, may go on."""
        self._gate.leave(self, self._client)
        self._client = client
        refusal = self._gate.admit(self, client)
        if refusal is None:
            return True
        self._admitted = False
        if self.transport is not None:
            self._writer.write(refusal.wire())
            self.transport.close()
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: it is not silent."""
        if not self._admitted:
            return
        if not self._our_turn:
            self._reset_timeout()
        super().data_received(data)

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        """Say 220, then nothing in the clear any more. A handshake that fails ends the session."""
        self._writer.write(_GO_AHEAD.wire())
        try:
            await tls.start(self._reader, self._writer, context)
        except OSError as e:
            log.info("TLS handshake failed", client=self._client, why=str(e))
            self.drop()
            raise asyncio.CancelledError from e
        self.transport = self._writer.transport
        self.session = self._create_session()  # RFC 3207 section 4.2: what was said is forgotten
        self.session.peer = self.transport.get_extra_info("peername")
        self.encrypted = True

    def eof_received(self) -> bool | None:
        """The client has gone: what it was doing ends here.

        Unless it said QUIT before: Exim closes its half at once then, and waits for the answers to
        the message and to that.
        """
        if not self._admitted:
            return None
        if not self.encrypted and cast("StrictReader", self._reader).ends_with_quit():
            return asyncio.StreamReaderProtocol.eof_received(self)
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone; the command that was under way is cancelled."""
        if not self._admitted:
            return
        self._gate.leave(self, self._client)
        super().connection_lost(error)

    def close_soon(self) -> None:
        """Say goodbye now, or after the message that is under way."""
        if not self._in_data:
            self._say_and_close(CLOSING)

    def drop(self) -> None:
        """End it here."""
        if self.transport is not None:
            cast("asyncio.WriteTransport", self.transport).abort()

    def _timeout_cb(self) -> None:
        if self.transport is not None and self.transport.is_closing():
            self.drop()  # it does not read what it was told last
        else:
            self._say_and_close(_SILENT)

    def _say_and_close(self, reply: Reply) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        stream = cast("asyncio.WriteTransport", self.transport)
        stream.write(reply.wire())
        if stream.get_write_buffer_size():
            stream.abort()  # it does not read; waiting for it would be for ever
        else:
            stream.close()

    # Answers.

    async def push(self, status: AnyStr) -> None:
        """The base class's way of answering."""
        if self.transport is None or self.transport.is_closing():
            raise asyncio.CancelledError
        text = status if isinstance(status, str) else status.decode("ascii", "replace")
        if text.startswith("220 "):  # the greeting has no enhanced code
            await self._write(f"{text}\r\n".encode("ascii"))
        else:
            await self._answer(Reply.of(text))

    async def _answer(self, reply: Reply) -> None:
        await self._write(reply.wire())

    async def _write(self, data: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            raise asyncio.CancelledError
        self._writer.write(data)
        try:
            await self._writer.drain()
            await asyncio.sleep(0)  # thousands of commands may be there already: others come first
        except ConnectionError as e:
            raise asyncio.CancelledError from e

    async def _hang_up(self, reply: Reply) -> None:
        await self._answer(reply)
        if self.transport is not None:
            self.transport.close()
        raise asyncio.CancelledError  # ends the command loop, whatever waits in the buffer

    async def handle_exception(self, error: Exception) -> str:
        """What the base class answers to an exception in a command."""
        if isinstance(error, EOFError):  # the client has gone, whatever it said last
            self.drop()
            raise asyncio.CancelledError from error
        if isinstance(error, BadLineError):
            await self._hang_up(error.reply)
        if isinstance(error, BadCommandError):
            return str(error.reply)
        log.error("session failed", client=self._client, exc_info=error)
        await self._abandon()
        return str(_INTERNAL)

    @contextmanager
    def _client_waits(self) -> Iterator[None]:
        self._our_turn = True
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        try:
            yield
        finally:
            self._our_turn = False
            if self.transport is not None:
                self._reset_timeout()

    async def _abandon(self) -> None:
        """Let go of what was begun for the client."""
