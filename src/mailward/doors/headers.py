"""Header fields that the gateway adds and removes; pure functions on bytes, nothing re-serialised.

What comes from outside under our name is removed, or a sender could call its own mail clean. The
scan comes after the removal, so what is scanned is what is delivered, whatever a malformed field
does to a reader's idea of where the header ends.

=========================== ====================================================================
``X-Mailward-Verdict``      ``clean``, ``unscannable``, ``suspicious`` or ``infected``
``X-Mailward-Set``          version of the definition set that said so
``X-Mailward-Risk``         names of what was found, separated by commas
``X-Mailward-Unscannable``  why something could not be looked into, e.g. ``encrypted``
``X-Mailward-Tag``          only on mail that the policy says to tag: the kind that was the reason
``X-Mailward-Stripped``     only on mail that parts were cut out of: what it is held as
``X-Mailward-Disarmed``     only on mail that active content was taken out of: what it is held as
``X-Mailward-Released``     only on mail out of quarantine: its name there
``X-Mailward-Scan``         for the next Mailward (``protect.stamp``)
=========================== ====================================================================
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from mailward.protect.policy import Decision, printable_ascii
from mailward.rules import Action
from mailward.scan.verdict import Verdict

_OURS = re.compile(rb"^x-mailward-[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_SUBJECT = re.compile(rb"^subject[ \t]*:", re.IGNORECASE | re.MULTILINE)
_MAX_NAMES = 20
_MAX_NAME = 200
_HOST = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


@dataclass(frozen=True, slots=True)
class Trace:
    """What a ``Received`` field says (RFC 5321 section 4.4)."""

    client: str
    """IP address."""
    helo: str
    """What the client called itself: anything at all."""
    hostname: str
    protocol: str
    """``SMTP``, ``ESMTP`` or ``UTF8SMTP`` (RFC 6531 section 4.3), with S over TLS (RFC 3848)."""
    id: str
    at: datetime


def split(message: bytes) -> tuple[bytes, bytes]:
    """Header block and the rest, which begins with the empty line; together the message."""
    end = _header_end(message)
    return message[:end], message[end:]


def _header_end(message: bytes) -> int:
    if message.startswith(b"\r\n"):
        return 0
    end = message.find(b"\r\n\r\n")
    return len(message) if end < 0 else end + 2


def without_ours(message: bytes) -> bytes:
    """The message without header lines that begin with ``X-Mailward-`` and their folded lines.

    In any case, with or without a colon where one belongs; every other byte stays as it is. Nearly
    all messages have none, and are not copied.
    """
    end = _header_end(message)
    header = message[:end]
    cleaned = _OURS.sub(b"", header)
    return message if len(cleaned) == end else cleaned + message[end:]


def hops(message: bytes) -> int:
    """How many ``Received`` fields there are: how many servers it has passed."""
    return len(_RECEIVED.findall(message, 0, _header_end(message)))


def received(trace: Trace) -> bytes:
    """The trace field that every relay puts on top."""
    address = f"IPv6:{trace.client}" if ":" in trace.client else trace.client
    return _field(
        "Received",
        f"from {_host(trace.helo)} ([{_host(address)}])\r\n"
        f"\tby {_host(trace.hostname)} with {trace.protocol} id {trace.id};\r\n"
        f"\t{format_datetime(trace.at)}",
    )


def verdict_fields(verdict: Verdict, decision: Decision) -> bytes:
    """The ``X-Mailward-`` fields of a message that is delivered."""
    fields = [_field("X-Mailward-Verdict", verdict.kind.value)]
    if verdict.set:
        fields.append(_field("X-Mailward-Set", printable_ascii(verdict.set, _MAX_NAME)))
    if verdict.risks:
        fields.append(_field("X-Mailward-Risk", _list(risk.name for risk in verdict.risks)))
    if verdict.unopened:
        fields.append(_field("X-Mailward-Unscannable", _list(u.reason for u in verdict.unopened)))
    if decision.action is Action.TAG:
        fields.append(_field("X-Mailward-Tag", decision.because.value))
    return b"".join(fields)


def with_subject(message: bytes, prefix: str) -> bytes:
    """The message with ``prefix`` in front of its subject; it gets one if it has none.

    What signs the subject (DKIM) is broken by that.
    """
    if not prefix:
        return message
    end = _header_end(message)
    found = _SUBJECT.search(message, 0, end)
    if found is None:
        return _field("Subject", prefix) + message
    return b"".join((message[: found.end()], b" ", prefix.encode("ascii"), message[found.end() :]))


def cut(how: Action, id_: str) -> bytes:
    """The field of a message that parts, or what they would run, were cut out of."""
    name = "X-Mailward-Disarmed" if how is Action.DISARM else "X-Mailward-Stripped"
    return _field(name, id_)


def released(id_: str) -> bytes:
    """The field of a message that was let out of quarantine."""
    return _field("X-Mailward-Released", id_)


def _list(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(printable_ascii(name, _MAX_NAME) for name in names))
    more = ["..."] if len(unique) > _MAX_NAMES else []
    return ",\r\n\t".join(unique[:_MAX_NAMES] + more)


def _field(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("ascii")


def _host(name: str) -> str:
    return _HOST.sub("?", name[:255]) or "unknown"
