"""What a pattern means, as plainly as it can be said: every way of matching is tried.

Only for tests, on small input: the fast path is compared with it.
"""

from collections.abc import Iterator

from mailward.scan.signatures.pattern import (
    Choice,
    Class,
    Edge,
    Element,
    Literal,
    Masked,
    Pattern,
    Segment,
    Skip,
)

_ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# What clamscan 1.4.6 takes for each, found by trying all 256 bytes on either side, as the beginning
# and the end of a picture, which has no normalised form.
_BOUNDARY_LEFT = b" -./<@_"
_BOUNDARY_RIGHT = b"\n\r \"'-/=>_"
_LINE = b"\n"


def spans(pattern: Pattern, data: bytes) -> set[tuple[int, int]]:
    """All pairs of where the first segment begins and where the last one ends."""
    return {(first, end) for first, _, end in matches(pattern, data)}


def matches(
    pattern: Pattern, data: bytes, window: tuple[int, int] = (0, 1 << 40)
) -> set[tuple[int, int, int]]:
    """Where the first segment begins (within ``window``), the last begins, and the last ends."""
    found = set()
    for start in range(window[0], min(window[1], len(data)) + 1):
        begun = {(start, end) for end in _segment_ends(pattern, 0, data, start)}
        for number, gap in enumerate(pattern.gaps, 1):
            begun = {
                (next_start, next_end)
                for _, end in begun
                for next_start in range(end + gap.least, len(data) + 1)
                if gap.most is None or next_start <= end + gap.most
                for next_end in _segment_ends(pattern, number, data, next_start)
            }
        found |= {(start, last, end) for last, end in begun}
    return found


def _segment_ends(pattern: Pattern, number: int, data: bytes, start: int) -> set[int]:
    segment: Segment = pattern.segments[number]
    ends = set(_ends(segment.elements, data, start, caseless=pattern.caseless))
    return {end for end in ends if all(_edge(edge, data, start, end) for edge in segment.edges)}


def _ends(elements: tuple[Element, ...], data: bytes, at: int, *, caseless: bool) -> Iterator[int]:
    if not elements:
        yield at
        return
    for end in _element_ends(elements[0], data, at, caseless=caseless):
        yield from _ends(elements[1:], data, end, caseless=caseless)


def _element_ends(element: Element, data: bytes, at: int, *, caseless: bool) -> Iterator[int]:
    match element:
        case Literal(value):
            there = data[at : at + len(value)]
            if there == value or (caseless and there.lower() == value.lower()):
                yield at + len(value)
        case Masked(value, mask):
            if at < len(data) and data[at] & mask == value:
                yield at + 1
        case Skip(least):
            if at + least <= len(data):
                yield at + least
        case Choice(options, negated):
            ends = [e for o in options for e in _ends(o, data, at, caseless=caseless)]
            if not negated:
                yield from ends
                return
            length = sum(len(e.value) if isinstance(e, Literal) else 1 for e in options[0])
            if not ends and at + length <= len(data):
                yield at + length


def _edge(edge: Edge, data: bytes, start: int, end: int) -> bool:
    if start == 0 if edge.left else end == len(data):
        return True
    if edge.wide:
        beside_two = data[max(0, start - 2) : start] if edge.left else data[end : end + 2]
        word = len(beside_two) == 2 and beside_two[0] in _ALPHANUMERIC and beside_two[1] == 0
        return word == edge.negated
    beside = data[start - 1] if edge.left else data[end]
    match edge.kind:
        case Class.NOT_ALPHANUMERIC:
            right = beside not in _ALPHANUMERIC
        case Class.BOUNDARY if edge.left and edge.negated:
            return beside not in _BOUNDARY_LEFT + _BOUNDARY_RIGHT
        case Class.BOUNDARY:
            right = beside in (_BOUNDARY_LEFT if edge.left else _BOUNDARY_RIGHT)
        case Class.LINE:
            right = beside in _LINE
    return right != edge.negated
