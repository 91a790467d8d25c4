"""What became of a message, told the same way by every door: a line in the log, and an event."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Protocol

import structlog

from mailward.doors.judge import Judged
from mailward.doors.origin import Origin
from mailward.protect.events import Event
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail, mail_text
from mailward.protect.policy import ForSome
from mailward.settings.protect import PolicySettings

log = structlog.get_logger(__name__)

Record = Callable[[Event], None]
"""Where a door tells what became of a message. Never waits, never fails."""


class Notify(Protocol):
    """Whom a door tells that a message was acted on, so that people hear of it."""

    def note(
        self, decisions: Sequence[ForSome], held: Sequence[Held], mail: Mail, policy: PolicySettings
    ) -> None:
        """Never waits, never fails."""
        ...


def unrecorded(_event: Event) -> None:
    """Nobody keeps a record."""


def message_event(
    door: str,
    envelope: Envelope,
    judged: Judged | None,
    *,
    origin: Origin,
    content: bytes,
    size_bytes: int,
    answer: str,
    ms: float,
    trace_id: str = "",
) -> Event:
    """``judged``: None if it came to nothing. ``content``: as far as the door has it."""
    verdict = judged.verdict if judged is not None else None
    decisions = judged.decisions if judged is not None else ()
    return Event(
        event="message",
        door=door,
        trace_id=trace_id,
        queue_id=origin.queue_id,
        message_id=mail_text(content, "message-id"),
        client=origin.address,
        helo=origin.helo,
        login=origin.login,
        sender=envelope.sender,
        recipients=envelope.recipients,
        size_bytes=size_bytes,
        verdict=verdict.kind.value if verdict else "",
        risks=tuple(dict.fromkeys(risk.name for risk in verdict.risks)) if verdict else (),
        action=tuple(some.decision.action.value for some in decisions),
        rule=tuple(some.decision.rule for some in decisions if some.decision.rule),
        set_version=verdict.set if verdict else "",
        answer=answer,
        ms=round(ms, 1),
    )


def tell(event: Event, record: Record, problem: str = "") -> None:
    """Log it and have it recorded. In the log recipients are counted, not named."""
    said = {key: value for key, value in asdict(event).items() if value and key != "event"}
    said |= {"recipients": len(event.recipients)}
    write = log.warning if problem else log.info
    write(event.event, **said, **({"problem": problem} if problem else {}))
    record(event)
