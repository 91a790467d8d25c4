"""Where the parts of a multipart begin and end (RFC 2046 section 5.1.1), by one rule."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

_AFTER_DELIMITER = re.compile(rb"(--)?[ \t]*(?:\r\n|\n|\r|\Z)")
_AFTER_DELIMITER_NO_CR = re.compile(rb"(--)?[ \t]*(?:\r?\n|\Z)")
_AFTER_PREFIX = re.compile(rb"(--)?[^\r\n]*(?:\r\n|\n|\r|\Z)")
_FIRST_DELIMITER = re.compile(rb"\s*--([!-~][ -~]{0,200}?)[ \t]*(?:\r\n|\n|\r)")
_ANY_DELIMITER = re.compile(
    rb"(?:\A|\n|\r)--([!-~][ -~]{0,200}?|)[ \t]*(?:\r\n|\n|\r)"
    rb"(?=content-(?:type|transfer-encoding|disposition)[ \t]*:)",
    re.IGNORECASE,
)
_CONTENT_FIELD = re.compile(
    rb"^content-(?:type|transfer-encoding|disposition)[ \t]*:", re.IGNORECASE | re.MULTILINE
)
_CONTENT_LINE = re.compile(rb"content-[a-z-]+[ \t]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a message, not copied."""

    data: bytes
    start: int
    end: int

    def bytes(self) -> bytes:
        """A copy."""
        return self.data[self.start : self.end]


class Rule(Enum):
    """What counts as a delimiter line."""

    WHOLE = auto()
    """The boundary and nothing behind it but blanks; any of CR LF, LF and CR ends lines."""
    PREFIX = auto()
    """Whatever begins with the boundary, as RFC 2046 has it."""
    NO_BARE_CR = auto()
    """As WHOLE, where a CR by itself ends no line."""


@dataclass(slots=True)
class Seen:
    """What was met on the way that another rule would read differently."""

    longer: bool = False
    """A line that goes on behind the boundary."""
    bare_cr: bool = False
    """A delimiter line that begins or ends at a bare CR."""
    closed: bool = False


def split(
    body: Span, boundary: bytes, rule: Rule, seen: Seen, outside: list[Span]
) -> Iterator[Span]:
    """The parts. ``outside`` gets what lies before, between and behind them.

    A part that follows the closing delimiter is taken as well: some mail clients show it.
    """
    data, mark = body.data, b"--" + boundary
    line_ends = b"\n" if rule is Rule.NO_BARE_CR else b"\r\n"
    after_mark = {
        Rule.WHOLE: _AFTER_DELIMITER,
        Rule.PREFIX: _AFTER_PREFIX,
        Rule.NO_BARE_CR: _AFTER_DELIMITER_NO_CR,
    }[rule]
    start: int | None = None
    left = body.start
    at = data.find(mark, body.start, body.end)
    while at >= 0:
        if at == body.start or data[at - 1] in line_ends:
            after = after_mark.match(data, at + len(mark), body.end)
            if after is None:
                seen.longer = True
            else:
                seen.bare_cr |= _touches_bare_cr(data, at, after.end(), body)
                before = _before_line_end(data, at)
                if start is not None:
                    yield Span(data, start, max(start, before))
                elif before > left:
                    outside.append(Span(data, left, before))
                seen.closed = after[1] is not None
                start = None if seen.closed else after.end()
                left = after.end()
        at = data.find(mark, at + len(mark), body.end)
    if start is not None:
        yield Span(data, start, body.end)
    elif left < body.end:
        outside.append(Span(data, left, body.end))


def occurs(body: Span, boundary: bytes) -> bool:
    """Whether a delimiter line of ``boundary`` is there, by any rule."""
    data, mark = body.data, b"--" + boundary
    at = data.find(mark, body.start, body.end)
    while at >= 0:
        if at == body.start or data[at - 1] in b"\r\n":
            return True
        at = data.find(mark, at + len(mark), body.end)
    return False


def begins_with_delimiter(body: Span) -> bytes | None:
    """The boundary of a body whose first line is a delimiter with a Content- field behind it."""
    first = _FIRST_DELIMITER.match(body.data, body.start, body.end)
    if first is None:
        return None
    if _CONTENT_LINE.match(body.data, first.end(), body.end) is None:
        return None
    return bytes(first[1])


def any_delimiter(body: Span) -> bytes | None:
    """The boundary of the first line that looks like a delimiter, Content- field and all."""
    found = _ANY_DELIMITER.search(body.data, max(0, body.start - 1), body.end)
    return bytes(found[1]) if found is not None else None


def any_header(span: Span) -> Span | None:
    """From the first line on that is a Content- field."""
    found = _CONTENT_FIELD.search(span.data, span.start, span.end)
    return Span(span.data, found.start(), span.end) if found is not None else None


def _touches_bare_cr(data: bytes, at: int, after: int, body: Span) -> bool:
    if at > body.start and data[at - 1] == 13:
        return True
    return after < body.end and data[after - 1] == 13


def _before_line_end(data: bytes, at: int) -> int:
    """The line end in front of a delimiter belongs to the delimiter."""
    return at - 2 if data[at - 2 : at] == b"\r\n" else at - 1
