"""One client's SMTP session: MAIL and RCPT go to the next hop as they come, and so do its answers.

DATA is read in large pieces (aiosmtpd keeps an object for each line: 50 MiB of empty lines would
take gigabytes), then handed over. BDAT (RFC 3030) brings the message in pieces of announced sizes;
from its last one on it is as one that came with DATA, with the same rules for line endings, since
the next hop gets it with DATA.
"""

import asyncio
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import structlog

from mailward.doors import tls
from mailward.doors.commands import (
    BadCommandError,
    Mail,
    parse_bdat,
    parse_mail,
    parse_rcpt,
)
from mailward.doors.handover import HOP_DOWN, Handover, Incoming
from mailward.doors.headers import Trace
from mailward.doors.origin import XCLIENT, XFORWARD, Origin, Said
from mailward.doors.relay import Relay
from mailward.doors.reply import Reply
from mailward.doors.routes import Routes
from mailward.doors.smtp_connection import CLOSING, Connection, Gate
from mailward.doors.strict_reader import Data, StrictReader, smuggling_fault
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope
from mailward.rules import in_networks
from mailward.settings.doors import SmtpSettings

log = structlog.get_logger(__name__)

_OK = Reply.of("250 2.0.0 OK")
_TOO_LARGE = Reply.of("552 5.3.4 Message is larger than this server takes")
_AFTER_BDAT = "503 5.5.1 Error: in the middle of BDAT"
_NOT_YOU = "550 5.7.0 Error: insufficient authorization"
_NO_MAIL = Reply.of("503 5.5.1 Error: need MAIL command")


@dataclass(slots=True)
class _Transaction:
    mail: Mail
    recipients: list[str] = field(default_factory=list)
    refused: int = 0
    pieces: bytearray | None = None
    """What BDAT has brought so far; None before the first one."""

    def fault(self) -> str:
        """Why there can be no message now; empty if there can."""
        if self.recipients:
            return ""
        return f"{'554' if self.refused else '503'} 5.5.1 Error: no valid recipients"


class Session(Connection):
    """A session. Made for each connection by the gateway's listener."""

    def __init__(
        self,
        settings: SmtpSettings,
        hostname: str,
        handover: Handover,
        gate: Gate,
        certificate: tls.Certificate | None,
        routes: Routes,
    ) -> None:
        super().__init__(settings, hostname, gate)
        self._handover = handover
        self._certificate = certificate
        self._relay = Relay(routes, hostname)
        self._transaction: _Transaction | None = None
        self._said = Said()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing that is under way is delivered, except what the next hop has whole already."""
        super().connection_lost(error)
        if self._our_turn:
            self._relay.abort()

    async def _handle_client(self) -> None:
        try:
            if await self._introduced_by_proxy():
                await super()._handle_client()
        finally:
            self._relay.close()

    # Commands; the names are the base class's.

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802
        """HELO."""
        await self._introduced(hostname, extended=False)
        await self._write(f"250 {self.hostname}\r\n".encode("ascii"))

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """EHLO: what we offer, and of what the next hop must carry on, what it offers."""
        await self._introduced(hostname, extended=True)
        try:
            with self._client_waits():
                theirs = await self._relay.extensions()
        except TemporaryError as e:
            log.warning("next hop down", client=self._client, problem=str(e))
            theirs = {}
        self.enable_SMTPUTF8 = "SMTPUTF8" in theirs
        offers = [
            self.hostname,
            "PIPELINING",
            f"SIZE {self._size_limit(theirs.get('SIZE', ''))}",
            "ENHANCEDSTATUSCODES",
            "CHUNKING",
            *(name for name in ("8BITMIME", "SMTPUTF8") if name in theirs),
            *((f"XCLIENT {' '.join(XCLIENT)}",) if self._may_xclient else ()),
            *((f"XFORWARD {' '.join(XFORWARD)}",) if self._may_xforward else ()),
            *(("STARTTLS",) if self._certificate is not None and not self.encrypted else ()),
        ]
        lines = [f"250-{offer}\r\n" for offer in offers[:-1]] + [f"250 {offers[-1]}\r\n"]
        await self._write("".join(lines).encode("ascii"))

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802
        """STARTTLS (RFC 3207)."""
        if arg:
            raise BadCommandError("501 5.5.4 Syntax: STARTTLS")
        if self.encrypted:
            raise BadCommandError("503 5.5.1 TLS is in use already")
        if self._certificate is None:
            raise BadCommandError("502 5.5.1 STARTTLS is not implemented")
        if tls.unread(self._reader):
            # Somebody in between may have put commands behind it (CVE-2011-0411).
            await self._hang_up(Reply.of("554 5.5.1 Error: commands after STARTTLS"))
        await self._abandon()
        await self._encrypt(self._certificate.context())

    async def smtp_XCLIENT(self, arg: str | None) -> None:  # noqa: N802
        """XCLIENT: the session is this client's from now on, and begins anew."""
        self._require_outside_of_mail(allowed=self._may_xclient)
        self._said.xclient(arg or "")
        await self._abandon()
        address = self._said.for_session.get("ADDR")
        if address and not self._becomes(address):
            raise asyncio.CancelledError
        if self.session is not None:
            self.session.extended_smtp = False
            self.session.host_name = None
        await self.push(f"220 {self.hostname} {self.__ident__}")

    async def smtp_XFORWARD(self, arg: str | None) -> None:  # noqa: N802
        """XFORWARD: whom the next message comes from."""
        self._require_outside_of_mail(allowed=self._may_xforward)
        self._said.xforward(arg or "")
        await self._answer(_OK)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """MAIL FROM, answered by the next hop."""
        if await self.check_helo_needed():
            return
        if self._transaction is not None:
            raise BadCommandError("503 5.5.1 Error: nested MAIL command")
        if self._settings.tls_required and not self.encrypted:
            raise BadCommandError("530 5.7.0 Must issue a STARTTLS command first")
        mail = parse_mail(arg or "")
        if mail.size is not None and mail.size > self._settings.max_message_bytes:
            await self._answer(_TOO_LARGE)
            return
        try:
            with self._client_waits():
                self._relay.origin = self._origin()
                reply = await self._relay.mail(mail)
        except TemporaryError as e:
            log.warning("next hop down", client=self._client, sender=mail.path, problem=str(e))
            reply = HOP_DOWN
        if reply.accepted:
            self._transaction = _Transaction(mail)
        await self._answer(reply)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """RCPT TO, answered by the next hop."""
        transaction = self._transaction
        if transaction is None:
            await self._answer(_NO_MAIL)
            return
        if transaction.pieces is not None:
            raise BadCommandError(_AFTER_BDAT)
        path = parse_rcpt(arg or "", smtputf8=transaction.mail.smtputf8)
        if len(transaction.recipients) >= self._settings.max_recipients:
            raise BadCommandError("452 4.5.3 Error: too many recipients")
        try:
            with self._client_waits():
                reply = await self._relay.rcpt(path)
        except TemporaryError as e:
            log.warning("next hop lost", client=self._client, recipient=path, problem=str(e))
            reply = HOP_DOWN
        if reply.accepted:
            transaction.recipients.append(path)
        else:
            transaction.refused += 1
        await self._answer(reply)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """DATA: take the message, and answer for what became of it (S12)."""
        transaction = self._transaction
        if arg:
            raise BadCommandError("501 5.5.4 Syntax: DATA")
        if transaction is None:
            await self._answer(_NO_MAIL)
            return
        if transaction.pieces is not None:
            raise BadCommandError(_AFTER_BDAT)
        if fault := transaction.fault():
            raise BadCommandError(fault)
        self._in_data = True
        try:
            await self._write(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            data = await cast("StrictReader", self._reader).read_data(
                self._settings.max_message_bytes
            )
            await self._conclude(transaction, data)
        finally:
            self._transaction = None
            self._in_data = False

    async def smtp_BDAT(self, arg: str | None) -> None:  # noqa: N802
        """BDAT: the next piece of the message, which is read whatever the answer is.

        One that fails ends the transaction, so that the pieces behind it cannot become a message.
        """
        transaction = self._transaction
        try:
            size, last = parse_bdat(arg or "")
        except BadCommandError as e:
            await self._hang_up(e.reply)  # where the next command begins cannot be known
        reader = cast("StrictReader", self._reader)
        fault = str(_NO_MAIL) if transaction is None else transaction.fault()
        self._in_data = True
        try:
            if transaction is None or fault:
                await reader.read_piece(size, None)
                await self._abandon()
                raise BadCommandError(fault)
            pieces = transaction.pieces = transaction.pieces or bytearray()
            if len(pieces) + size > self._settings.max_message_bytes:
                await reader.read_piece(size, None)
                await self._abandon()
                await self._answer(_TOO_LARGE)
                return
            await reader.read_piece(size, pieces)
            if last:
                self._transaction = None
                await self._conclude(transaction, Data.of(pieces))
            else:
                await self._answer(Reply.of(f"250 2.0.0 {size} bytes received"))
        finally:
            self._in_data = False

    async def smtp_RSET(self, arg: str | None) -> None:  # noqa: N802
        """RSET."""
        if arg:
            raise BadCommandError("501 5.5.4 Syntax: RSET")
        await self._abandon()
        await self._answer(_OK)

    async def smtp_NOOP(self, arg: str | None) -> None:  # noqa: N802
        """NOOP."""
        await self._answer(_OK)

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802
        """VRFY: RFC 5321 section 7.3 allows to say nothing."""
        await self._answer(Reply.of("252 2.5.2 Cannot verify, send some mail to find out"))

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: N802
        """QUIT."""
        await self._hang_up(Reply.of("221 2.0.0 Bye"))

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
        """AUTH is not offered."""
        await self._answer(Reply.of("502 5.5.1 AUTH is not implemented"))

    # Their steps.

    async def _introduced(self, hostname: str | None, *, extended: bool) -> None:
        if not hostname:
            raise BadCommandError("501 5.5.4 Syntax: EHLO hostname")
        await self._abandon()
        if self.session is not None:
            self.session.extended_smtp = extended
            self.session.host_name = hostname

    def _size_limit(self, theirs: str) -> int:
        """The smaller of ours and the next hop's, for which 0 and nothing mean any (RFC 1870)."""
        ours = self._settings.max_message_bytes
        return min(ours, int(theirs[:20])) if re.fullmatch("0*[1-9][0-9]*", theirs) else ours

    @property
    def _may_xclient(self) -> bool:
        return in_networks(self._peer, self._settings.xclient_networks)

    @property
    def _may_xforward(self) -> bool:
        return in_networks(self._peer, self._settings.xforward_networks)

    def _require_outside_of_mail(self, *, allowed: bool) -> None:
        if not allowed:
            raise BadCommandError(_NOT_YOU)
        if self._transaction is not None:
            raise BadCommandError("503 5.5.1 Error: MAIL transaction in progress")

    def _origin(self) -> Origin:
        helo = (self.session.host_name or "") if self.session is not None else ""
        return self._said.origin(self._client, helo)

    async def _abandon(self) -> None:
        if self._transaction is not None:
            self._said.for_message = None
        self._transaction = None
        with self._client_waits():
            await self._relay.reset()

    async def _conclude(self, transaction: _Transaction, data: Data) -> None:
        with self._client_waits():
            reply = await self._settle(transaction, data)
        self._said.for_message = None
        await self._answer(reply)
        if self._gate.closing:
            await self._hang_up(CLOSING)

    async def _settle(self, transaction: _Transaction, data: Data) -> Reply:
        fault = _TOO_LARGE if data.too_large else smuggling_fault(data.content)
        if fault is not None:
            log.info("message refused", client=self._client, reply=str(fault))
            await self._relay.reset()
            return fault
        mail, origin = transaction.mail, self._origin()
        envelope = Envelope(mail.path, tuple(transaction.recipients), mail.smtputf8)
        incoming = Incoming(self._trace(mail, origin), origin, envelope, data.content)
        return await self._handover.take(incoming, self._relay)

    def _trace(self, mail: Mail, origin: Origin) -> Trace:
        extended = self.session is not None and self.session.extended_smtp
        protocol = "UTF8SMTP" if mail.smtputf8 else "ESMTP" if extended else "SMTP"
        return Trace(
            client=origin.address,
            helo=origin.helo,
            hostname=self.hostname,
            protocol=protocol + "S" if self.encrypted else protocol,
            id=secrets.token_hex(8),
            at=datetime.now(UTC),
        )
