"""Body patterns: ClamAV's hexadecimal language, read into plain values.

The language is that of https://docs.clamav.net/manual/Signatures/BodySignatureFormat.html::

    aa ?? a? ?a              bytes, of which all, none or four bits are given
    * {n} {n-m} {-n} {n-} [n-m]   gaps: that many bytes, whatever they are
    (aa|bbcc|d?)  !(aa|bb)   one of these, perhaps nothing; anything of that length but these
    (B) (L) (W)              a word boundary, an end of line, something not alphanumeric

Gaps of varying length cut a pattern into segments, one of which must have two given bytes in a
row: a shorter piece is in every file. The three classes say something of the byte beside a segment,
without being part of the match, and the edge of the file is always right. Everything is bounded,
and a PatternError says what is wrong.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

TEXT_MAX = 64 * 1024
"""Characters of a pattern: ClamAV's longest are 16,000."""

SEGMENTS_MAX = 512
OPTIONS_MAX = 256
"""Of one choice."""
GAP_MAX = 1 << 32
"""No file that is scanned is longer."""
FIXED_GAP_MAX = 128
"""Shorter gaps of one length belong to the segment around them, as for ClamAV."""
FIXED_MIN = 2
"""Given bytes in a row that a pattern has somewhere."""


class PatternError(ValueError):
    """A pattern that is not one, or that cannot be matched, and why."""


class Class(Enum):
    """What may stand beside a segment, by its letter."""

    BOUNDARY = "B"
    LINE = "L"
    NOT_ALPHANUMERIC = "W"


@dataclass(frozen=True, slots=True)
class Literal:
    """These bytes."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Masked:
    """One byte, of which only the bits in ``mask`` are given."""

    value: int
    mask: int


@dataclass(frozen=True, slots=True)
class Skip:
    """So many bytes, whatever they are."""

    least: int
    most: int | None
    """None: any number."""

    @property
    def fixed(self) -> bool:
        """Whether it belongs to a segment instead of ending it."""
        return self.most is not None and self.least == self.most < FIXED_GAP_MAX


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several, or nothing of several that are of one length."""

    options: "tuple[tuple[Literal | Masked, ...], ...]"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """What the byte before a segment (``left``) or after it must be; the file's end always is."""

    kind: Class
    left: bool
    negated: bool = False
    wide: bool = False
    """A letter or digit counts only with a NUL after it (modifiers ``w`` and ``f`` together)."""


Element = Literal | Masked | Choice | Skip
"""Of a segment; a Skip only if it is ``fixed``."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What lies between two gaps of varying length."""

    elements: tuple[Element, ...]
    edges: tuple[Edge, ...] = ()

    def lengths(self) -> tuple[int, int]:
        """The least and the most bytes that it can match."""
        each = [element_lengths(element) for element in self.elements]
        return sum(least for least, _ in each), sum(most for _, most in each)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A whole pattern: segments and, between each two of them, a gap."""

    segments: tuple[Segment, ...]
    gaps: tuple[Skip, ...] = ()
    caseless: bool = False
    """ASCII letters in given bytes match in upper and lower case."""

    def min_length(self) -> int:
        """The least bytes that a match spans."""
        return sum(s.lengths()[0] for s in self.segments) + sum(gap.least for gap in self.gaps)


def element_lengths(element: Element) -> tuple[int, int]:
    """The least and the most bytes that an element can match."""
    match element:
        case Literal(value):
            return len(value), len(value)
        case Masked():
            return 1, 1
        case Skip(least):
            return least, least
        case Choice(options):
            each = [_option_length(option) for option in options]
            return min(each), max(each)


def _option_length(option: tuple[Literal | Masked, ...]) -> int:
    return sum(element_lengths(element)[0] for element in option)


# --- reading --------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"(?P<hex>(?:[0-9a-fA-F]{2})+)"
    r"|(?P<masked>[0-9a-fA-F?]{2})"
    r"|(?P<any>\*)"
    r"|\{(?P<gap>[0-9]{0,10}(?:-[0-9]{0,10})?)\}"
    r"|\[(?P<near>[0-9]{1,10}(?:-[0-9]{1,10})?)\]"
    r"|(?P<not>!?)\((?:(?P<class>[BLW])|(?P<choice>[0-9a-fA-F?|{}]*))\)"
)
_OPTION = re.compile(
    r"(?P<hex>(?:[0-9a-fA-F]{2})+)|(?P<masked>[0-9a-fA-F?]{2})|\{(?P<gap>[0-9]{1,3})\}"
)


def parse(text: str) -> Pattern:
    """Read a pattern. Raises PatternError, which says what is wrong and where."""
    if len(text) > TEXT_MAX:
        raise PatternError(f"a pattern of more than {TEXT_MAX} characters")
    segments: list[Segment] = []
    gaps: list[Skip] = []
    elements: list[Element] = []
    edges: list[Edge] = []
    for element in _tokens(text):
        match element:
            case Edge():
                edges.append(_placed(element, elements, edges))
            case Skip() if not element.fixed:
                segments.append(_segment(elements, edges))
                gaps.append(element)
                elements, edges = [], []
                if len(gaps) == SEGMENTS_MAX:
                    raise PatternError(f"more than {SEGMENTS_MAX} gaps")
            case _:
                if edges and not edges[-1].left:
                    raise PatternError("(B), (L) or (W) within a segment, not beside it")
                _append(elements, element)
    segments.append(_segment(elements, edges))
    if not any(
        isinstance(element, Literal) and len(element.value) >= FIXED_MIN
        for segment in segments
        for element in segment.elements
    ):
        raise PatternError(f"no {FIXED_MIN} given bytes in a row: it would match everything")
    return Pattern(tuple(segments), tuple(gaps))


def _placed(edge: Edge, elements: list[Element], edges: list[Edge]) -> Edge:
    placed = replace(edge, left=not elements)
    if any(other.left == placed.left for other in edges):
        raise PatternError("two of (B), (L) and (W) on one side of a segment")
    return placed


def _append(elements: list[Element], element: Element) -> None:
    last = elements[-1] if elements else None
    if isinstance(element, Literal) and isinstance(last, Literal):
        elements[-1] = Literal(last.value + element.value)
    else:
        elements.append(element)


def _segment(elements: list[Element], edges: list[Edge]) -> Segment:
    if not elements:
        raise PatternError("a gap of varying length with nothing before or after it")
    return Segment(tuple(elements), tuple(edges))


def _tokens(text: str) -> Iterator[Element | Edge]:
    at = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise PatternError(f"at character {at + 1}: cannot read {text[at : at + 20]!r}")
        at = token.end()
        if token["hex"]:
            yield Literal(bytes.fromhex(token["hex"]))
        elif token["masked"]:
            yield _masked(token["masked"])
        elif token["any"]:
            yield Skip(0, None)
        elif token["gap"] is not None:
            yield _gap(token["gap"])
        elif token["near"] is not None:
            yield _gap(token["near"])
        elif token["class"]:
            yield Edge(Class(token["class"]), left=False, negated=bool(token["not"]))
        else:
            yield _choice(token["choice"], negated=bool(token["not"]))


def _masked(text: str) -> Literal | Masked:
    digits = [0 if digit == "?" else int(digit, 16) for digit in text]
    masks = [0 if digit == "?" else 0xF for digit in text]
    return Masked(digits[0] << 4 | digits[1], masks[0] << 4 | masks[1])


def _gap(text: str) -> Skip:
    least, dash, most = text.partition("-")
    if not least and not most:
        raise PatternError("a gap {} or {-} without a number")
    low = int(least or 0)
    high = low if not dash else int(most) if most else None
    if high is not None and high < low:
        raise PatternError(f"a gap {{{text}}} that ends before it begins")
    if max(low, high or 0) > GAP_MAX:
        raise PatternError(f"a gap of more than {GAP_MAX} bytes")
    return Skip(low, high)


def _choice(text: str, *, negated: bool) -> Choice:
    options = tuple(_option(option) for option in text.split("|"))
    if not any(options):
        raise PatternError("an empty choice")
    if len(options) > OPTIONS_MAX:
        raise PatternError(f"a choice of more than {OPTIONS_MAX}")
    if negated and len({_option_length(option) for option in options}) > 1:
        raise PatternError("!(...) of different lengths")
    return Choice(options, negated)


def _option(text: str) -> tuple[Literal | Masked, ...]:
    elements: list[Literal | Masked] = []
    at = 0
    while at < len(text):
        token = _OPTION.match(text, at)
        if token is None:
            raise PatternError(f"a choice with {text[at : at + 20]!r} in it")
        at = token.end()
        if token["gap"]:
            gap = _gap(token["gap"])
            if not gap.fixed:
                raise PatternError(f"a gap of {FIXED_GAP_MAX} bytes or more in a choice")
            elements += [Masked(0, 0)] * gap.least
        else:
            elements.append(
                Literal(bytes.fromhex(token["hex"])) if token["hex"] else _masked(token["masked"])
            )
    return tuple(elements)


# --- modifiers ------------------------------------------------------------------------------------


def wide(pattern: Pattern) -> Pattern:
    """A NUL after every byte, ``??`` too, as clamscan 1.4.6 does it (modifier ``w``).

    The documentation says that wildcards stay as they are; gaps do.
    """
    return replace(pattern, segments=tuple(_wide_segment(s) for s in pattern.segments))


def fullword(pattern: Pattern, *, wide: bool = False) -> Pattern:
    """With something not alphanumeric before and after (modifier ``f``)."""
    first, last = pattern.segments[0], pattern.segments[-1]
    if any(e.left for e in first.edges) or any(not e.left for e in last.edges):
        raise PatternError("modifier f beside (B), (L) or (W)")
    segments = list(pattern.segments)
    before, after = (Edge(Class.NOT_ALPHANUMERIC, left, wide=wide) for left in (True, False))
    segments[0] = replace(first, edges=(before, *first.edges))
    last = segments[-1]
    segments[-1] = replace(last, edges=(*last.edges, after))
    return replace(pattern, segments=tuple(segments))


def _wide_segment(segment: Segment) -> Segment:
    elements: list[Element] = []
    for element in segment.elements:
        if isinstance(element, Choice):
            widened = tuple(_wide_option(option) for option in element.options)
            elements.append(Choice(widened, element.negated))
        elif isinstance(element, Skip):
            elements.append(element)
        else:
            for piece in _wide_option((element,)):
                _append(elements, piece)
    return replace(segment, elements=tuple(elements))


def _wide_option(option: tuple[Literal | Masked, ...]) -> tuple[Literal | Masked, ...]:
    widened: list[Literal | Masked] = []
    for element in option:
        if isinstance(element, Literal):
            widened.append(Literal(_interleaved(element.value)))
        else:
            widened += [element, Literal(b"\0")]
    return tuple(widened)


def _interleaved(value: bytes) -> bytes:
    interleaved = bytearray(2 * len(value))
    interleaved[::2] = value
    return bytes(interleaved)


def with_case(pattern: Pattern, *, caseless: bool) -> Pattern:
    """Whether upper and lower case of letters are told apart (modifier ``i``)."""
    return replace(pattern, caseless=caseless)
