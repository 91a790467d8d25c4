"""Which piece of a signature to look for: one that each file it matches must have, and few others.

A logical signature that needs all of its subsignatures is looked for by the rarest piece of the
rarest one; where one of several is enough, each of them has a piece. If even these pieces are not
rare, it is looked for by two such sets of pieces: both must be found.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailward.scan.signatures import expression as logic
from mailward.scan.signatures.errors import MalformedError
from mailward.scan.signatures.expression import Both, Counted, Either, Expression, Leaf
from mailward.scan.signatures.offsets import NUMBER_MAX, Base, Offset
from mailward.scan.signatures.pattern import (
    FIXED_MIN,
    Literal,
    Pattern,
    element_lengths,
)
from mailward.scan.signatures.rarity import PIECE_MAX, rarest
from mailward.scan.signatures.regex_literals import literals
from mailward.scan.signatures.signature import Body, Compare, Macro, Regex, Signature

RUN_MAX = 256
"""Bytes around a piece that are compared at once; longer ones differ before that."""


_AT_ONE_PLACE = 48
"""How much rarer (in steps of ``rarity``) a piece counts that can be at one place only: what is
found elsewhere is dismissed at once."""


_FREQUENT = 2.0**-36
"""How often pieces may begin at a byte before a second half is wanted. Words are more frequent than
triples of letters let one think: one of 7 letters counted as 2**-27 was in a tenth of all mails.
One signature in a hundred is concerned."""
_SECOND_MAX = 2.0**-13
"""A second half that is found more often than that costs more than it spares."""


_FREQUENT_BYTES = 7
"""A piece no longer than that may be in a file a thousand times: it is then told of once."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A literal, which piece of it is looked for, and where in a file it may begin."""

    caseless: bool
    run: bytes
    """What must be there around the piece, in lower case if ``caseless``."""
    back: int
    """Bytes from the run's begin to the piece's end."""
    low: int = 0
    high: int = NUMBER_MAX
    """Where the run may begin, as far as that is known without the file."""
    half: int = 0
    """1, 2: a file must have anchors of both halves; 0: this one is enough."""

    @property
    def piece(self) -> bytes:
        """What is looked for: as much of the run as a piece may have."""
        return self.run[max(0, self.back - PIECE_MAX) : self.back]

    @property
    def is_once_enough(self) -> bool:
        """Whether wherever the piece is says as much as anywhere else."""
        anywhere = self.low == 0 and self.high == NUMBER_MAX
        return anywhere and self.run == self.piece and len(self.run) <= _FREQUENT_BYTES


@dataclass(frozen=True, slots=True)
class _Run:
    """A literal of a pattern, or of a regular expression."""

    subsignature: int
    way: int
    """A regular expression may be looked for in several ways, a body in one: 0."""
    pattern: int
    """One literal of each has to be looked for."""
    value: bytes
    caseless: bool
    window: tuple[int, int]


def anchors(signatures: Sequence[Signature]) -> list[tuple[Anchor, ...] | MalformedError]:
    """For each signature its anchors, or why it has none."""
    runs = [list(_runs(signature)) for signature in signatures]
    best = iter(rarest([run.value for several in runs for run in several]))
    return [
        _chosen(signature, [_rated(run, *next(best)) for run in several])
        for signature, several in zip(signatures, runs, strict=True)
    ]


def _rated(run: _Run, rarity: int, place: int, length: int) -> "_Rated":
    return run, rarity + _AT_ONE_PLACE * (run.window[0] == run.window[1]), place, length


_Way = tuple[int, int]
"""The number of a subsignature, and one of the ways in which it may be looked for."""

_Rated = tuple[_Run, int, int, int]
"""A run with the rarity, the place and the length of its rarest piece."""


def _chosen(signature: Signature, rated: list[_Rated]) -> tuple[Anchor, ...] | MalformedError:
    expression = _matchable(signature.expression, signature)
    patterns: dict[_Way, int] = defaultdict(int)
    for run, *_ in rated:
        way = run.subsignature, run.way
        patterns[way] = max(patterns[way], run.pattern + 1)
    for number, subsignature in enumerate(signature.subsignatures):
        if isinstance(subsignature, Body):
            patterns[number, 0] = len(subsignature.patterns)
    cheapest = _cheapest(expression, patterns, rated)
    if cheapest is None:
        return MalformedError("it would match files in which none of its subsignatures does")
    cost, first = cheapest
    if cost > _FREQUENT:
        looked_for = {one[0].value.lower() for one in first}
        others = [one for one in rated if one[0].value.lower() not in looked_for]
        second = _cheapest(expression, patterns, others)
        if second is not None and second[0] <= _SECOND_MAX:
            halves = (1, first), (2, second[1])
            return tuple(_anchor(one, half) for half, several in halves for one in several)
    return tuple(_anchor(one) for one in first)


def _cheapest(
    expression: Expression, patterns: Mapping[_Way, int], rated: list[_Rated]
) -> tuple[float, list[_Rated]] | None:
    """What to look for of all this, and how often it begins at a byte. None if a file that matches
    may have none of it. ``patterns``: how many each way has."""
    by_way: dict[_Way, dict[int, _Rated]] = defaultdict(dict)
    for one in rated:
        of_pattern = by_way[one[0].subsignature, one[0].way]
        best = of_pattern.get(one[0].pattern)
        if best is None or one[1] > best[1]:
            of_pattern[one[0].pattern] = one
    costs: dict[int, float] = {}
    chosen: dict[int, list[_Rated]] = {}
    for way, of_pattern in by_way.items():
        cost = sum(2.0 ** (-one[1] / 8) for one in of_pattern.values())
        if len(of_pattern) == patterns[way] and cost < costs.get(way[0], math.inf):
            costs[way[0]], chosen[way[0]] = cost, list(of_pattern.values())
    cheapest = logic.cheapest(expression, costs)
    if cheapest is None:
        return None
    return cheapest[0], [one for number in sorted(cheapest[1]) for one in chosen[number]]


def _anchor(rated: _Rated, half: int = 0) -> Anchor:
    run, _, place, length = rated
    caseless = run.caseless
    cut = max(0, place + length - RUN_MAX)
    value = run.value[cut : cut + RUN_MAX]
    low, high = run.window
    return Anchor(
        caseless,
        value.lower() if caseless else value,
        place + length - cut,
        low + cut,
        min(high + cut, NUMBER_MAX),
        half,
    )


def _matchable(expression: Expression, signature: Signature) -> Expression:
    """With what else must match whenever a subsignature does, so that it can be looked for."""
    match expression:
        case Leaf(index):
            match signature.subsignatures[index]:
                case Regex(trigger):
                    return Both(Leaf(index), _matchable(trigger, signature))
                case Compare(trigger):
                    return Leaf(trigger)
                case Macro():
                    return _matchable(Leaf(index - 1), signature)
            return expression
        case Both(left, right):
            return Both(_matchable(left, signature), _matchable(right, signature))
        case Either(left, right):
            return Either(_matchable(left, signature), _matchable(right, signature))
        case Counted(inner, sign, number, distinct):
            return Counted(_matchable(inner, signature), sign, number, distinct)


def _runs(signature: Signature) -> Iterator[_Run]:
    for number, subsignature in enumerate(signature.subsignatures):
        if isinstance(subsignature, Body):
            for at, pattern in enumerate(subsignature.patterns):
                yield from _runs_of(number, at, pattern, subsignature.offset)
        elif isinstance(subsignature, Regex):
            ways = literals(subsignature.source, subsignature.flags)
            for way, (several, caseless) in enumerate(ways):
                for at, literal in enumerate(several):
                    yield _Run(number, way, at, literal, caseless, (0, NUMBER_MAX))


def _runs_of(number: int, at: int, pattern: Pattern, offset: Offset) -> Iterator[_Run]:
    absolute = offset.base is Base.START
    low, high = (offset.number, offset.number + offset.shift) if absolute else (0, NUMBER_MAX)
    for place, segment in enumerate(pattern.segments):
        for element in segment.elements:
            if isinstance(element, Literal) and len(element.value) >= FIXED_MIN:
                yield _Run(number, 0, at, element.value, pattern.caseless, (low, high))
            least, most = element_lengths(element)
            low, high = low + least, min(high + most, NUMBER_MAX)
        if place < len(pattern.gaps):
            gap = pattern.gaps[place]
            low += gap.least
            high = NUMBER_MAX if gap.most is None else min(high + gap.most, NUMBER_MAX)
