"""Logical expressions: ``0&(1|2)&((3|4)>2,2)&5=0``, read and evaluated.

The language is that of https://docs.clamav.net/manual/Signatures/LogicalSignatures.html. What the
documentation leaves open is as clamscan 1.4.6 does it: ``&`` and ``|`` bind alike and to the right,
so ``0|1&2`` is ``0|(1&2)`` and ``2&1|0`` is ``2&(1|0)``, but the last operator within parentheses
binds least: ``(0|1&2)`` is ``((0|1)&2)``. A block in which an ``&`` is not fulfilled has no matches
to count, and one that is counted itself has matches, but of no subsignature, for another around
it: ``((0|1)>1|2)>2,2`` never holds. Of several signs behind a subsignature's number the last
counts (``0>=2`` is ``0=2``), and ``,m`` there is nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

TEXT_MAX = 4096
DEPTH_MAX = 32
"""Parentheses in each other: ClamAV's own signatures have four."""
TERMS_MAX = 256
INDEX_MAX = 64
"""Subsignatures of one signature, as for ClamAV."""


class ExpressionError(ValueError):
    """An expression that is none, and why."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A subsignature, by its number."""

    index: int


@dataclass(frozen=True, slots=True)
class Both:
    """``&``."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Either:
    """``|``."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Counted:
    """``=n``, ``>n``, ``<n``: how many matches there are, of ``distinct`` subsignatures or more."""

    inner: "Expression"
    sign: str
    number: int
    distinct: int = 0

    def holds(self, count: int) -> bool:
        """Whether so many matches are right."""
        match self.sign:
            case "=":
                return count == self.number
            case ">":
                return count > self.number
        return count < self.number


Expression = Leaf | Both | Either | Counted

_TOKEN = re.compile(r"([0-9]{1,6})|([&|()])|([=<>]{1,9})([0-9]{1,9})(?:,([0-9]{0,9}))?|,[0-9]{1,9}")


@lru_cache(maxsize=1024)
def parse(text: str) -> Expression:
    """Read an expression. Raises ExpressionError."""
    if len(text) > TEXT_MAX:
        raise ExpressionError(f"an expression of more than {TEXT_MAX} characters")
    reader = _Reader(text)
    expression = reader.expression(0)
    if reader.peek() is not None:
        raise ExpressionError(f"at character {reader.at + 1}: {text[reader.at]!r} is too much")
    return expression


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._terms = 0

    def peek(self) -> re.Match[str] | None:
        if self.at == len(self.text):
            return None
        token = _TOKEN.match(self.text, self.at)
        if token is None:
            raise ExpressionError(
                f"at character {self.at + 1}: cannot read {self.text[self.at : self.at + 10]!r}"
            )
        return token

    def _take(self) -> re.Match[str] | None:
        token = self.peek()
        if token is not None:
            self.at = token.end()
        return token

    def expression(self, depth: int) -> Expression:
        terms = [self._term(depth)]
        operators: list[str] = []
        while (token := self.peek()) is not None and token[2] in ("&", "|"):
            self._take()
            operators.append(token[2])
            terms.append(self._term(depth))
        if depth and operators:
            # Within parentheses the last operator binds least.
            last, operator = terms.pop(), operators.pop()
            return _joined(operator, _to_the_right(terms, operators), last)
        return _to_the_right(terms, operators)

    def _term(self, depth: int) -> Expression:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise ExpressionError(f"an expression of more than {TERMS_MAX} terms")
        token = self._take()
        if token is not None and token[1]:
            term: Expression = Leaf(int(token[1]))
        elif token is not None and token[2] == "(":
            if depth == DEPTH_MAX:
                raise ExpressionError(f"parentheses more than {DEPTH_MAX} deep")
            term = self.expression(depth + 1)
            closing = self._take()
            if closing is None or closing[2] != ")":
                raise ExpressionError("a parenthesis that is not closed")
        else:
            raise ExpressionError("a subsignature's number is missing")
        return self._counted(term)

    def _counted(self, term: Expression) -> Expression:
        """With what is asked of the number of matches, if anything."""
        counted, lenient = term, isinstance(term, Leaf)
        while (token := self.peek()) is not None and (token[3] or (lenient and token[0][0] == ",")):
            if not lenient and (counted is not term or len(token[3]) > 1):
                raise ExpressionError(f"at character {self.at + 1}: {token[0]!r} is too much")
            self._take()
            if token[3]:
                distinct = 0 if lenient else int(token[5] or 0)
                counted = Counted(term, token[3][-1], int(token[4]), distinct)
        return counted


def _to_the_right(terms: list[Expression], operators: list[str]) -> Expression:
    result = terms.pop()
    while operators:
        result = _joined(operators.pop(), terms.pop(), result)
    return result


def _joined(operator: str, left: Expression, right: Expression) -> Expression:
    return Both(left, right) if operator == "&" else Either(left, right)


def ordered(expression: Expression, rank: Callable[[int], int]) -> Expression:
    """The same, with what is quickly found not to hold before what takes longer.

    ``rank``: of a subsignature, the higher the longer.
    """
    return _ordered(expression, rank)[0]


def _ordered(
    expression: Expression, rank: Callable[[int], int]
) -> tuple[Expression, frozenset[int]]:
    """With the subsignatures that it names."""
    match expression:
        case Leaf(index):
            return expression, frozenset({index})
        case Counted(inner, sign, number, distinct):
            inside, named = _ordered(inner, rank)
            return Counted(inside, sign, number, distinct), named
        case Either(left, right):
            (first, these), (second, those) = _ordered(left, rank), _ordered(right, rank)
            return Either(first, second), these | those
        case Both():
            found = [_ordered(one, rank) for one in _operands(expression)]
            terms = [term for term, _ in sorted(found, key=lambda one: sum(map(rank, one[1])))]
            result = terms.pop()
            while terms:
                result = Both(terms.pop(), result)
            return result, frozenset[int]().union(*(named for _, named in found))


def indices(expression: Expression) -> frozenset[int]:
    """The subsignatures that it names."""
    match expression:
        case Leaf(index):
            return frozenset({index})
        case Counted(inner):
            return indices(inner)
        case Both(left, right) | Either(left, right):
            return indices(left) | indices(right)


Count = Callable[[int, int], int]
"""How often a subsignature matches, counted up to a limit that is at least 1."""


Found = tuple[int, frozenset[int]]
"""How many matches, of which subsignatures."""

_NOTHING: Found = (0, frozenset())


def compiled(expression: Expression) -> Callable[[Count], bool]:
    """A function that says whether it holds, and asks as seldom and for as little as possible."""
    match expression:
        case Leaf(index):
            return lambda count: count(index, 1) > 0
        case Both() | Either():
            return _block(expression)
        case Counted(inner, _, number, distinct):
            # One more than the number is as good as a million more, in each comparison.
            counted, holds = _counter(inner, number + 1), expression.holds

            def compared(count: Count) -> bool:
                matches, which = counted(count)
                return holds(matches) and len(which) >= distinct

            return compared


def _block(expression: Both | Either) -> Callable[[Count], bool]:
    """One function for all operands: signatures with a hundred of them are many."""
    operands, enough = _operands(expression), isinstance(expression, Either)
    if all(isinstance(operand, Leaf) for operand in operands):
        indices = tuple(operand.index for operand in operands if isinstance(operand, Leaf))

        def of_leaves(count: Count) -> bool:
            for index in indices:
                if (count(index, 1) > 0) is enough:
                    return enough
            return not enough

        return of_leaves
    holding = tuple(compiled(operand) for operand in operands)

    def of_all(count: Count) -> bool:
        for holds in holding:
            if holds(count) is enough:
                return enough
        return not enough

    return of_all


def _operands(expression: Both | Either) -> list[Expression]:
    """What is joined by the same operator, in order, however it was grouped."""
    found: list[Expression] = []
    left_to_see: list[Expression] = [expression]
    while left_to_see:
        one = left_to_see.pop()
        if isinstance(one, Both | Either) and type(one) is type(expression):
            left_to_see += [one.right, one.left]
        else:
            found.append(one)
    return found


def _counter(expression: Expression, limit: int) -> Callable[[Count], Found]:
    """A function that says how many matches it has; none if it does not hold."""
    match expression:
        case Leaf(index):
            itself = frozenset({index})

            def of_one(count: Count) -> Found:
                found = count(index, limit)
                return (found, itself) if found else _NOTHING

            return of_one
        case Both() | Either():
            counters = tuple(_counter(operand, limit) for operand in _operands(expression))
            both = isinstance(expression, Both)

            def of_block(count: Count) -> Found:
                matches, which = 0, frozenset[int]()
                for counter in counters:
                    found, these = counter(count)
                    if both and not found:
                        return _NOTHING
                    matches, which = matches + found, which | these
                return matches, which

            return of_block
        case Counted(inner, _, number, distinct):
            counted, holds = _counter(inner, max(limit, number + 1)), expression.holds
            is_group = not isinstance(inner, Leaf)

            def of_compared(count: Count) -> Found:
                found, which = counted(count)
                if not holds(found) or len(which) < distinct:
                    return _NOTHING
                return found, frozenset() if is_group else which

            return of_compared


def cheapest(
    expression: Expression, costs: Mapping[int, float]
) -> tuple[float, frozenset[int]] | None:
    """Subsignatures of which one matches whenever it holds, as cheap together as possible.

    ``costs``: of the subsignatures that can be looked for. None if it may hold where none of these
    matches.
    """
    match expression:
        case Leaf(index):
            return (costs[index], frozenset({index})) if index in costs else None
        case Both(left, right):
            sides = [s for s in (cheapest(left, costs), cheapest(right, costs)) if s is not None]
            return min(sides, key=lambda side: side[0]) if sides else None
        case Either(left, right):
            first, second = cheapest(left, costs), cheapest(right, costs)
            if first is None or second is None:
                return None
            return first[0] + second[0], first[1] | second[1]
        case Counted(inner, sign, number):
            may_be_none = sign == "<" or (sign == "=" and number == 0)
            return None if may_be_none else cheapest(inner, costs)
