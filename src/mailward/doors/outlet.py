"""Where one message goes: each action as the gateway carries it out, and the answer for it (S12).

All recipients of a message share one answer. Where the policy decides differently for some of them:

- what is to be held is on disk before anything is handed over, and taken back if nothing could be;
- a refusal would refuse it for all, so who was to be refused has it held instead;
- once the next hop has taken it for some, it is held for those whom it does not take it for. LMTP
  servers say so for each recipient, whatever the policy decided.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from mailward.doors import headers
from mailward.doors.judge import Judged
from mailward.doors.relay import Outcome, Relay
from mailward.doors.reply import Reply
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope, Held
from mailward.protect.policy import Decision, ForSome, printable_ascii
from mailward.protect.quarantine import Quarantine
from mailward.rules import CUTTING, Action

log = structlog.get_logger(__name__)

_ANSWER_MAX = 200
"""Characters of the next hop's answer that an entry in quarantine tells."""
_TAKEN = Reply.of("250 2.0.0 Message accepted")


@dataclass(frozen=True, slots=True)
class Outlet:
    """One message, scanned, with its transaction at the next hop still open."""

    message: bytes
    judged: Judged
    envelope: Envelope
    quarantine: Quarantine
    relay: Relay
    held: list[Held] = field(default_factory=list)
    """What is in the quarantine of it, once acted."""

    async def act(self) -> Reply:
        """Carry out what was decided. Raises TemporaryError: then nobody has the message."""
        decisions = self.judged.decisions
        if len(decisions) == 1:
            return await self._for_all(decisions[0].decision)
        if all(some.decision.action is Action.REJECT for some in decisions):
            return _refusal(decisions[0].decision)
        return await self._for_each(decisions)

    async def _for_all(self, decision: Decision) -> Reply:
        match decision.action:
            case Action.DELIVER | Action.TAG:
                outcome = await self.relay.data(self._outgoing(decision))
                if outcome.reply.accepted and outcome.refused:
                    await self._hold_refused(decision, outcome)
                return outcome.reply
            case Action.DISARM | Action.STRIP:
                held = await self._hold_whole([ForSome(decision, self.envelope.recipients)])
                return await self._or_take_back(held)
            case Action.REDIRECT:
                await self.relay.reset()
                refused = await self._hand_over(ForSome(decision, self.envelope.recipients))
                if refused:
                    raise TemporaryError(f"redirect by {decision.rule!r} was refused: {refused}")
                return _TAKEN
            case Action.QUARANTINE:
                held = await self._hold(ForSome(decision, self.envelope.recipients))
                return Reply.of(f"250 2.0.0 Message accepted as {held.id}")  # S12: it is on disk
            case Action.REJECT:
                return _refusal(decision)
            case Action.DISCARD:
                return _TAKEN

    async def _for_each(self, decisions: Sequence[ForSome]) -> Reply:
        await self.relay.reset()
        held = [
            await self._hold(some)
            for some in decisions
            if some.decision.action in (Action.QUARANTINE, Action.REJECT)
        ]
        stripped = [some for some in decisions if some.decision.action in CUTTING]
        if stripped:
            held.append(await self._hold_whole(stripped))
        handed_over = False
        for some in decisions:
            if some.decision.action in (Action.QUARANTINE, Action.REJECT, Action.DISCARD):
                continue
            try:
                refused = await self._hand_over(some)
            except TemporaryError:
                if not handed_over:
                    for entry in held:  # the sender tries again, and would have them held twice
                        await asyncio.to_thread(self.quarantine.delete, entry.id)
                    raise
                refused = some.recipients
            handed_over = handed_over or len(refused) < len(some.recipients)
            if refused and some.decision.action not in CUTTING:  # that is held already
                await self._hold(replace(some, recipients=refused))
        return _TAKEN

    async def _hand_over(self, some: ForSome) -> tuple[str, ...]:
        """In a transaction of its own; who was refused. Raises TemporaryError."""
        recipients = some.decision.to or some.recipients
        refused = await self.relay.deliver(
            replace(self.envelope, recipients=recipients), self._outgoing(some.decision)
        )
        if len(refused) == len(set(recipients)) and all(a[:1] == "4" for a in refused.values()):
            raise TemporaryError(f"next hop took it for nobody: {next(iter(refused.values()))}")
        if some.decision.to:
            return some.recipients if refused else ()
        return tuple(recipient for recipient in recipients if recipient in refused)

    async def _hold(self, some: ForSome, id_: str | None = None) -> Held:
        envelope = replace(self.envelope, recipients=some.recipients)
        held = await asyncio.to_thread(
            self.quarantine.hold, self.message, envelope, self.judged.verdict, some.decision, id_
        )
        self.held.append(held)
        return held

    async def _hold_refused(self, decision: Decision, outcome: Outcome) -> None:
        """For those to whom the next hop did not deliver what it delivered to others."""
        answer = printable_ascii(str(next(iter(outcome.refused.values()))), _ANSWER_MAX)
        reason = f"{decision.reason}; the next hop took it for others only: {answer}"
        log.warning("taken for some only", held_for=len(outcome.refused), answer=answer)
        await self._hold(ForSome(replace(decision, reason=reason), tuple(outcome.refused)))

    async def _hold_whole(self, stripped: Sequence[ForSome]) -> Held:
        """What the note in the stripped message names, once for all who get that."""
        recipients = tuple(recipient for some in stripped for recipient in some.recipients)
        some = ForSome(stripped[0].decision, recipients)
        return await self._hold(some, self.judged.cut.held_as if self.judged.cut else None)

    async def _or_take_back(self, held: Held) -> Reply:
        """Hand the stripped message over; if it is not taken, the whole one is the sender's."""
        try:
            reply = (await self.relay.data(self._outgoing(held.decision))).reply
        except TemporaryError:
            await asyncio.to_thread(self.quarantine.delete, held.id)
            raise
        if not reply.accepted:
            await asyncio.to_thread(self.quarantine.delete, held.id)
        return reply

    def _outgoing(self, decision: Decision) -> bytes:
        judged = self.judged
        if decision.action in CUTTING and judged.cut is not None:
            message = headers.with_subject(judged.cut.content, decision.subject)
            fields = headers.verdict_fields(judged.cut.verdict, decision)
            return fields + headers.cut(judged.cut.how, judged.cut.held_as) + message
        message = headers.with_subject(self.message, decision.subject)
        # Whoever changes the subject says something that the stamp does not cover.
        stamp = b"" if decision.subject else judged.stamp
        return headers.verdict_fields(judged.verdict, decision) + stamp + message


def _refusal(decision: Decision) -> Reply:
    return Reply.of(f"550 5.7.1 Message refused: {decision.reason}")
