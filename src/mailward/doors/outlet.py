"""Where one message goes: each action as the gateway carries it out, and the answer for it (S12).

All recipients of a message share one answer. Where the policy decides differently for some of them:

- what is to be held is on disk before anything is handed over, and taken back if nothing could be;
- a refusal would refuse it for all, so who was to be refused has it held instead;
- once the next hop has taken it for some, it is held for those whom it does not take it for.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailward.doors import headers
from mailward.doors.relay import Relay, deliver
from mailward.doors.reply import Reply
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope, Held
from mailward.protect.policy import Decision, ForSome
from mailward.protect.quarantine import Quarantine
from mailward.rules import Action
from mailward.scan.verdict import Verdict

_TAKEN = Reply.of("250 2.0.0 Message accepted")


@dataclass(frozen=True, slots=True)
class Outlet:
    """One message, scanned, with its transaction at the next hop still open."""

    message: bytes
    verdict: Verdict
    envelope: Envelope
    quarantine: Quarantine
    relay: Relay

    async def act(self, decisions: Sequence[ForSome]) -> Reply:
        """Carry out what was decided. Raises TemporaryError: then nobody has the message."""
        if len(decisions) == 1:
            return await self._for_all(decisions[0].decision)
        if all(some.decision.action is Action.REJECT for some in decisions):
            return _refusal(decisions[0].decision)
        return await self._for_each(decisions)

    async def _for_all(self, decision: Decision) -> Reply:
        match decision.action:
            case Action.DELIVER | Action.TAG:
                return await self.relay.data(self._outgoing(decision))
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
        handed_over = False
        for some in decisions:
            if some.decision.action not in (Action.DELIVER, Action.TAG, Action.REDIRECT):
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
            if refused:
                await self._hold(replace(some, recipients=refused))
        return _TAKEN

    async def _hand_over(self, some: ForSome) -> tuple[str, ...]:
        """In a transaction of its own; who was refused. Raises TemporaryError."""
        recipients = some.decision.to or some.recipients
        refused = await deliver(
            self.relay,
            replace(self.envelope, recipients=recipients),
            self._outgoing(some.decision),
        )
        if len(refused) == len(set(recipients)) and all(a[:1] == "4" for a in refused.values()):
            raise TemporaryError(f"next hop took it for nobody: {next(iter(refused.values()))}")
        if some.decision.to:
            return some.recipients if refused else ()
        return tuple(recipient for recipient in recipients if recipient in refused)

    async def _hold(self, some: ForSome) -> Held:
        envelope = replace(self.envelope, recipients=some.recipients)
        return await asyncio.to_thread(
            self.quarantine.hold, self.message, envelope, self.verdict, some.decision
        )

    def _outgoing(self, decision: Decision) -> bytes:
        message = headers.with_subject(self.message, decision.subject)
        return headers.verdict_fields(self.verdict, decision) + message


def _refusal(decision: Decision) -> Reply:
    return Reply.of(f"550 5.7.1 Message refused: {decision.reason}")
