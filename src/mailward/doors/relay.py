"""One client's way to the next hop: its commands go there as they come, its answers come back.

The connection is made when it is first needed and kept for the client's further messages. A next
hop that went away before it was given the message has taken nothing, so the transaction is told
again on a new connection: a slow client's message outlives the next hop's patience with silence.
"""

from collections.abc import Mapping, Sequence

from mailward.doors.commands import Mail
from mailward.doors.next_hop import HopConnection
from mailward.doors.next_hops import NextHops
from mailward.doors.reply import Reply
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope

_NONSENSE = Reply.of("451 4.5.0 Mail server behind this gateway gave an unexpected answer")
"""Instead of an answer that says neither yes nor no."""


class Relay:
    """MAIL, RCPT, DATA as the next hop answers them. Every method may raise TemporaryError.

    After one the transaction stands as before and the call may be repeated, except that a message
    may then be delivered twice.
    """

    def __init__(self, hops: NextHops, hostname: str) -> None:
        self._hops = hops
        self._hostname = hostname
        self._hop: HopConnection | None = None
        self._mail: Mail | None = None
        self._accepted: list[str] = []

    async def extensions(self) -> Mapping[str, str]:
        """What the next hop offers."""
        return (await self._connected()).extensions

    async def mail(self, mail: Mail) -> Reply:
        """Begin a transaction."""
        self._mail, self._accepted = None, []
        kept = self._hop is not None
        try:
            reply = await self._say_mail(await self._connected(), mail)
        except TemporaryError:
            if not kept:
                raise
            # It may have closed a connection that was idle; nothing was begun.
            reply = await self._say_mail(await self._connected(), mail)
        if reply.accepted:
            self._mail = mail
        return reply

    async def rcpt(self, path: str) -> Reply:
        """Name a recipient. After a TemporaryError those named before still stand."""
        hop = await self._in_transaction()
        reply = _sensible(await hop.command(_rcpt_to(path)))
        if reply.accepted:
            self._accepted.append(path)
        return reply

    async def data(self, message: bytes) -> Reply:
        """Hand the message over; 2xx means that the next hop has it (S12)."""
        hop = await self._in_transaction()
        try:
            reply = await hop.command("DATA")
        except TemporaryError:
            hop = await self._in_transaction()
            reply = await hop.command("DATA")
        if reply.code != 354:
            await self.reset()
            return _sensible(reply) if not reply.accepted else _NONSENSE
        self._mail, self._accepted = None, []
        return _sensible(await hop.send(message))

    async def reset(self) -> None:
        """End the transaction with nothing delivered. Never fails."""
        begun, self._mail, self._accepted = self._mail is not None, None, []
        if begun and self._hop is not None and self._hop.alive:
            await self._hop.reset()

    def close(self) -> None:
        """End the session; a transaction that is open is dropped. May be repeated."""
        if self._hop is not None and self._mail is not None:
            self._hop.abort()
        elif self._hop is not None:
            self._hop.quit()
        self._hop = None

    def abort(self) -> None:
        """Drop everything at once, in whatever state it is."""
        if self._hop is not None:
            self._hop.abort()
        self._hop = None

    async def _connected(self) -> HopConnection:
        if self._hop is None or not self._hop.alive:
            self.abort()
            self._hop = await self._hops.connect(self._hostname)
        return self._hop

    async def _in_transaction(self) -> HopConnection:
        if self._mail is None:
            raise ValueError("MAIL comes first")
        if self._hop is not None and self._hop.alive:
            return self._hop
        hop = await self._connected()
        try:
            self._require_again(await self._say_mail(hop, self._mail))
            for path in self._accepted:
                self._require_again(await hop.command(_rcpt_to(path)))
        except BaseException:
            hop.abort()  # or half a transaction would look like a whole one
            raise
        return hop

    def _require_again(self, reply: Reply) -> None:
        if not reply.accepted:
            raise TemporaryError(
                "next hop closed during a transaction and then refused "
                f"what it had accepted: {reply}"
            )

    async def _say_mail(self, hop: HopConnection, mail: Mail) -> Reply:
        for extension, wanted in (("8BITMIME", bool(mail.body)), ("SMTPUTF8", mail.smtputf8)):
            if wanted and extension not in hop.extensions:
                return Reply.of(f"555 5.5.4 {extension} is not supported")
        parameters = [
            p for p in mail.parameters() if not p.startswith("SIZE=") or "SIZE" in hop.extensions
        ]
        command = " ".join((f"MAIL FROM:<{mail.path}>", *parameters))
        return _sensible(await hop.command(command))


async def deliver(relay: Relay, envelope: Envelope, message: bytes) -> Mapping[str, str]:
    """Hand a whole message over; the recipients that were refused, with the next hop's answers.

    Raises TemporaryError when the next hop cannot be reached or does not say that it has it.
    """
    eight_bit = not message.isascii() and "8BITMIME" in await relay.extensions()
    body = "8BITMIME" if eight_bit else ""
    reply = await relay.mail(Mail(envelope.sender, len(message), body, envelope.smtputf8))
    if not reply.accepted:
        return _all(envelope.recipients, reply)
    refused: dict[str, str] = {}
    for path in envelope.recipients:
        answer = await relay.rcpt(path)
        if not answer.accepted:
            refused[path] = str(answer)
    if len(refused) == len(set(envelope.recipients)):
        await relay.reset()
        return refused
    reply = await relay.data(message)
    return refused if reply.accepted else _all(envelope.recipients, reply)


def _all(recipients: Sequence[str], reply: Reply) -> dict[str, str]:
    return dict.fromkeys(recipients, str(reply))


def _rcpt_to(path: str) -> str:
    return f"RCPT TO:<{path}>"


def _sensible(reply: Reply) -> Reply:
    return reply if reply.final else _NONSENSE
