"""Where one message goes, for a milter: decisions to what the mail server is asked to do (S12).

The server has one message and one answer for it, so:

- what is to be held is in our quarantine, on disk, before the server hears anything; then it drops
  the message, or those recipients;
- a refusal would refuse it for all: unless everybody is refused, who was to be has it held;
- those who get it get it with the same header: of their decisions, the harshest is shown.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from mailward.doors import milter_replies
from mailward.doors.judge import Judged
from mailward.doors.milter_message import Message, path
from mailward.doors.reply import Reply
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope, Held
from mailward.protect.policy import Decision, ForSome
from mailward.protect.quarantine import Quarantine
from mailward.rules import CUTTING, Action

_HELD = (Action.QUARANTINE, Action.REJECT)
_LEFT_ALONE = (Action.DELIVER, Action.TAG, *CUTTING)


def unite(judged: Judged) -> Judged:
    """Where all are refused, by whatever rules, it is one refusal."""
    if all(some.decision.action is Action.REJECT for some in judged.decisions):
        recipients = tuple(r for some in judged.decisions for r in some.recipients)
        return replace(judged, decisions=(ForSome(judged.decisions[0].decision, recipients),))
    return judged


async def act(
    judged: Judged, message: Message, content: bytes, quarantine: Quarantine, kept: list[Held]
) -> tuple[bytes, str]:
    """Carry out what was decided; what the server is told, and the same for the log.

    ``kept``: gets what is in the quarantine of it afterwards.

    Raises TemporaryError: then nobody has the message.
    """
    decisions = judged.decisions
    if len(decisions) == 1 and decisions[0].decision.action is Action.REJECT:
        refusal = Reply.of(f"550 5.7.1 Message refused: {decisions[0].decision.reason}")
        return milter_replies.reply(refusal), str(refusal)
    kept += await asyncio.to_thread(_hold, judged, message.envelope(), content, quarantine)
    staying = [
        some.decision for some in decisions if some.decision.action not in (*_HELD, Action.DISCARD)
    ]
    if not staying:
        return milter_replies.DISCARD, "discard"
    asked = message.changes(judged, _harshest(staying))
    asked += _recipients(decisions, message)
    return b"".join((*asked, milter_replies.CONTINUE)), "continue"


def _hold(judged: Judged, whole: Envelope, content: bytes, quarantine: Quarantine) -> list[Held]:
    """Everything that is to be held, or nothing: the sender tries again. Raises TemporaryError."""
    held: list[Held] = []
    try:
        for some in judged.decisions:
            if some.decision.action in _HELD:
                envelope = replace(whole, recipients=some.recipients)
                held.append(quarantine.hold(content, envelope, judged.verdict, some.decision))
        stripped = [s for s in judged.decisions if s.decision.action in CUTTING]
        if stripped and judged.cut is not None:
            recipients = tuple(recipient for some in stripped for recipient in some.recipients)
            envelope = replace(whole, recipients=recipients)
            decision, id_ = stripped[0].decision, judged.cut.held_as
            held.append(quarantine.hold(content, envelope, judged.verdict, decision, id_))
    except TemporaryError:
        for entry in held:
            quarantine.delete(entry.id)
        raise
    return held


def _recipients(decisions: Sequence[ForSome], message: Message) -> list[bytes]:
    leaving = {
        recipient
        for some in decisions
        if some.decision.action not in _LEFT_ALONE
        for recipient in some.recipients
    }
    to = dict.fromkeys(address for some in decisions for address in some.decision.to)
    return [
        *(milter_replies.delete_recipient(r) for r in message.recipients if path(r) in leaving),
        *(milter_replies.add_recipient(f"<{address}>".encode()) for address in to),
    ]


def _harshest(decisions: Sequence[Decision]) -> Decision:
    return max(decisions, key=lambda decision: list(Action).index(decision.action))
