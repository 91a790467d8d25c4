"""One segment of a pattern, found in data: a literal is looked for, a regular expression confirms.

Segments have no gaps of varying length, so their regular expressions take time that grows with
their own length and no further.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from mailward.scan.signatures.pattern import (
    Choice,
    Class,
    Edge,
    Element,
    Literal,
    Masked,
    Segment,
    Skip,
    element_lengths,
)
from mailward.scan.signatures.subject import Subject

_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BESIDE = {
    (Class.BOUNDARY, True): b" -./<@_",
    (Class.BOUNDARY, False): b"\n\r \"'-/=>_",
    (Class.LINE, True): b"\n",
    (Class.LINE, False): b"\n",
}
"""Bytes that may stand beside a segment, by class and side (True: before it): as clamscan 1.4.6 has
it, found by giving it all 256 on either side in a file that has no normalised form."""
_NO_BOUNDARY = (Class.BOUNDARY, True)
"""Negated, it forbids what may stand on either side."""

_NARROW = 64
"""Places: so few are tried one by one, whatever is in the file."""
_PLACES_PER_CHECK = 64
"""Between two looks at the clock."""


class SegmentMatcher:
    """Finds a segment."""

    def __init__(self, segment: Segment, *, caseless: bool) -> None:
        self.segment = segment
        self.lengths = segment.lengths()
        self.caseless = caseless
        self.probe, self.distances = _probe(segment)
        if caseless:
            self.probe = self.probe.lower()
        # When nothing but the literal is asked for, finding it is all there is to do.
        self.plain = not segment.edges and len(segment.elements) == 1 and bool(self.probe)

    @cached_property
    def match(self) -> Callable[[bytes, int], re.Match[bytes] | None]:
        """The whole segment at a place. Most are never asked: their literal is nowhere."""
        return re.compile(_source(self.segment), _flags(caseless=self.caseless)).match

    def may_be_in(self, subject: Subject) -> bool:
        """Whether its literal is anywhere."""
        return self.probe in (subject.lower if self.caseless else subject.data)

    def starts(self, subject: Subject, low: int, high: int) -> Iterator[int]:
        """Where it begins, from ``low`` to ``high``, in order."""
        data = subject.data
        high = min(high, len(data) - self.lengths[0])
        if high - low < _NARROW:
            yield from (at for at in range(max(low, 0), high + 1) if self.match(data, at))
            return
        if not self.probe:
            yield from self._everywhere(subject, low, high)
            return
        haystack = subject.lower if self.caseless else data
        if self.plain:
            yield from _places(self.probe, haystack, subject, max(low, 0), high)
            return
        near, far = self.distances
        tried = low - 1
        for at in _places(self.probe, haystack, subject, max(low + near, 0), high + far):
            for start in range(max(low, tried + 1, at - far), min(high, at - near) + 1):
                tried = start
                if self.match(data, start):
                    yield start

    def _everywhere(self, subject: Subject, low: int, high: int) -> Iterator[int]:
        for start in range(low, high + 1):
            if not start & 0xFFF:
                subject.check_time()
            if self.match(subject.data, start):
                yield start

    def all_ends(self, subject: Subject, starts: Sequence[int]) -> list[int]:
        """Where matches that begin at ``starts`` (sorted, each once) end, likewise."""
        least, most = self.lengths
        if least == most:
            return [start + least for start in starts]
        return sorted({end for start in starts for end in self._ends(subject, start)})

    def _ends(self, subject: Subject, start: int) -> set[int]:
        """Several if choices differ in length."""
        ends = {start}
        for element in self.segment.elements:
            ends = {e for at in ends for e in _element_ends(element, subject, at, self.caseless)}
        after = [edge for edge in self.segment.edges if not edge.left]
        if after:
            follows = re.compile(_edge(after[0]), re.DOTALL).match
            ends = {end for end in ends if follows(subject.data, end)}
        return ends


def _places(probe: bytes, haystack: bytes, subject: Subject, low: int, high: int) -> Iterator[int]:
    """Where ``probe`` is, from ``low`` to ``high``. Raises ScanTimeoutError."""
    number, at = 0, haystack.find(probe, low)
    while 0 <= at <= high:
        yield at
        number += 1
        if not number % _PLACES_PER_CHECK:
            subject.check_time()
        at = haystack.find(probe, at + 1)


def _probe(segment: Segment) -> tuple[bytes, tuple[int, int]]:
    """The longest literal, and how far after the segment's begin it is: least and most bytes."""
    best, distances = b"", (0, 0)
    near = far = 0
    for element in segment.elements:
        if isinstance(element, Literal) and len(element.value) > len(best):
            best, distances = element.value, (near, far)
        least, most = element_lengths(element)
        near, far = near + least, far + most
    return best, distances


# --- regular expressions --------------------------------------------------------------------------


def _flags(*, caseless: bool) -> int:
    return re.DOTALL | (re.IGNORECASE if caseless else 0)


def _source(segment: Segment) -> bytes:
    before = b"".join(_edge(edge) for edge in segment.edges if edge.left)
    after = b"".join(_edge(edge) for edge in segment.edges if not edge.left)
    return before + b"".join(_element(element) for element in segment.elements) + after


def _element(element: Element) -> bytes:
    match element:
        case Literal(value):
            return re.escape(value)
        case Masked(value, mask):
            return _masked(value, mask)
        case Skip(least):
            return b".{%d}" % least
        case Choice(options, negated):
            alternatives = b"|".join(b"".join(_element(e) for e in option) for option in options)
            if not negated:
                return b"(?:" + alternatives + b")"
            return b"(?!" + alternatives + b").{%d}" % element_lengths(element)[0]


def _masked(value: int, mask: int) -> bytes:
    if not mask:
        return b"."
    # Not in upper and lower case: of such a byte clamscan compares the bits alone.
    fitting = bytes(byte for byte in range(256) if byte & mask == value)
    return b"(?-i:" + _one_of(fitting) + b")"


def _edge(edge: Edge) -> bytes:
    if edge.wide:
        word = _one_of(_ALPHANUMERIC) + rb"\x00"
        if edge.negated:
            return rb"(?:\A|(?<=%b))" % word if edge.left else rb"(?:\Z|(?=%b))" % word
        return b"(?<!%b)" % word if edge.left else b"(?!%b)" % word
    forbidden = _forbidden(edge)
    return (b"(?<!%b)" if edge.left else b"(?!%b)") % (b"(?-i:" + _one_of(forbidden) + b")")


def _forbidden(edge: Edge) -> bytes:
    if edge.kind is Class.NOT_ALPHANUMERIC:
        return _all_but(_ALPHANUMERIC) if edge.negated else _ALPHANUMERIC
    beside = _BESIDE[edge.kind, edge.left]
    if not edge.negated:
        return _all_but(beside)
    if (edge.kind, edge.left) == _NO_BOUNDARY:
        return bytes({*beside, *_BESIDE[Class.BOUNDARY, False]})
    return beside


def _all_but(these: bytes) -> bytes:
    return bytes(byte for byte in range(256) if byte not in these)


def _one_of(these: bytes) -> bytes:
    return b"[" + b"".join(rb"\x%02x" % byte for byte in these) + b"]"


# --- every end ------------------------------------------------------------------------------------


def _element_ends(element: Element, subject: Subject, at: int, caseless: bool) -> set[int]:
    if isinstance(element, Choice) and not element.negated:
        ends = set()
        for option in element.options:
            if _compiled(option, caseless=caseless)(subject.data, at):
                ends.add(at + sum(element_lengths(e)[0] for e in option))
        return ends
    if _compiled((element,), caseless=caseless)(subject.data, at):
        return {at + element_lengths(element)[0]}
    return set()


def _compiled(
    elements: tuple[Element, ...], *, caseless: bool
) -> Callable[[bytes, int], re.Match[bytes] | None]:
    # re keeps what it compiled lately.
    source = b"".join(_element(element) for element in elements)
    return re.compile(source, _flags(caseless=caseless)).match
