"""Who a message comes from, when a mail server in front says so: XCLIENT and XFORWARD.

Both are Postfix's (its XCLIENT_README and XFORWARD_README): attributes with values in xtext (RFC
3461 section 4). XCLIENT is for the session from then on, which begins anew with it. XFORWARD is for
the next message; nothing of the session is mixed into what it says. Neither is believed, or
offered, but to those whom the configuration names.
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address

from mailward.doors.commands import BadCommandError

XCLIENT = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME")
XFORWARD = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
_VALUE_MAX = 255
"""Characters, as both documents say."""
_HEX = re.compile(r"\+([0-9A-F]{2})")
_PRINTABLE = re.compile(r"[!-~]*")
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")
_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of who gave a message to the first server that we trust."""

    address: str
    """IP address."""
    helo: str = ""
    login: str = ""
    """Who authenticated there."""
    queue_id: str = ""
    """What the server in front calls the message."""

    def xforward(self, offered: str) -> str:
        """The command that tells the next hop, of what it has ``offered``; empty if nothing."""
        address = f"IPV6:{self.address}" if ":" in self.address else self.address
        said = {"ADDR": address, "HELO": self.helo, "IDENT": self.queue_id, "PROTO": "ESMTP"}
        told = [
            f"{name}={_xtext(value) if value else _UNKNOWN[0]}"
            for name, value in said.items()
            if name in offered.upper().split()
        ]
        return " ".join(("XFORWARD", *told)) if told and self.address else ""


@dataclass(slots=True)
class Said:
    """What was said in one session so far."""

    for_session: dict[str, str] = field(default_factory=dict)
    for_message: dict[str, str] | None = None

    def xclient(self, argument: str) -> None:
        """Take the attributes of one XCLIENT. Raises BadCommandError."""
        self.for_session |= _parse(argument, XCLIENT)
        self.for_message = None

    def xforward(self, argument: str) -> None:
        """Take those of one XFORWARD, which may come in several. Raises BadCommandError."""
        self.for_message = (self.for_message or {}) | _parse(argument, XFORWARD)

    def origin(self, address: str, helo: str) -> Origin:
        """Of the next message, whose session is with ``address``, which calls itself ``helo``."""
        message, session = self.for_message, self.for_session
        if message is None:
            return Origin(address, session.get("HELO") or helo, session.get("LOGIN", ""))
        if not message.get("ADDR"):
            return Origin(address, queue_id=message.get("IDENT", ""))  # submitted on that server
        return Origin(message["ADDR"], message.get("HELO", ""), queue_id=message.get("IDENT", ""))


def _parse(argument: str, names: tuple[str, ...]) -> dict[str, str]:
    """Values by name; empty if unavailable. Raises BadCommandError."""
    said: dict[str, str] = {}
    for text in argument.split():
        name, equals, value = text.partition("=")
        if not equals or name.upper() not in names:
            raise BadCommandError("501 5.5.4 Bad attribute")
        said[name.upper()] = _decoded(name.upper(), value)
    if not said:
        raise BadCommandError("501 5.5.4 Syntax: attribute=value")
    return said


def _decoded(name: str, value: str) -> str:
    text = _HEX.sub(lambda match: chr(int(match[1], 16)), value)
    if len(text) > _VALUE_MAX or not _PRINTABLE.fullmatch(text):
        raise BadCommandError(f"501 5.5.4 Bad value of {name}")
    if text.upper() in _UNKNOWN:
        return ""
    if name == "ADDR":
        return _address(text)
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text[5:] if text[:5].upper() == "IPV6:" else text))
    except ValueError:
        raise BadCommandError("501 5.5.4 Bad value of ADDR") from None


def _xtext(text: str) -> str:
    kept = "".join(c for c in text[:_VALUE_MAX] if "!" <= c <= "~")
    return _NOT_XTEXT.sub(lambda match: f"+{ord(match[0]):02X}", kept)
