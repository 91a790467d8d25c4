"""Arguments of MAIL and RCPT, taken apart without changing a byte of the address.

The next hop decides what an address means, so paths go to it as they came. What is checked is the
shape that keeps one command one command: no controls, balanced brackets, known parameters.
"""

import re
from dataclasses import dataclass

from mailward.doors.reply import Reply

MAX_LINE = 2048
"""Longest command line, octets with CRLF: Postfix's ``line_length_limit``. RFC 5321 section
4.5.3.1.4 asks for 512, extensions add up to 1,500."""
MAX_PATH = 1000
"""Longest address. RFC 5321 section 4.5.3.1.3 says 256; as generous as mail servers are."""

_PATH = re.compile(
    r"""
    (?P<keyword>FROM|TO) : [ ]?
    (?: < (?P<path> (?: "(?:[^"\\]|\\.)*" | [^<>"\s] )* ) > | (?P<bare> [^<>"\s]+ ) )
    (?P<parameters> (?: [ ]+ [^ ]+ )* ) [ ]*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*)(?:=(?P<value>[!-<>-~]+))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_BDAT = re.compile(r"(?P<size>[0-9]{1,20})(?P<last> +LAST)? *", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,20}")
"""RFC 1870: at most 20 digits."""


class BadCommandError(Exception):
    """The client's command cannot be used; ``reply`` tells it why."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = Reply.of(reply)


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM: who it is from and what is said of the message."""

    path: str
    """Without the angle brackets; empty for the null sender."""
    size: int | None = None
    body: str = ""
    """``7BIT``, ``8BITMIME`` or nothing."""
    smtputf8: bool = False

    def parameters(self) -> tuple[str, ...]:
        """As they are handed on."""
        return (
            *((f"SIZE={self.size}",) if self.size is not None else ()),
            *((f"BODY={self.body}",) if self.body else ()),
            *(("SMTPUTF8",) if self.smtputf8 else ()),
        )


def parse_mail(argument: str) -> Mail:
    """``FROM:<path> [SIZE=n] [BODY=t] [SMTPUTF8]``. Raises BadCommandError."""
    path, parameters = _parse(argument, "FROM")
    size: int | None = None
    body, smtputf8 = "", False
    for name, value in parameters.items():
        match name:
            case "SIZE" if value and _SIZE.fullmatch(value):
                size = int(value)
            case "BODY" if value and value.upper() in ("7BIT", "8BITMIME"):
                body = value.upper()
            case "SMTPUTF8" if value is None:
                smtputf8 = True
            case "SIZE" | "BODY" | "SMTPUTF8":
                raise BadCommandError(f"501 5.5.4 Bad value of parameter {name}")
            case _:
                raise BadCommandError(f"555 5.5.4 Parameter {name} is not supported")
    if not smtputf8:
        _require_ascii(path)
    return Mail(path, size, body, smtputf8)


def parse_rcpt(argument: str, *, smtputf8: bool) -> str:
    """``TO:<path>``, without brackets. Raises BadCommandError."""
    path, parameters = _parse(argument, "TO")
    for name in parameters:
        raise BadCommandError(f"555 5.5.4 Parameter {name} is not supported")
    if not path:
        raise BadCommandError("501 5.1.3 A recipient address is needed")
    if not smtputf8:
        _require_ascii(path)
    return path


def parse_bdat(argument: str) -> tuple[int, bool]:
    """``size [LAST]`` (RFC 3030): bytes that follow, whether they are the last. BadCommandError."""
    found = _BDAT.fullmatch(argument)
    if found is None:
        raise BadCommandError("501 5.5.4 Syntax: BDAT size [LAST]")
    return int(found["size"]), found["last"] is not None


def _parse(argument: str, keyword: str) -> tuple[str, dict[str, str | None]]:
    found = None if _CONTROL.search(argument) else _PATH.fullmatch(argument)
    if found is None or found["keyword"].upper() != keyword:
        raise BadCommandError(f"501 5.5.4 Syntax: {keyword}:<address> [parameters]")
    path = found["path"] if found["path"] is not None else found["bare"]
    if len(path) > MAX_PATH:
        raise BadCommandError("553 5.1.7 Address is too long")
    parameters: dict[str, str | None] = {}
    for text in found["parameters"].split():
        parameter = _PARAMETER.fullmatch(text)
        if parameter is None or parameter["name"].upper() in parameters:
            raise BadCommandError("501 5.5.4 Bad parameter")
        parameters[parameter["name"].upper()] = parameter["value"]
    return path, parameters


def _require_ascii(path: str) -> None:
    if not path.isascii():
        raise BadCommandError("553 5.6.7 An address outside of ASCII needs SMTPUTF8")
