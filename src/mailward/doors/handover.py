"""What the gateway does with a whole message: its path from "received" to the answer.

The answer is all that the sender knows of what became of the message, so there are three: the next
hop's own, when it was given the message; 250 when the quarantine has it on disk; a refusal, when
nobody has it (S12).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import structlog

from mailward.config import PolicySettings
from mailward.doors import headers
from mailward.doors.outlet import Outlet
from mailward.doors.relay import Relay
from mailward.doors.reply import Reply
from mailward.errors import ScannerDownError, TemporaryError
from mailward.protect.events import Event
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail, mail_text
from mailward.protect.policy import ForSome, decide_each, unscanned
from mailward.protect.quarantine import Quarantine
from mailward.rules import Action, WhenDown
from mailward.scan.part import Role
from mailward.scan.verdict import Reason, Unopened, Verdict

log = structlog.get_logger(__name__)

MAX_HOPS = 100
"""``Received`` fields before a message is taken to run in circles (RFC 5321 section 6.3)."""

_TOO_MANY_HOPS = Reply.of("554 5.4.6 Error: too many hops")
_NOT_SCANNED = Reply.of("451 4.3.0 Message cannot be checked at the moment, try again later")
_NOT_HELD = Reply.of("451 4.3.1 Message cannot be stored at the moment, try again later")
HOP_DOWN = Reply.of("451 4.4.1 Mail server behind this gateway is not available, try again later")


Record = Callable[[Event], None]
"""Where a door tells what became of a message. Never waits, never fails."""


def unrecorded(_event: Event) -> None:
    """Nobody keeps a record."""


class Scans(Protocol):
    """What a door needs of the scanner."""

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """Scan one message. Raises ScannerDownError when no worker can."""
        ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as a client gave it."""

    trace: headers.Trace
    envelope: Envelope
    """With the recipients that the next hop has accepted."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Handover:
    """Scan, decide, act: one message at a time, any number at once."""

    policy: PolicySettings
    scanner: Scans
    quarantine: Quarantine
    record: Record = unrecorded

    async def take(self, incoming: Incoming, relay: Relay) -> Reply:
        """Do with the message what the policy says. The reply says what became of it; never fails.

        ``relay`` has the transaction open; when this returns it is over.
        """
        began = time.perf_counter()
        verdict, decisions = None, tuple[ForSome, ...]()
        note = ""
        try:
            if headers.hops(incoming.content) > MAX_HOPS:
                reply = _TOO_MANY_HOPS
            else:
                message = headers.received(incoming.trace) + headers.without_ours(incoming.content)
                verdict, decisions = await self._decide(message, incoming)
                outlet = Outlet(message, verdict, incoming.envelope, self.quarantine, relay)
                reply = await outlet.act(decisions)
        except ScannerDownError as e:
            reply, note = _NOT_SCANNED, str(e)
        except TemporaryError as e:
            held = any(some.decision.action is Action.QUARANTINE for some in decisions)
            reply, note = (_NOT_HELD if held else HOP_DOWN), str(e)
        finally:
            await relay.reset()  # nothing of a message that was not handed over is delivered
        ms = round((time.perf_counter() - began) * 1000, 1)
        event = _event(incoming, verdict, decisions, reply, ms)
        write = log.warning if note else log.info
        write("message", **_told(event), **({"problem": note} if note else {}))
        self.record(event)
        return reply

    async def _decide(
        self, message: bytes, incoming: Incoming
    ) -> tuple[Verdict, tuple[ForSome, ...]]:
        """Raises ScannerDownError, unless the policy knows what to do without a scan."""
        recipients = incoming.envelope.recipients
        try:
            verdict = await self.scanner.scan(message)
        except ScannerDownError as e:
            if self.policy.scanner_down is WhenDown.TEMPFAIL:
                raise
            decision = unscanned(self.policy.scanner_down)
            unopened = Unopened("message", Reason.CRASH, str(e))
            return Verdict(unopened=(unopened,)), (ForSome(decision, recipients),)
        mail = Mail(incoming.envelope.sender, recipients, incoming.trace.client, message)
        return verdict, decide_each(verdict, self.policy, mail)


def _event(
    incoming: Incoming,
    verdict: Verdict | None,
    decisions: Sequence[ForSome],
    reply: Reply,
    ms: float,
) -> Event:
    return Event(
        event="message",
        door="smtp",
        trace_id=incoming.trace.id,
        message_id=mail_text(incoming.content, "message-id"),
        client=incoming.trace.client,
        sender=incoming.envelope.sender,
        recipients=incoming.envelope.recipients,
        size_bytes=len(incoming.content),
        verdict=verdict.kind.value if verdict else "",
        risks=tuple(dict.fromkeys(risk.name for risk in verdict.risks)) if verdict else (),
        action=tuple(some.decision.action.value for some in decisions),
        rule=tuple(some.decision.rule for some in decisions if some.decision.rule),
        set_version=verdict.set if verdict else "",
        answer=str(reply),
        ms=ms,
    )


def _told(event: Event) -> dict[str, Any]:
    """For the log: without recipients, whose number says enough there."""
    said = {key: value for key, value in asdict(event).items() if value and key != "event"}
    return said | {"recipients": len(event.recipients)}
