"""One connection of a mail server to the milter door, with any number of messages one by one."""

import asyncio
import socket
import time
from dataclasses import dataclass

import structlog

from mailward.doors import headers, milter_replies
from mailward.doors.handover import NOT_HELD, NOT_SCANNED
from mailward.doors.judge import Judge, Judged
from mailward.doors.milter_message import Message, path
from mailward.doors.milter_outlet import act, unite
from mailward.doors.milter_wire import (
    NO_REPLY,
    VERSION,
    Action,
    Command,
    Decoder,
    Event,
    ProtocolError,
    State,
    Step,
)
from mailward.doors.origin import Origin
from mailward.doors.reply import Reply
from mailward.doors.told import Notify, Record, message_event, tell
from mailward.errors import ScannerDownError, TemporaryError
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import MilterSettings

log = structlog.get_logger(__name__)

_RECEIVE = 64 * 1024
_PROGRESS_S = 10.0
"""Between two signs of life during a scan: servers wait for minutes, and users of theirs too."""
_SEND_S = 60.0
"""For a server to read an answer."""

_STEPS = (
    Step.SMFIP_NOEOH
    | Step.SMFIP_NOUNKNOWN
    | Step.SMFIP_NODATA
    | Step.SMFIP_NR_CONN
    | Step.SMFIP_NR_HELO
    | Step.SMFIP_NR_MAIL
    | Step.SMFIP_NR_RCPT
    | Step.SMFIP_NR_DATA
    | Step.SMFIP_NR_UNKN
    | Step.SMFIP_NR_HDR
    | Step.SMFIP_NR_EOH
    | Step.SMFIP_NR_BODY
    | Step.SMFIP_HDR_LEADSPC
)
"""Nothing is sent that is not needed, and one answer is given: at the end of the message."""

_TOO_LARGE = Reply.of("552 5.3.4 Message is larger than this server takes")
_INTERNAL = Reply.of("451 4.3.0 Internal error, try again later")


@dataclass(frozen=True, slots=True)
class Context:
    """What all sessions share."""

    settings: MilterSettings
    judge: Judge
    quarantine: Quarantine
    record: Record
    notify: Notify | None = None

    @property
    def actions(self) -> Action:
        """What has to be allowed: recipients and body are touched only where the
        policy says so.
        """
        header = Action.SMFIF_ADDHDRS | Action.SMFIF_CHGHDRS
        recipients = Action.SMFIF_ADDRCPT | Action.SMFIF_DELRCPT
        body = Action.SMFIF_CHGBODY
        return header | recipients | body if self.judge.policy.changes_mail else header


class Session:
    """``run`` it to its end, which closes the connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: Context
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._context = context
        self._decoder = Decoder()
        self._steps = Step(0)
        self._client = ""
        self._helo = b""
        self._message: Message | None = None
        self.closing = False
        """Set from outside: end after the message that is under way."""

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return self._message is not None

    async def run(self) -> None:
        """Never fails, but for defects."""
        try:
            await self._converse()
        except ProtocolError as e:
            log.warning("milter connection ended: the mail server sent nonsense", why=str(e))
        except TimeoutError:
            log.info("milter connection ended: silence", seconds=self._context.settings.timeout_s)
        except OSError as e:
            log.info("milter connection lost", why=str(e))
        finally:
            self._writer.transport.abort()

    async def _converse(self) -> None:
        while not self.closing or self.busy:
            async with asyncio.timeout(self._context.settings.timeout_s):
                data = await self._reader.read(_RECEIVE)
            if not data:
                return
            self._acknowledge()
            for event in self._decoder.receive(data):
                await self._take(event)
            if self._decoder.state is State.CLOSED:
                return

    def _acknowledge(self) -> None:
        """At once. The server writes one small packet after the other and, since most are not
        answered, its kernel (Nagle) would wait 40 ms for our delayed acknowledgement of each pair.
        """
        connection = self._writer.get_extra_info("socket")
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    async def _take(self, event: Event) -> None:
        match event.command:
            case Command.SMFIC_OPTNEG:
                await self._send(self._negotiated(*event.numbers))
                return
            case Command.SMFIC_CONNECT:
                self._client = event.args[1].decode("ascii", "replace")
            case Command.SMFIC_HELO:
                self._helo = event.args[0]
            case Command.SMFIC_MAIL:
                self._message = Message(
                    event.args[0],
                    any(parameter.upper() == b"SMTPUTF8" for parameter in event.args[1:]),
                    Step.SMFIP_HDR_LEADSPC in self._steps,
                    self._context.settings.max_message_bytes,
                )
            case Command.SMFIC_BODYEOB:
                await self._finish(event.args[0])
                return
            case Command.SMFIC_ABORT | Command.SMFIC_QUIT | Command.SMFIC_QUIT_NC:
                self._message = None
            case _ if self._message is not None:
                self._add(self._message, event)
        unless = NO_REPLY.get(event.command)
        if unless is not None and unless not in self._steps:
            await self._send(milter_replies.CONTINUE)

    def _negotiated(self, version: int, actions: int, steps: int) -> bytes:
        wanted = self._context.actions
        if missing := wanted & ~Action(actions & wanted):
            raise ProtocolError(f"it does not allow {missing!r}, which is needed")
        self._steps = Step(steps & _STEPS)
        return milter_replies.negotiate(min(version, VERSION), wanted, self._steps)

    def _add(self, message: Message, event: Event) -> None:
        match event.command:
            case Command.SMFIC_RCPT:
                message.add_recipient(event.args[0])
            case Command.SMFIC_HEADER:
                message.add_field(*event.args)
            case Command.SMFIC_BODY:
                message.add_body(event.args[0])

    # The end of a message.

    async def _finish(self, last: bytes) -> None:
        message = self._message
        if message is None:
            raise ProtocolError("the end of a message that has not begun")
        message.add_body(last)
        try:
            await self._settle(message)
        finally:
            self._message = None

    async def _settle(self, message: Message) -> None:
        began = time.perf_counter()
        judged: Judged | None = None
        problem, content = "", b""
        envelope = message.envelope()
        try:
            if message.too_large:
                said, told = milter_replies.reply(_TOO_LARGE), str(_TOO_LARGE)
            else:
                carried = message.content()
                content = headers.without_ours(carried)
                judged = await self._judged(content, carried, message)
                judged = unite(judged)
                kept: list[Held] = []
                said, told = await act(judged, message, content, self._context.quarantine, kept)
                self._tell_people(judged, envelope, content, kept)
        except ScannerDownError as e:
            said, told, problem = milter_replies.reply(NOT_SCANNED), str(NOT_SCANNED), str(e)
        except TemporaryError as e:
            said, told, problem = milter_replies.reply(NOT_HELD), str(NOT_HELD), str(e)
        except OSError:
            raise
        except Exception as e:
            log.error("milter message failed", exc_info=e)
            said, told = milter_replies.reply(_INTERNAL), str(_INTERNAL)
        await self._send(said)
        event = message_event(
            "milter",
            envelope,
            judged,
            origin=self._origin(),
            content=content,
            size_bytes=message.size_bytes,
            answer=told,
            ms=(time.perf_counter() - began) * 1000,
        )
        tell(event, self._context.record, problem)

    def _tell_people(
        self, judged: Judged, envelope: Envelope, content: bytes, kept: list[Held]
    ) -> None:
        context = self._context
        if context.notify is not None and judged.notifies:
            client = self._origin().address
            mail = Mail(envelope.sender, envelope.recipients, client, content)
            context.notify.note(judged.decisions, kept, mail, context.judge.policy)

    async def _judged(self, content: bytes, carried: bytes, message: Message) -> Judged:
        judging = asyncio.ensure_future(
            self._context.judge.judge(content, message.envelope(), self._origin(), carried)
        )
        try:
            while not (await asyncio.wait({judging}, timeout=_PROGRESS_S))[0]:
                await self._send(milter_replies.PROGRESS)
            return judging.result()
        finally:
            judging.cancel()

    def _origin(self) -> Origin:
        return Origin(
            self._client or path(self._decoder.macro(b"{client_addr}")),
            path(self._helo),
            path(self._decoder.macro(b"{auth_authen}")),
            self._decoder.macro(b"i").decode("ascii", "replace"),
        )

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(_SEND_S):
            await self._writer.drain()
