"""One client's way to the next hop: its commands go there as they come, its answers come back.

The connection is made when it is first needed and kept for the client's further messages. A next
hop that went away before it was given the message has taken nothing, so the transaction is told
again on a new connection: a slow client's message outlives the next hop's patience with silence.

Where the next hop depends on the recipient's domain, it hears MAIL when its first recipient comes,
and what it says to that is the answer to the recipient. A transaction is with one next hop: further
recipients of another one hear 452, by which clients send the message once more, for those (RFC 5321
section 4.5.3.1.10). So each answer is that of the server that has the message, and a message that
one of them takes and another does not is never half accepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailward.doors.commands import Mail
from mailward.doors.next_hop import HopConnection
from mailward.doors.next_hops import NextHops
from mailward.doors.origin import Origin
from mailward.doors.reply import Reply
from mailward.doors.routes import Routes
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope

_NONSENSE = Reply.of("451 4.5.0 Mail server behind this gateway gave an unexpected answer")
"""Instead of an answer that says neither yes nor no."""
_MAIL_NOTED = Reply.of("250 2.1.0 OK")
_ANOTHER_HOP = Reply.of("452 4.5.3 This recipient needs a transaction of its own, try again")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the next hop said to a message."""

    reply: Reply
    """2xx: it has the message for all but those ``refused``. Otherwise for nobody."""
    refused: Mapping[str, Reply] = field(default_factory=dict)
    """Recipients that it has not taken the message for, with its answers."""

    @classmethod
    def of(cls, recipients: Sequence[str], answers: Sequence[Reply]) -> "Outcome":
        """One answer for each of ``recipients``."""
        refused = {
            r: answer for r, answer in zip(recipients, answers, strict=True) if not answer.accepted
        }
        # While it may still be taken for somebody, the sender is to try again.
        reply = min(answers, key=lambda answer: (not answer.accepted, answer.code // 100))
        return cls(reply, refused)


class Relay:
    """MAIL, RCPT, DATA as the next hop answers them. Every method may raise TemporaryError.

    After one the transaction stands as before and the call may be repeated, except that a message
    may then be delivered twice.
    """

    def __init__(self, routes: Routes, hostname: str) -> None:
        self._routes = routes
        self._hostname = hostname
        self._hops = routes.default
        self._hop: HopConnection | None = None
        self._mail: Mail | None = None
        self._told = False
        """Whether the next hop has heard ``_mail``."""
        self._accepted: list[str] = []
        self.origin: Origin | None = None
        """Whom the next message comes from: next hops that offer XFORWARD are told."""

    async def extensions(self) -> Mapping[str, str]:
        """What the next hop offers."""
        if self._routes.several:
            return self._routes.offered()
        return (await self._connected()).extensions

    async def mail(self, mail: Mail) -> Reply:
        """Begin a transaction."""
        self._forget()
        if self._routes.several:
            self._mail = mail
            return _MAIL_NOTED
        reply = await self._tell(mail)
        if reply.accepted:
            self._mail, self._told = mail, True
        return reply

    async def rcpt(self, path: str) -> Reply:
        """Name a recipient. After a TemporaryError those named before still stand."""
        if self._routes.several and not await self._goes_with(self._routes.to(path)):
            return _ANOTHER_HOP
        if self._mail is not None and not self._told:
            reply = await self._tell(self._mail)
            if not reply.accepted:
                return reply
            self._told = True
        hop = await self._in_transaction()
        reply = _sensible(await hop.command(_rcpt_to(path)))
        if reply.accepted:
            self._accepted.append(path)
        return reply

    async def data(self, message: bytes) -> Outcome:
        """Hand the message over; 2xx means that the next hop has it (S12)."""
        hop = await self._in_transaction()
        try:
            reply = await hop.command("DATA")
        except TemporaryError:
            hop = await self._in_transaction()
            reply = await hop.command("DATA")
        recipients = self._accepted
        if reply.code != 354:
            await self.reset()
            no = _sensible(reply) if not reply.accepted else _NONSENSE
            return Outcome(no, dict.fromkeys(recipients, no))
        self._forget()
        answers = await hop.send(message, len(recipients))
        return Outcome.of(recipients, [_sensible(answer) for answer in answers])

    async def reset(self) -> None:
        """End the transaction with nothing delivered. Never fails."""
        told = self._told
        self._forget()
        if told and self._hop is not None and self._hop.alive:
            await self._hop.reset()

    async def deliver(self, envelope: Envelope, message: bytes) -> Mapping[str, str]:
        """Hand a whole message over; the recipients that were refused, with the answers.

        Raises TemporaryError when nobody can be reached, or nobody says that they have it.
        """
        refused: dict[str, str] = {}
        taken, failure = False, None
        parties: dict[NextHops, list[str]] = {}
        for path in envelope.recipients:
            parties.setdefault(self._routes.to(path), []).append(path)
        for hops, recipients in parties.items():
            try:
                refused |= await self._deliver(hops, envelope, recipients, message)
                taken = True
            except TemporaryError as e:
                failure = e
                refused |= dict.fromkeys(recipients, f"451 4.4.1 {e}")
        if failure is not None and not taken:
            raise failure
        return refused

    def close(self) -> None:
        """End the session; a transaction that is open is dropped. May be repeated."""
        if self._hop is not None and self._told:
            self._hop.abort()
        elif self._hop is not None:
            self._hop.quit()
        self._hop = None

    def abort(self) -> None:
        """Drop everything at once, in whatever state it is."""
        if self._hop is not None:
            self._hop.abort()
        self._hop = None

    def _forget(self) -> None:
        self._mail, self._told, self._accepted = None, False, []

    async def _goes_with(self, hops: NextHops) -> bool:
        """Whether the transaction can be, or be made, one with ``hops``."""
        if hops is self._hops:
            return True
        if self._accepted:
            return False
        if self._told and self._hop is not None and self._hop.alive:
            await self._hop.reset()  # it has refused whoever it was told of
        self._told = False
        self.close()
        self._hops = hops
        return True

    async def _deliver(
        self, hops: NextHops, envelope: Envelope, recipients: Sequence[str], message: bytes
    ) -> dict[str, str]:
        self._forget()
        await self._goes_with(hops)
        eight_bit = not message.isascii() and "8BITMIME" in (await self._connected()).extensions
        body = "8BITMIME" if eight_bit else ""
        reply = await self.mail(Mail(envelope.sender, len(message), body, envelope.smtputf8))
        if not reply.accepted:
            return dict.fromkeys(recipients, str(reply))
        refused: dict[str, str] = {}
        for path in recipients:
            answer = await self.rcpt(path)
            if not answer.accepted:
                refused[path] = str(answer)
        if len(refused) == len(set(recipients)):
            await self.reset()
            return refused
        outcome = await self.data(message)
        return refused | {path: str(answer) for path, answer in outcome.refused.items()}

    async def _connected(self) -> HopConnection:
        if self._hop is None or not self._hop.alive:
            self.abort()
            self._hop = await self._hops.connect(self._hostname)
        return self._hop

    async def _tell(self, mail: Mail) -> Reply:
        kept = self._hop is not None
        try:
            return await self._say_mail(await self._connected(), mail)
        except TemporaryError:
            if not kept:
                raise
            # It may have closed a connection that was idle; nothing was begun.
            return await self._say_mail(await self._connected(), mail)

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
                if self._routes.several:  # the client was told otherwise before this was known
                    return Reply.of(f"451 4.5.0 {extension} is not supported there, try again")
                return Reply.of(f"555 5.5.4 {extension} is not supported")
        parameters = [
            p for p in mail.parameters() if not p.startswith("SIZE=") or "SIZE" in hop.extensions
        ]
        attributes = hop.extensions.get("XFORWARD", "")
        if self.origin is not None and (said := self.origin.xforward(attributes)):
            await hop.command(said)  # whatever it answers: the message matters more
        command = " ".join((f"MAIL FROM:<{mail.path}>", *parameters))
        return _sensible(await hop.command(command))


def _rcpt_to(path: str) -> str:
    return f"RCPT TO:<{path}>"


def _sensible(reply: Reply) -> Reply:
    return reply if reply.final else _NONSENSE
