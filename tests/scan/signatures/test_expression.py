"""Logical expressions: read, refused, and evaluated as clamscan 1.4.6 does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.signatures import expression
from mailward.scan.signatures.expression import Both, Counted, Either, ExpressionError, Leaf, parse


def holds(text: str, *counts: int) -> bool:
    return expression.compiled(parse(text))(lambda index, limit: min(counts[index], limit))


def test_operators_bind_alike_and_to_the_right() -> None:
    assert parse("0|1&2") == Either(Leaf(0), Both(Leaf(1), Leaf(2)))
    assert parse("2&1|0") == Both(Leaf(2), Either(Leaf(1), Leaf(0)))
    assert parse("(0|1)>2,2&2=0") == Both(
        Counted(Either(Leaf(0), Leaf(1)), ">", 2, 2), Counted(Leaf(2), "=", 0)
    )


# What clamscan 1.4.6 said of files with 0 to 5 and 0 to 1 matches of two subsignatures.
@pytest.mark.parametrize(
    ("text", "matched"),
    [
        ("0=3", {(3, 0)}),
        ("0=5", {(5, 0)}),
        ("0<2", {(0, 0), (1, 0)}),
        ("0>0,1", {(1, 0), (2, 1), (3, 0), (5, 0)}),
        ("0&(1=0)", {(1, 0), (3, 0), (5, 0)}),
        ("(0&1)>2", {(2, 1)}),
        ("(0|1)>2", {(2, 1), (3, 0), (5, 0)}),
        ("(0|1)>2,2", {(2, 1)}),
        ("(0|1)=3,2", {(2, 1)}),
        ("(0|1)<3", {(0, 0), (1, 0)}),
        ("(0|1)<9,2", {(2, 1)}),
        ("(0|1)=0", {(0, 0)}),
        ("(0&1)=0", {(0, 0), (1, 0), (3, 0), (5, 0)}),
        ("((0|1)>1,2)&0", {(2, 1)}),
        ("0>=3", {(3, 0)}),
        ("0=>2", {(3, 0), (5, 0)}),
        ("0>4>1", {(2, 1), (3, 0), (5, 0)}),
        ("0>1,2", {(2, 1), (3, 0), (5, 0)}),
        ("0&1,4", {(2, 1)}),
    ],
)
def test_counts_are_those_of_clamscan(text: str, matched: set[tuple[int, int]]) -> None:
    files = [(0, 0), (1, 0), (3, 0), (2, 1), (5, 0)]
    assert {counts for counts in files if holds(text, *counts)} == matched


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "number is missing"),
        ("()", "number is missing"),
        ("0&", "number is missing"),
        ("0&&1", "number is missing"),
        ("(0", "not closed"),
        ("0)", "too much"),
        ("0 1", "cannot read"),
        ("0>", "cannot read"),
        ("0=x", "cannot read"),
        ("0,", "cannot read"),
        ("(0|1)==1", "too much"),
        ("(0|1)>1<3", "too much"),
        ("(0|1),2", "too much"),
        ("(" * 1000 + "0" + ")" * 1000, "32 deep"),
        ("0&" * 300 + "0", "more than 256 terms"),
        ("0" * 5000, "more than 4096 characters"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        parse(text)


@given(st.text("0123()&|=<>,", max_size=40))
def test_junk_is_refused_or_evaluated(text: str) -> None:
    try:
        read = parse(text)
    except ExpressionError:
        return
    assert expression.compiled(read)(lambda _index, _limit: 1) in (True, False)


EXPRESSIONS = st.recursive(
    st.integers(0, 3).map(Leaf),
    lambda inner: st.one_of(
        st.builds(Both, inner, inner),
        st.builds(Either, inner, inner),
        st.builds(Counted, inner, st.sampled_from("=<>"), st.integers(0, 3), st.integers(0, 2)),
    ),
    max_leaves=8,
)
COUNTS = st.tuples(*[st.integers(0, 4)] * 4)


def evaluate(plain: expression.Expression, counts: tuple[int, ...]) -> tuple[bool, int, set[int]]:
    """As plainly as it can be said: whether it holds, with how many matches of which."""
    match plain:
        case Leaf(index):
            return counts[index] > 0, counts[index], {index} if counts[index] else set()
        case Both(left, right) | Either(left, right):
            one, other = evaluate(left, counts), evaluate(right, counts)
            if isinstance(plain, Both) and not (one[1] and other[1]):
                return one[0] and other[0], 0, set()
            truth = one[0] and other[0] if isinstance(plain, Both) else one[0] or other[0]
            return truth, one[1] + other[1], one[2] | other[2]
        case Counted(inner, _, _, distinct):
            _, number, which = evaluate(inner, counts)
            fits = plain.holds(number) and len(which) >= distinct
            kept = which if fits and isinstance(inner, Leaf) else set()
            return fits, number if fits else 0, kept


@given(EXPRESSIONS, COUNTS)
def test_limits_and_order_change_nothing(
    plain: expression.Expression, counts: tuple[int, int, int, int]
) -> None:
    ordered = expression.ordered(plain, lambda index: (index * 7) % 4)
    quick = expression.compiled(ordered)(lambda index, limit: min(counts[index], limit))
    assert quick == evaluate(plain, counts)[0]


@given(EXPRESSIONS, COUNTS)
def test_what_is_looked_for_is_there_whenever_it_holds(
    plain: expression.Expression, counts: tuple[int, int, int, int]
) -> None:
    cheapest = expression.cheapest(plain, {0: 1.0, 1: 2.0, 3: 0.5})
    if cheapest is not None and evaluate(plain, counts)[0]:
        assert any(counts[index] for index in cheapest[1])
