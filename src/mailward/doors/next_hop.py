"""The client side of SMTP and LMTP: one connection to the server that scanned mail is handed to.

A failure of the connection is a TemporaryError whatever its stage, and ends the connection. So is
421, by which a server says that it closes. A loss after the final dot leaves open whether the next
hop has taken the message: the sender hears 451 and sends it again, which may deliver it twice but
never loses it (RFC 1047).

LMTP (RFC 2033) differs in two things: LHLO, and an answer for each recipient after the message.

Written on asyncio streams: replies are passed on to the letter, an answer that comes before the
message has been sent is heard, and large messages are sent in pieces without holding up other
sessions.
"""

import asyncio
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from mailward.doors import tls
from mailward.doors.reply import Reply
from mailward.doors.tls import PLAIN, HopSecurity
from mailward.errors import TemporaryError
from mailward.settings.doors import HopTls

LMTP = "lmtp:"
"""In front of the address of a server that speaks it."""
_MAX_REPLY_LINE = 8192
_MAX_REPLY_LINES = 200
_PIECE = 256 * 1024
"""Bytes written before the loop gets to other sessions."""
_REPLY_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n]*))?\r?\n")


def split_address(address: str) -> tuple[str, int]:
    """``127.0.0.1:25`` or ``[::1]:25``, as in the configuration, to host and port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class HopConnection:
    """One SMTP session with the next hop, greeted and ready for MAIL. Made by ``connect``."""

    def __init__(
        self,
        address: str,
        timeout_s: float,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._reader, self._writer = streams
        self.lmtp = address.startswith(LMTP)
        self.extensions: dict[str, str] = {}
        """What its EHLO offered: upper-case keyword to parameters."""

    @classmethod
    async def connect(
        cls, address: str, hostname: str, timeout_s: float, security: HopSecurity = PLAIN
    ) -> "HopConnection":
        """Connect, hear the greeting, introduce ourselves, encrypt. Raises TemporaryError.

        A refusal in the greeting is temporary for the sender too: it concerns us, not the message.
        """
        where = address.removeprefix(LMTP)
        local = where.startswith("/")
        try:
            opening = (
                asyncio.open_unix_connection(where, limit=_MAX_REPLY_LINE)
                if local
                else asyncio.open_connection(*split_address(where), limit=_MAX_REPLY_LINE)
            )
            streams = await asyncio.wait_for(opening, timeout_s)
        except (OSError, TimeoutError) as e:
            raise TemporaryError(f"next hop {address}: cannot connect: {_why(e)}") from e
        hop = cls(address, timeout_s, streams)
        try:
            await hop._introduce(hostname)
            if security.context and not local:
                host, _ = split_address(where)
                if await hop._encrypt(security.level, security.context, host):
                    await hop._introduce_again(hostname)
        except BaseException:
            hop.abort()
            raise
        return hop

    @property
    def alive(self) -> bool:
        """False once the connection is known to be gone."""
        return not (self._writer.is_closing() or self._reader.at_eof())

    async def command(self, line: str) -> Reply:
        """Send one command and hear the answer. Raises TemporaryError."""
        with self._aborted_by_failure(line.split(maxsplit=1)[0]):
            self._writer.write(line.encode("utf-8") + b"\r\n")
            return await asyncio.wait_for(self._drained_reply(), self._timeout_s)

    async def send(self, message: bytes, recipients: int) -> tuple[Reply, ...]:
        """The message after a 354, and the next hop's word on it for each of those ``recipients``.

        Raises TemporaryError when it has taken the message for nobody, as far as is known.
        """
        with self._aborted_by_failure("the message"):
            first, whole = await self._send(message)
        if not self.lmtp or not whole:
            return (first,) * recipients
        answers = [first]
        try:
            with self._aborted_by_failure("the answers for each recipient"):
                while len(answers) < recipients:
                    answers.append(await asyncio.wait_for(self._reply(), self._timeout_s))
        except TemporaryError as e:
            if not any(answer.accepted for answer in answers):
                raise
            lost = Reply.of(f"451 4.4.2 {e}")
            answers += [lost] * (recipients - len(answers))
        return tuple(answers)

    async def reset(self) -> None:
        """Forget the transaction, so that nothing of it is delivered. Never fails."""
        try:
            if not (await self.command("RSET")).accepted:
                self.abort()
        except TemporaryError:
            self.abort()

    def quit(self) -> None:
        """Leave politely without waiting for the answer. May be repeated."""
        if self.alive:
            self._writer.write(b"QUIT\r\n")
        self._writer.close()

    def abort(self) -> None:
        """Drop the connection: what has not been answered is not to be delivered."""
        self._writer.transport.abort()

    async def _introduce(self, hostname: str) -> None:
        with self._aborted_by_failure("connecting"):
            greeting = await asyncio.wait_for(self._reply(), self._timeout_s)
        if greeting.code != 220:
            raise TemporaryError(f"next hop {self._address}: greeted with {greeting}")
        await self._introduce_again(hostname)

    async def _encrypt(self, level: HopTls, context: ssl.SSLContext, host: str) -> bool:
        """Whether it is TLS from now on."""
        needed = level is not HopTls.MAY
        if "STARTTLS" not in self.extensions:
            if needed:
                raise TemporaryError(
                    f'next hop {self._address}: offers no TLS, and smtp.next_hop_tls is "{level}"'
                )
            return False
        reply = await self.command("STARTTLS")
        if reply.code != 220:
            if needed:
                raise TemporaryError(f"next hop {self._address}: answered STARTTLS with {reply}")
            return False
        if tls.unread(self._reader):
            # Somebody in between may have put answers behind it (CVE-2011-0411).
            raise TemporaryError(f"next hop {self._address}: it said more than 220 to STARTTLS")
        with self._aborted_by_failure("the TLS handshake"):
            await tls.start(
                self._reader,
                self._writer,
                context,
                host=host.strip("[]"),
                timeout_s=self._timeout_s,
            )
        return True

    async def _introduce_again(self, hostname: str) -> None:
        ehlo = await self.command(f"{'LHLO' if self.lmtp else 'EHLO'} {hostname}")
        if ehlo.code == 250:
            pairs = (line.partition(" ") for line in ehlo.lines[1:])
            self.extensions = {keyword.upper(): rest.strip() for keyword, _, rest in pairs}
            return
        if self.lmtp:
            raise TemporaryError(f"next hop {self._address}: answered LHLO with {ehlo}")
        helo = await self.command(f"HELO {hostname}")
        if helo.code != 250:
            raise TemporaryError(f"next hop {self._address}: answered HELO with {helo}")

    async def _drained_reply(self) -> Reply:
        await self._writer.drain()
        return await self._reply()

    async def _send(self, message: bytes) -> tuple[Reply, bool]:
        """The first answer, and whether it came to a whole message."""
        stuffed = memoryview(_dot_stuffed(message))
        answer = asyncio.ensure_future(self._reply())
        try:
            for start in range(0, len(stuffed), _PIECE):
                if answer.done():
                    break  # it has heard enough: 552, or a lost connection
                self._writer.write(stuffed[start : start + _PIECE])
                await self._drain_or(answer)
            else:
                return await asyncio.wait_for(answer, self._timeout_s), True
            reply = await answer
        finally:
            answer.cancel()
        self.abort()  # it did not hear the dot
        if reply.accepted:
            raise TemporaryError(f"next hop {self._address}: accepted half a message: {reply}")
        return reply, False

    async def _drain_or(self, answer: "asyncio.Future[Reply]") -> None:
        try:
            await asyncio.wait_for(self._writer.drain(), self._timeout_s)
        except ConnectionError:
            # Its last words may still be in the buffer.
            await asyncio.wait({answer}, timeout=self._timeout_s)
            if not answer.done() or answer.exception() is not None:
                raise

    async def _reply(self) -> Reply:
        lines: list[str] = []
        while len(lines) < _MAX_REPLY_LINES:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as e:
                raise ConnectionResetError("it closed the connection") from e
            except asyncio.LimitOverrunError as e:
                raise ConnectionError("its reply has no end") from e
            match = _REPLY_LINE.fullmatch(line)
            if match is None:
                raise ConnectionError(f"it does not speak SMTP: {line[:100]!r}")
            lines.append((match[3] or b"").decode("utf-8", "replace"))
            if match[2] != b"-":
                reply = Reply(int(match[1]), tuple(lines))
                if reply.code == 421:
                    raise ConnectionError(f"it closes: {reply}")
                return reply
        raise ConnectionError("its reply has no end")

    @contextmanager
    def _aborted_by_failure(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as e:
            self.abort()
            raise TemporaryError(f"next hop {self._address}: lost at {what}: {_why(e)}") from e
        except BaseException:
            self.abort()
            raise


def _dot_stuffed(message: bytes) -> bytes:
    """With the transparency of RFC 5321 section 4.5.2 and the end of data."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    dot = b"." if message.startswith(b".") else b""
    end = b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"
    return dot + stuffed + end


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time (smtp.next_hop_timeout_s)"
    return str(error) or type(error).__name__
