"""A message without the parts that something was found in; a note in the place of each.

Only what every mail client reads in one way is cut: where there is doubt about what belongs to a
part, the answer is that it cannot be done. Everything that stays, stays byte for byte.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget, Spent
from mailward.scan.mime import heads, sections
from mailward.scan.mime.heads import Head
from mailward.scan.mime.sections import Rule, Seen, Span
from mailward.scan.verdict import Verdict
from mailward.settings.scan import ScanSettings

_NESTING_MAX = 100
_LABEL = re.compile(r"message/([0-9]+(?:\.[0-9]+)*)(?=[:/.]|\Z)")
OWN_FIELD = re.compile(
    rb"^(?:content-[^\r\n]*|mime-version[^\r\n]*)\r\n(?:[ \t][^\r\n]*\r\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""What describes the body."""
PLAIN = b"Content-Type: text/plain; charset=us-ascii\r\n"

Note = Callable[[str, bool], str]
"""Part's label and whether a signature over it breaks, to what the reader is told; ASCII, LF."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part that is no multipart, where all mail clients see it."""

    label: str
    span: Span
    """Header and body."""
    head: Head
    signed: bool
    """Inside of a multipart/signed (RFC 1847)."""


class _DoubtfulError(Exception):
    """Mail clients read it in more than one way."""


def at_fault(verdict: Verdict, more: Collection[str] = ()) -> frozenset[str]:
    """The labels of the message's own parts that risks, or what could not be opened, are in.

    ``more``: paths of further parts. What was found in the message as a whole is in no part: only
    a scan of what is left tells whether it went with them.
    """
    paths = [*(r.part for r in verdict.risks), *(u.part for u in verdict.unopened), *more]
    return frozenset(match[1] for path in paths if (match := _LABEL.match(path)) is not None)


def without(message: bytes, labels: Collection[str], note: Note) -> bytes | None:
    """The message with a note in the place of each part of ``labels``; None: it cannot be done."""
    found = leaves(message)
    if found is None or not labels or not set(labels) <= {leaf.label for leaf in found}:
        return None
    pieces, at = [], 0
    for leaf in found:
        if leaf.label not in labels:
            continue
        text = note(leaf.label, leaf.signed).encode("ascii", "replace").replace(b"\n", b"\r\n")
        if leaf.span.start == 0:
            return _header(message, leaf) + b"\r\n" + text + b"\r\n"
        pieces += [message[at : leaf.span.start], PLAIN, b"\r\n", text]
        at = leaf.span.end
    return b"".join((*pieces, message[at:]))


def leaves(message: bytes) -> list[Leaf] | None:
    """The parts of a message in their order; None: mail clients read it in more than one way."""
    whole = Span(message, 0, len(message))
    try:
        return list(_entity(whole, "", "text/plain", 0, Budget(ScanSettings()), signed=False))
    except (_DoubtfulError, Spent):
        return None


def _header(message: bytes, leaf: Leaf) -> bytes:
    """Of a message that is one part: all that does not describe that part."""
    (head,) = heads.read(message, 0, leaf.span.end, "text/plain", Budget(ScanSettings()))
    fields = message[: head.body].removesuffix(b"\r\n")
    return OWN_FIELD.sub(b"", fields) + b"MIME-Version: 1.0\r\n" + PLAIN


def _entity(
    span: Span, label: str, default_type: str, nesting: int, budget: Budget, *, signed: bool
) -> Iterator[Leaf]:
    read = heads.read(span.data, span.start, span.end, default_type, budget)
    if len(read) != 1 or nesting > _NESTING_MAX:
        raise _DoubtfulError
    (head,) = read
    if not head.type.value.startswith("multipart/"):
        yield Leaf(label or "1", span, head, signed)
        return
    if len(head.type.boundaries) != 1:
        raise _DoubtfulError
    seen = Seen()
    body = Span(span.data, head.body, span.end)
    parts = list(sections.split(body, head.type.boundaries[0], Rule.WHOLE, seen, []))
    if not parts or seen.longer or seen.bare_cr or not seen.closed:
        raise _DoubtfulError
    inner = "message/rfc822" if head.type.value == "multipart/digest" else "text/plain"
    signed = signed or head.type.value == "multipart/signed"
    for number, part in enumerate(parts, 1):
        below = f"{label}.{number}" if label else str(number)
        yield from _entity(part, below, inner, nesting + 1, budget, signed=signed)
