"""A held message as values, and how ``entry.json`` writes them down."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from mailward.errors import FormatError
from mailward.protect.policy import Decision
from mailward.rules import Action
from mailward.scan.verdict import Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who a message is from and for: paths as SMTP has them, without the angle brackets."""

    sender: str
    """Empty for the null sender of bounces."""
    recipients: tuple[str, ...]
    smtputf8: bool = False
    """Whether the sender asked for SMTPUTF8 (RFC 6531), so that it can be asked for again."""


@dataclass(frozen=True, slots=True)
class Held:
    """One message in quarantine."""

    id: str
    at: datetime
    envelope: Envelope
    size_bytes: int
    sha256: str
    verdict: Verdict
    decision: Decision
    subject: str = ""
    message_id: str = ""


def encode(held: Held) -> bytes:
    """What ``entry.json`` holds; ``decode`` is its inverse."""
    plain = {
        "at": held.at.isoformat(),
        "envelope": asdict(held.envelope),
        "size_bytes": held.size_bytes,
        "sha256": held.sha256,
        "verdict": held.verdict.to_plain(),
        "decision": asdict(held.decision),
        "subject": held.subject,
        "message_id": held.message_id,
    }
    return json.dumps(plain, indent=1).encode("ascii")


def decode(id_: str, content: bytes) -> Held:
    """The inverse of ``encode``, for any bytes. Raises FormatError."""
    try:
        return _decode(id_, json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise FormatError(f"quarantine entry {id_}: its description is damaged: {e!r}") from e


def _decode(id_: str, plain: dict[str, Any]) -> Held:
    envelope, decision = plain["envelope"], plain["decision"]
    return Held(
        id=id_,
        at=datetime.fromisoformat(plain["at"]),
        envelope=Envelope(
            str(envelope["sender"]),
            tuple(str(r) for r in envelope["recipients"]),
            bool(envelope["smtputf8"]),
        ),
        size_bytes=int(plain["size_bytes"]),
        sha256=str(plain["sha256"]),
        verdict=Verdict.from_plain(plain["verdict"]),
        decision=Decision(
            Action(decision["action"]),
            VerdictKind(decision["because"]),
            str(decision["reason"]),
            str(decision.get("rule", "")),  # entries of older releases have none of these three
        ),
        subject=str(plain.get("subject", "")),
        message_id=str(plain.get("message_id", "")),
    )
