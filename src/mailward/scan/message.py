"""A message (RFC 5322, RFC 2045 to 2049) to its pieces, one level down.

Headers are understood by the standard library, bodies are split here: its parser keeps a message
inside a message only as a tree, not as the bytes that were sent, wants ten times the message's size
in memory, and follows every nesting by recursion (``docs/decisions/mime-splitter.md``).

Nothing here raises on broken mail. What mail clients disagree about is read in the most usual way.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_NESTING_MAX = 100
"""Multiparts inside each other, within one message; each level is searched once more."""

_HEADER = re.compile(
    rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:(?:\r\n|\n|\r)[ \t][^\r\n]*)*)(?:\r\n|\n|\r|\Z)"
)
_LINE_END = re.compile(rb"\r\n|\n|\r")
_ENVELOPE_LINE = re.compile(rb">?From [^\r\n]*(?:\r\n|\n|\r)")
_AFTER_DELIMITER = re.compile(rb"(--)?[ \t]*(?:\r\n|\n|\r|\Z)")
_PARAMETER_MAX = 10_000
"""Characters of a parameter that are read."""

_FOLD = re.compile(r"[\r\n]+")

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

_WHOLE_MESSAGE = frozenset(("message/rfc822", "message/global", "message/news"))
_PARTIAL = "message/partial"
"""Its first piece begins as the whole message does."""


def looks_like_message(data: bytes, name: str) -> bool:
    """Whether a file is a message: by the fields that it begins with, or as it is called so."""
    if name.lower().endswith(".eml"):
        return True
    envelope = _ENVELOPE_LINE.match(data)
    at = envelope.end() if envelope is not None else 0
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
    whole = _Span(data, envelope.end() if envelope is not None else 0, len(data))
    return _entity(whole, "", 0, "text/plain", budget)


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of a message, not copied."""

    data: bytes
    start: int
    end: int

    def bytes(self) -> bytes:
        return self.data[self.start : self.end]


def _entity(span: _Span, label: str, nesting: int, default_type: str, budget: Budget) -> Contents:
    headers, body = _head(span, budget)
    content_type = headers.get_content_type() if "content-type" in headers else default_type
    if content_type.startswith("multipart/"):
        inner = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
        sections = _sections(body, _boundary(headers))
        first = next(sections, None)
        if first is not None:
            if nesting >= _NESTING_MAX:
                why = f"more than {_NESTING_MAX} multiparts inside each other"
                yield Shut(Reason.LIMIT, why, label=label)
                return
            yield from _entity(first, _below(label, 1), nesting + 1, inner, budget)
            for number, section in enumerate(sections, 2):
                yield from _entity(section, _below(label, number), nesting + 1, inner, budget)
            return
    yield from _leaf(headers, content_type, body, label or "1")


def _leaf(headers: Message, content_type: str, body: _Span, label: str) -> Contents:
    name = _file_name(headers)
    encoding = str(headers.get("content-transfer-encoding", ""))
    data, *others = encodings.decode_transfer(body.bytes(), encoding) or (None,)
    if data is None:
        why = f"declared as {encoding.strip()[:40]}, which it is not"
        yield Shut(Reason.MALFORMED, why, name, label)
        data = body.bytes()
    if content_type == _PARTIAL:
        why = "one piece of a message that was sent in several (message/partial)"
        yield Shut(Reason.UNSUPPORTED, why, name, label)
    if content_type in _WHOLE_MESSAGE or content_type == _PARTIAL:
        yield Piece(data, Role.MESSAGE, name, content_type, label)
        return
    is_text = content_type.startswith("text/")
    attached = headers.get_content_disposition() == "attachment"
    role = Role.BODY if is_text and not name and not attached else Role.ATTACHMENT
    yield Piece(data, role, name, content_type, label)
    for other in others:
        yield Piece(other, role, name, content_type, f"{label}.all")
    if is_text:
        as_utf8 = encodings.to_utf8(data, _charset(headers))
        if as_utf8 is not None:
            yield Piece(as_utf8, role, name, content_type, f"{label}.utf-8")


def _below(label: str, number: int) -> str:
    return f"{label}.{number}" if label else str(number)


def _head(span: _Span, budget: Budget) -> tuple[Message, _Span]:
    """The Content- fields, and where the body begins: at the first line that is no field."""
    headers: Message = Message()
    at = span.start
    while (field := _HEADER.match(span.data, at, span.end)) is not None:
        budget.check_time()
        if field[1][:8].lower() == b"content-":
            headers[field[1].decode("ascii")] = _FOLD.sub("", field[2].decode("latin-1")).strip()
        at = field.end()
    blank = _LINE_END.match(span.data, at, span.end)
    return headers, _Span(span.data, blank.end() if blank is not None else at, span.end)


def _sections(body: _Span, boundary: bytes) -> Iterator[_Span]:
    """What lies between delimiter lines (RFC 2046 section 5.1.1).

    A part that follows the closing delimiter is taken as well: some mail clients show it.
    """
    if not boundary:
        return
    data, mark = body.data, b"--" + boundary
    start: int | None = None
    at = data.find(mark, body.start, body.end)
    while at >= 0:
        after = _AFTER_DELIMITER.match(data, at + len(mark), body.end)
        if after is not None and (at == body.start or data[at - 1] in b"\r\n"):
            if start is not None:
                yield _Span(data, start, max(start, _before_line_end(data, at)))
            start = after.end() if after[1] is None else None
        at = data.find(mark, at + len(mark), body.end)
    if start is not None:
        yield _Span(data, start, body.end)


def _before_line_end(data: bytes, at: int) -> int:
    """The line end in front of a delimiter belongs to the delimiter."""
    return at - 2 if data[at - 2 : at] == b"\r\n" else at - 1


def _boundary(headers: Message) -> bytes:
    value = _parameter(headers, "content-type", "boundary")
    return value.rstrip().encode("latin-1", "replace")


def _charset(headers: Message) -> str:
    return _parameter(headers, "content-type", "charset").strip().lower()


def _file_name(headers: Message) -> str:
    name = _parameter(headers, "content-disposition", "filename")
    name = name or _parameter(headers, "content-type", "name")
    with contextlib.suppress(UnicodeEncodeError):  # then it is decoded already (RFC 2231)
        name = encodings.text(name.encode("latin-1"))
    return encodings.decode_words(name).strip()


def _parameter(headers: Message, field: str, parameter: str) -> str:
    """A parameter in any of the forms of RFC 2231, a character for each byte unless it is encoded.

    Empty if there is none.
    """
    try:
        value = headers.get_param(parameter, "", field)
    except (ValueError, TypeError, LookupError):
        # The standard library stumbles over some malformed continuations: take what can be seen.
        seen = re.compile(rf"{parameter}[*0-9]*\s*=\s*\"?([^\";]*)", re.IGNORECASE)
        found = seen.search(str(headers.get(field)))
        value = found[1] if found is not None else ""
    if isinstance(value, tuple):
        charset, _, octets = value
        return encodings.decode(octets.encode("latin-1", "replace"), charset or "utf-8")
    return str(value)[:_PARAMETER_MAX]
