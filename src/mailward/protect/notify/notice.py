"""What a notification is about, and to whom it may go; decisions only.

Never to a sender from outside, or with an address that is not in a domain of ours: it is anybody's.
Never because of a message without a sender that was sent automatically: that is a notification
itself, or a bounce, and the answer to it would begin a loop (RFC 3834 section 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mailward.protect.held import Held
from mailward.protect.mail import Mail
from mailward.protect.policy import ForSome
from mailward.rules import Action, Audience
from mailward.settings.notify import NotifySettings
from mailward.settings.protect import PolicySettings

_LISTS = ("list-id", "list-post", "list-unsubscribe")
_BULK = ("bulk", "list", "junk")


@dataclass(frozen=True, slots=True)
class Notice:
    """One message, for one reader."""

    audience: Audience
    to: str
    at: datetime
    sender: str
    recipients: tuple[str, ...]
    """Of those whom the same was decided for."""
    subject: str
    action: Action
    reason: str
    held_as: str
    """Its name in the quarantine; empty if it is not there."""


def notices(
    decisions: Sequence[ForSome],
    held: Sequence[Held],
    mail: Mail,
    policy: PolicySettings,
    settings: NotifySettings,
    at: datetime,
) -> list[Notice]:
    """Who is to be told what of a message that was acted on."""
    if not any(some.decision.notify for some in decisions) or _is_automatic_bounce(mail):
        return []
    ours = mail.comes_from(policy.internal_networks)
    return [
        _notice(audience, to, some, held, mail, at)
        for some in decisions
        for audience in some.decision.notify
        for to in _readers(audience, some, mail, settings, ours=ours)
    ]


def _readers(
    audience: Audience, some: ForSome, mail: Mail, settings: NotifySettings, *, ours: bool
) -> Sequence[str]:
    match audience:
        case Audience.ADMIN:
            return settings.admin
        case Audience.RECIPIENTS if settings.domains:
            return [to for to in some.recipients if settings.is_ours(to)]
        case Audience.RECIPIENTS:
            return () if ours else some.recipients
        case Audience.SENDER:
            answerable = ours and settings.is_ours(mail.sender) and not _is_automatic(mail)
            return (mail.sender,) if answerable else ()


def _notice(
    audience: Audience, to: str, some: ForSome, held: Sequence[Held], mail: Mail, at: datetime
) -> Notice:
    entry = _entry(some, to if audience is Audience.RECIPIENTS else "", held)
    action = some.decision.action
    if entry is not None and action is Action.REJECT:
        action = Action.QUARANTINE  # refused for some only: held for them
    return Notice(
        audience,
        to,
        at,
        mail.sender,
        some.recipients,
        mail.fields.get("subject", ("",))[0],
        action,
        some.decision.reason,
        entry.id if entry is not None else "",
    )


def _entry(some: ForSome, to: str, held: Sequence[Held]) -> Held | None:
    wanted = {to} if to else set(some.recipients)
    return next((h for h in held if not wanted.isdisjoint(h.envelope.recipients)), None)


def _is_automatic(mail: Mail) -> bool:
    """RFC 3834 section 2: what nobody must answer."""
    submitted = mail.fields.get("auto-submitted", ("no",))[0].strip().lower()
    precedence = mail.fields.get("precedence", ("",))[0].strip().lower()
    return (
        not submitted.startswith("no")
        or precedence in _BULK
        or any(name in mail.fields for name in _LISTS)
    )


def _is_automatic_bounce(mail: Mail) -> bool:
    return not mail.sender and _is_automatic(mail)
