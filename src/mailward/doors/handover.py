"""What the gateway does with a whole message: its path from "received" to the answer.

The answer is all that the sender knows of what became of the message, so there are three: the next
hop's own, when it was given the message; 250 when the quarantine has it on disk; a refusal, when
nobody has it (S12).
"""

import time
from dataclasses import dataclass

from mailward.doors import headers
from mailward.doors.judge import Judge, Judged
from mailward.doors.origin import Origin
from mailward.doors.outlet import Outlet
from mailward.doors.relay import Relay
from mailward.doors.reply import Reply
from mailward.doors.told import Notify, Record, message_event, tell, unrecorded
from mailward.errors import ScannerDownError, TemporaryError
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.quarantine import Quarantine

MAX_HOPS = 100
"""``Received`` fields before a message is taken to run in circles (RFC 5321 section 6.3)."""

_TOO_MANY_HOPS = Reply.of("554 5.4.6 Error: too many hops")
NOT_SCANNED = Reply.of("451 4.3.0 Message cannot be checked at the moment, try again later")
NOT_HELD = Reply.of("451 4.3.1 Message cannot be stored at the moment, try again later")
HOP_DOWN = Reply.of("451 4.4.1 Mail server behind this gateway is not available, try again later")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as a client gave it."""

    trace: headers.Trace
    origin: Origin
    envelope: Envelope
    """With the recipients that the next hop has accepted."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Handover:
    """Scan, decide, act: one message at a time, any number at once."""

    judge: Judge
    quarantine: Quarantine
    record: Record = unrecorded
    notify: Notify | None = None

    async def take(self, incoming: Incoming, relay: Relay) -> Reply:
        """Do with the message what the policy says. The reply says what became of it; never fails.

        ``relay`` has the transaction open; when this returns it is over.
        """
        began = time.perf_counter()
        envelope = incoming.envelope
        judged = None
        note = ""
        try:
            if headers.hops(incoming.content) > MAX_HOPS:
                reply = _TOO_MANY_HOPS
            else:
                message = headers.received(incoming.trace) + headers.without_ours(incoming.content)
                judged = await self.judge.judge(
                    message, envelope, incoming.origin, incoming.content
                )
                outlet = Outlet(message, judged, envelope, self.quarantine, relay)
                reply = await outlet.act()
                self._tell_people(judged, outlet, incoming.origin.address)
        except ScannerDownError as e:
            reply, note = NOT_SCANNED, str(e)
        except TemporaryError as e:
            held = judged is not None and judged.holds
            reply, note = (NOT_HELD if held else HOP_DOWN), str(e)
        finally:
            await relay.reset()  # nothing of a message that was not handed over is delivered
        event = message_event(
            "smtp",
            envelope,
            judged,
            origin=incoming.origin,
            content=incoming.content,
            size_bytes=len(incoming.content),
            answer=str(reply),
            ms=(time.perf_counter() - began) * 1000,
            trace_id=incoming.trace.id,
        )
        tell(event, self.record, note)
        return reply

    def _tell_people(self, judged: Judged, outlet: Outlet, client: str) -> None:
        if self.notify is not None and judged.notifies:
            envelope = outlet.envelope
            mail = Mail(envelope.sender, envelope.recipients, client, outlet.message)
            self.notify.note(judged.decisions, outlet.held, mail, self.judge.policy)
