"""Notices as messages: plain text, in which a sender's words can do no harm.

What a stranger wrote appears in the body alone, each as one line, bounded, without control
characters or such that turn the direction of reading, and without anything that a mail client makes
a link of. Header fields are ours, all of them.
"""

import re
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from pathlib import Path

from mailward.errors import ConfigError
from mailward.protect.notify.notice import Notice
from mailward.rules import Action, Audience

_VALUE_MAX = 200
_TEMPLATE_MAX_BYTES = 64 * 1024
_SUBJECT = re.compile(r"Subject: ([ -~]{1,200})\n\n?")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")
_SEPARATORS = re.compile(r"(?i)(://|www\.|mailto:)")
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")

_DONE = {
    Action.DELIVER: "delivered",
    Action.TAG: "delivered with a mark",
    Action.DISARM: "delivered without active content",
    Action.STRIP: "delivered without some of its parts",
    Action.REDIRECT: "delivered to somebody else",
    Action.QUARANTINE: "held",
    Action.REJECT: "refused",
    Action.DISCARD: "dropped",
}

_ABOUT = """
From:    $sender
To:      $recipients
Subject: $subject
Time:    $time
Why:     $reason
"""
_BUILT_IN = {
    "recipients": (
        "Subject: A message to you was not delivered as it came\n\n"
        "A message to you was $action by the mail server.\n" + _ABOUT + "$held\n"
    ),
    "sender": (
        "Subject: A message from you was not delivered as it came\n\n"
        "A message that was sent in your name was $action by the mail server.\n"
        + _ABOUT
        + "$held\n"
    ),
    "admin": (
        "Subject: A message was treated as a rule says\n\nA message was $action.\n"
        + _ABOUT
        + "$held\n"
    ),
    "digest": (
        "Subject: Messages to you that are held\n\n"
        "These messages to you are held by the mail server.\n\n$entries\n"
    ),
}


class Texts:
    """The texts, from ``folder`` where it has them. Raises ConfigError if one cannot be used."""

    def __init__(self, folder: Path | None, from_address: str) -> None:
        self._from = from_address
        self._texts = {name: _parsed(name, text) for name, text in _BUILT_IN.items()}
        for name in _BUILT_IN if folder is not None else ():
            path = Path(folder or "", f"{name}.txt")
            if path.exists():
                self._texts[name] = _parsed(str(path), _read(path))

    def message(self, notice: Notice, link: str = "") -> bytes:
        """One notice. ``link``: where its reader may ask for the message."""
        subject, text = self._texts[_TEMPLATES[notice.audience]]
        return self._made(notice.to, subject, text.safe_substitute(_values(notice, link)))

    def digest(self, to: str, held: Sequence[tuple[Notice, str]], more: int = 0) -> bytes:
        """Many for one reader, each with its link; ``more`` are not told."""
        lines = []
        for notice, link in held:
            values = _values(notice, link)
            lines.append("{time}  {sender}\n  {subject}\n  {reason}".format_map(values))
            lines.append(f"  {link or values['held']}\n")
        lines += [f"and {more} more."] if more else []
        subject, text = self._texts["digest"]
        return self._made(to, subject, text.safe_substitute(entries="\n".join(lines)))

    def _made(self, to: str, subject: str, text: str) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"] = f"Mailward <{self._from}>"
        message["To"] = to if _PLAIN_ADDRESS.fullmatch(to) else "undisclosed-recipients:;"
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(domain=self._from.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(text, charset="utf-8", cte="quoted-printable")
        return message.as_bytes()


_TEMPLATES = {
    Audience.RECIPIENTS: "recipients",
    Audience.SENDER: "sender",
    Audience.ADMIN: "admin",
}


def harmless(text: str) -> str:
    """What a stranger wrote, as one short line of which nothing becomes a link."""
    shown = "".join(c if c.isprintable() else " " for c in text[: _VALUE_MAX + 1])
    shown = _SEPARATORS.sub(
        lambda found: found[1][:-1] + " " + found[1][-1], _UNSEEN.sub("", shown)
    )
    return shown if len(shown) <= _VALUE_MAX else shown[: _VALUE_MAX - 1] + "…"


def _values(notice: Notice, link: str) -> Mapping[str, str]:
    held = f"It is held as {notice.held_as}." if notice.held_as else ""
    if link:
        held += f"\nTo ask for it: {link}\n"
    elif held:
        held += "\nTo get it, ask your administrator and give this name."
    shown = notice.recipients if notice.audience is not Audience.RECIPIENTS else (notice.to,)
    return {
        "action": _DONE[notice.action],
        "sender": harmless(notice.sender or "<>"),
        "recipients": harmless(", ".join(shown)),
        "subject": harmless(notice.subject),
        "time": f"{notice.at:%Y-%m-%d %H:%M} UTC",
        "reason": harmless(notice.reason),
        "held": held,
    }


def _parsed(name: str, text: str) -> tuple[str, string.Template]:
    found = _SUBJECT.match(text)
    if found is None:
        raise ConfigError(
            f"notify.templates: {name} does not begin with a line `Subject: …` in ASCII"
        )
    return found[1], string.Template(text[found.end() :])


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TEMPLATE_MAX_BYTES).decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"notify.templates: {path} cannot be read: {e}") from e
