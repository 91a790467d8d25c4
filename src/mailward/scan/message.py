"""A message (RFC 5322, RFC 2045 to 2049) to its pieces, one level down, and a mailbox to messages.

Not by the standard library: its parser keeps a message inside a message only as a tree, not as the
bytes that were sent, wants ten times the message's size in memory, and follows every nesting by
recursion (``docs/decisions/mime-splitter.md``).

Nothing here raises on broken mail. What mail clients disagree about is read in every way
(``mailward.scan.mime``).
"""

import re

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece
from mailward.scan.mime.sections import Span
from mailward.scan.mime.walk import Walk
from mailward.scan.part import Role

_HEADER = re.compile(
    rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:(?:\r\n|\n|\r)[ \t][^\r\n]*)*)(?:\r\n|\n|\r|\Z)"
)
_ENVELOPE_LINE = re.compile(rb">?From [^\r\n]*(?:\r\n|\n|\r)")
_BLANK_LINES = re.compile(rb"(?:[ \t]*+[\r\n])*+")
_TELLING = frozenset(
    (b"received", b"return-path", b"delivered-to", b"from", b"subject", b"date", b"message-id",
     b"mime-version", b"content-type")
)  # fmt: skip
"""Two of these make a file a message."""
_TELLING_SEARCH = 100
"""Header fields that are looked at for that."""

_MBOX_LINE = re.compile(
    rb"^From \S[^\r\n]*\d\d:\d\d[^\r\n]*\d{4}[^\r\n]*(?:\r\n|\n)(?=[!-9;-~]+:)", re.MULTILINE
)


def looks_like_message(data: bytes, name: str) -> bool:
    """Whether a file is a message: by the fields that it begins with, or as it is called so."""
    if name.lower().endswith(".eml"):
        return True
    in_front = _ENVELOPE_LINE.match(data) or _BLANK_LINES.match(data)
    at = in_front.end() if in_front is not None else 0
    telling = set()
    for _ in range(_TELLING_SEARCH):
        field = _HEADER.match(data, at)
        if field is None:
            break
        if field[1].lower() in _TELLING:
            telling.add(field[1].lower())
            if len(telling) == 2:
                return True
        at = field.end()
    return False


def mbox_messages(data: bytes) -> list[tuple[int, int]]:
    """Where the messages of a mailbox (mbox, RFC 4155) begin and end; empty if it is none."""
    if _MBOX_LINE.match(data) is None:
        return []
    lines = [
        line
        for line in _MBOX_LINE.finditer(data)
        if not line.start() or data[line.start() - 2 : line.start()] in (b"\n\n", b"\r\n")
    ]
    ends = [line.start() for line in lines[1:]] + [len(data)]
    return [(line.end(), end) for line, end in zip(lines, ends, strict=True)]


def read_mbox(data: bytes, messages: list[tuple[int, int]]) -> Contents:
    """The messages of a mailbox."""
    for number, (start, end) in enumerate(messages, 1):
        yield Piece(data[start:end], Role.MESSAGE, label=str(number))


def read(data: bytes, budget: Budget) -> Contents:
    """The parts of a message, decoded, without the multiparts themselves. Raises only Spent."""
    envelope = _ENVELOPE_LINE.match(data)
    start = envelope.end() if envelope is not None else 0
    return Walk(budget).entity(Span(data, start, len(data)))
