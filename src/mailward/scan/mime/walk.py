"""A message to its pieces: the usual reading first, then what any other reading adds.

Most mail has one reading, and pays for the others with a few comparisons. A piece that two readings
share is given once. A reading that adds a piece is told as ambiguous; one that adds nothing is not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailward.scan import encodings
from mailward.scan.budget import Budget
from mailward.scan.contents import Ambiguous, Contents, Fragment, Piece, Shut
from mailward.scan.mime import heads, sections
from mailward.scan.mime.heads import Head
from mailward.scan.mime.sections import Rule, Seen, Span
from mailward.scan.part import Role
from mailward.scan.verdict import Doubt, Reason

_NESTING_MAX = 100
"""Multiparts inside each other, within one message; each level is searched once more."""
_READINGS_MAX = 64
"""Beside the usual one, of one message. Each may search the whole message once more."""
_OUTSIDE_SHOWN_BYTES = 1024
"""Of text outside of parts, above which it is a piece; notes to old mail clients are shorter."""

_WHOLE_MESSAGE = frozenset(
    ("message/rfc822", "message/global", "message/news", "message/external-body")
)
"""The last holds a header and, where it should not, a body."""
_PARTIAL = "message/partial"
"""Its first piece begins as the whole message does."""
_PARTIAL_PARAMETER = re.compile(
    rb"[;\s](id|number|total)\s*+=\s*+(?:\"([^\"]*+)\"|([^\s;]++))", re.IGNORECASE
)
_PARTIAL_HEADER_BYTES = 4096
"""In front of the body, where the parameters are."""
_ENCODED_IN_TEXT = (
    b"begin ",
    b"begin-base64 ",
    b"=ybegin ",
    b"with BinHex",
    b"ontent-T",
    b"ontent-t",
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the tree an entity is."""

    label: str = ""
    nesting: int = 0
    default_type: str = "text/plain"
    usual: bool = True
    """False within a reading that is not the usual one: what fails there is not worth a word."""

    def below(self, number: int, default_type: str) -> "_Place":
        label = f"{self.label}.{number}" if self.label else str(number)
        return _Place(label, self.nesting + 1, default_type, self.usual)


class Walk:
    """One walk through one message, in every reading."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._given: set[tuple[object, ...]] = set()
        self._decoded: list[bytes] = []
        """Kept: pieces are told apart by the buffer that they lie in."""
        self._readings = 0
        self._unclosed = False
        """Whether that was told: a torn message leaves every multipart open that it tears."""

    def entity(self, span: Span, place: _Place = _Place()) -> Contents:
        """A header and a body. Raises Spent."""
        self._budget.check_time()
        usual, *others = heads.read(
            span.data, span.start, span.end, place.default_type, self._budget
        )
        yield from self._reading(usual, span, place)
        for head in others:
            yield from self._other(
                self._reading(head, span, replace(place, usual=False)),
                Ambiguous(Doubt.HEADER, head.why, label=place.label),
            )

    def _other(self, contents: Contents, ambiguous: Ambiguous) -> Contents:
        """What another reading adds, with a word in front if it is anything."""
        self._readings += 1
        if self._readings >= _READINGS_MAX:
            if self._readings == _READINGS_MAX:
                why = f"more than {_READINGS_MAX} ways to read it: the others were not scanned"
                yield Shut(Reason.LIMIT, why)
            return
        told = False
        for found in contents:
            if not told and isinstance(found, Piece):
                yield ambiguous
                told = True
            yield found

    def _reading(self, head: Head, span: Span, place: _Place) -> Contents:
        body = Span(span.data, head.body, span.end)
        candidates = head.type.boundaries
        if len(candidates) > 1 or (candidates and not head.type.value.startswith("multipart/")):
            candidates = tuple(b for b in candidates if sections.occurs(body, b))
        if head.type.value.startswith("multipart/"):
            yield from self._multipart(head, body, candidates, place)
            return
        yield from self._leaf(head, body, place)
        for boundary in candidates:
            why = f"{head.type.value[:80]} with a boundary: some clients split it"
            yield from self._other_split(head, body, boundary, place, why)
        if not candidates and not head.encoding.startswith(("base64", "quoted")):
            yield from self._hidden_multipart(head, body, place)

    def _multipart(
        self, head: Head, body: Span, candidates: tuple[bytes, ...], place: _Place
    ) -> Contents:
        found_any = False
        if candidates:
            for found in self._split(head, body, candidates[0], place):
                found_any = True
                yield found
        if not found_any:
            yield from self._leaf(head, body, place)
            guessed = sections.any_delimiter(body)
            if guessed is not None and guessed not in candidates:
                why = "a multipart without its boundary: clients show it as text or guess"
                yield from self._other_split(head, body, guessed, place, why)
        for boundary in candidates[1:]:
            why = "more than one boundary is named"
            yield from self._other_split(head, body, boundary, place, why)
        if encodings.changes(head.encoding):
            # RFC 2045 section 6.4 forbids it; some decode the whole before they split it.
            for data in encodings.decode_transfer(body.bytes(), head.encoding):
                self._decoded.append(data)
                inner = Span(data, 0, len(data))
                for boundary in candidates or filter(None, (sections.any_delimiter(inner),)):
                    why = f"a multipart in {head.encoding[:40]}: clients decode it or do not"
                    yield from self._other_split(head, inner, boundary, place, why)

    def _other_split(
        self, head: Head, body: Span, boundary: bytes, place: _Place, why: str
    ) -> Contents:
        contents = self._split(head, body, boundary, replace(place, usual=False))
        yield from self._other(contents, Ambiguous(Doubt.STRUCTURE, why, label=place.label))

    def _hidden_multipart(self, head: Head, body: Span, place: _Place) -> Contents:
        """A text that is a multipart, or quotes one, as mail servers do that send mail back."""
        if not head.type.value.startswith(("text/", "application/octet-stream")):
            return
        boundary = sections.begins_with_delimiter(body)
        if boundary is not None:
            why = f"begins as a multipart, declared as {head.type.value[:80]}"
            yield from self._other_split(head, body, boundary, place, why)
        elif _has(body, b"\n--") and _has(body, b"ontent-"):
            boundary = sections.any_delimiter(body)
            if boundary is not None:
                yield from self._split(head, body, boundary, replace(place, usual=False))

    def _split(self, head: Head, body: Span, boundary: bytes, place: _Place) -> Contents:
        """By the usual rule, then by others if a line was met that they read differently."""
        if place.nesting >= _NESTING_MAX:
            why = f"more than {_NESTING_MAX} multiparts inside each other"
            yield Shut(Reason.LIMIT, why, label=place.label)
            return
        seen, outside = Seen(), list[Span]()
        parts = sections.split(body, boundary, Rule.WHOLE, seen, outside)
        found = 0
        for found, section in enumerate(parts, 1):
            yield from self.entity(section, place.below(found, _default_type(head)))
        if found:
            yield from self._outside(outside, place)
        if found and not seen.closed and place.usual and not self._unclosed:
            self._unclosed = True
            why = "its last delimiter is missing"
            yield Ambiguous(Doubt.STRUCTURE, why, label=place.label)
        if seen.longer:
            why = "a delimiter line goes on behind its boundary: clients take it for one or do not"
            yield from self._by_rule(Rule.PREFIX, head, body, boundary, place, why)
        if seen.bare_cr and _has(body, b"\n"):
            why = "a delimiter line at a bare CR: clients take it for one or do not"
            yield from self._by_rule(Rule.NO_BARE_CR, head, body, boundary, place, why)

    def _by_rule(
        self, rule: Rule, head: Head, body: Span, boundary: bytes, place: _Place, why: str
    ) -> Contents:
        def entities() -> Contents:
            below = replace(place, usual=False)
            outside: list[Span] = []
            parts = sections.split(body, boundary, rule, Seen(), outside)
            for number, section in enumerate(parts, 1):
                yield from self.entity(section, below.below(number, _default_type(head)))
            yield from self._outside(outside, below)

        yield from self._other(entities(), Ambiguous(Doubt.STRUCTURE, why, label=place.label))

    def _outside(self, outside: list[Span], place: _Place) -> Contents:
        """Text before, between and behind parts: clients that know no MIME show it."""
        for span in outside:
            if not place.usual and not any(span.data is data for data in self._decoded):
                continue  # it lies in a part of the usual reading
            telling = any(_has(span, mark) for mark in _ENCODED_IN_TEXT)
            if not telling and span.end - span.start < _OUTSIDE_SHOWN_BYTES:
                continue
            data = span.bytes()
            if not data.strip() or self._is_given(span, ""):
                continue
            why = "text outside of its parts that some clients decode"
            ambiguous = Ambiguous(Doubt.STRUCTURE, why, label=place.label)
            if telling:
                yield ambiguous
            inside = replace(place.below(0, "text/plain"), usual=False)
            yield Piece(data, Role.BODY, label=f"{place.label or '0'}.outside")
            header = sections.any_header(span) if telling else None
            if header is not None:
                yield from self._other(self.entity(header, inside), ambiguous)

    def _is_given(self, span: Span, encoding: str, extension: str = "") -> bool:
        key = (id(span.data), span.start, span.end, encoding, extension)
        if key in self._given:
            return True
        self._given.add(key)
        return False

    def _leaf(self, head: Head, body: Span, place: _Place) -> Contents:
        name = head.names[0] if head.names else ""
        encoding = head.encoding if encodings.changes(head.encoding) else ""
        if self._is_given(body, encoding, name.rpartition(".")[2].lower()):
            return
        raw = body.bytes()
        if not place.usual and not raw.strip():
            return
        label = place.label or "1"
        data, *others = encodings.decode_transfer(raw, encoding) or (None,)
        if data is None:
            if not place.usual:
                return
            why = f"declared as {encoding[:40]}, which it is not"
            yield Shut(Reason.MALFORMED, why, name, label)
            data = raw
        yield from self._pieces(head, data, body.data, name, label, place)
        if head.encoding and not encodings.is_known(head.encoding):
            others = encodings.undeclared_base64(raw)
        for number, other in enumerate(others, 1):
            if number == 1:
                why = f"not proper {head.encoding[:40]}: clients decode it differently"
                yield Ambiguous(Doubt.ENCODING, why, name, label)
            yield Piece(other, _role(head), name, head.type.value, f"{label}.other{number}")
        for other_name in head.names[1:]:
            if other_name == head.names[1]:
                yield Ambiguous(
                    Doubt.NAME, "called differently in one place and another", name, label
                )
            yield Piece(data, _role(head), other_name, head.type.value, label)

    def _pieces(
        self, head: Head, data: bytes, message: bytes, name: str, label: str, place: _Place
    ) -> Iterator[Piece | Fragment]:
        content_type = head.type.value
        if content_type == _PARTIAL and place.usual:
            yield _fragment(
                message[max(0, head.body - _PARTIAL_HEADER_BYTES) : head.body], data, name, label
            )
        if content_type in _WHOLE_MESSAGE or content_type == _PARTIAL:
            yield Piece(data, Role.MESSAGE, name, content_type, label)
            return
        role = _role(head)
        yield Piece(data, role, name, content_type, label)
        if content_type.startswith("text/"):
            as_utf8 = encodings.to_utf8(data, head.type.charset)
            if as_utf8 is not None:
                yield Piece(as_utf8, role, name, content_type, f"{label}.utf-8")


def _fragment(header: bytes, data: bytes, name: str, label: str) -> Fragment:
    said = {key.lower(): a or b for key, a, b in _PARTIAL_PARAMETER.findall(header)}
    number, total = (
        int(said[key]) if said.get(key, b"").isdigit() and len(said[key]) < 6 else 0
        for key in (b"number", b"total")
    )
    return Fragment(said.get(b"id", b""), number, total, data, name, label)


def _role(head: Head) -> Role:
    shown = head.type.value.startswith("text/") and not head.names and not head.attached
    return Role.BODY if shown else Role.ATTACHMENT


def _default_type(head: Head) -> str:
    return "message/rfc822" if head.type.value == "multipart/digest" else "text/plain"


def _has(span: Span, mark: bytes) -> bool:
    return span.data.find(mark, span.start, span.end) >= 0
