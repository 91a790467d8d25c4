"""Reading ClamAV's body patterns: what is taken, what is refused and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.signatures import pattern
from mailward.scan.signatures.pattern import (
    Choice,
    Class,
    Edge,
    Literal,
    Masked,
    Pattern,
    PatternError,
    Segment,
    Skip,
    fullword,
    parse,
    wide,
)
from tests.scan.signatures.slow_matcher import spans


def only(text: str) -> tuple[object, ...]:
    (segment,) = parse(text).segments
    return segment.elements


def test_every_piece_of_the_language_is_read() -> None:
    assert only("6162??a??f6364{3}6566") == (
        Literal(b"ab"),
        Masked(0, 0),
        Masked(0xA0, 0xF0),
        Masked(0x0F, 0x0F),
        Literal(b"cd"),
        Skip(3, 3),
        Literal(b"ef"),
    )
    assert only("6162(63|6465|f?|)!(00|01)") == (
        Literal(b"ab"),
        Choice(((Literal(b"c"),), (Literal(b"de"),), (Masked(0xF0, 0xF0),), ())),
        Choice(((Literal(b"\0"),), (Literal(b"\1"),)), negated=True),
    )


@pytest.mark.parametrize(
    ("gap", "least", "most"),
    [
        ("*", 0, None),
        ("{2-5}", 2, 5),
        ("{-5}", 0, 5),
        ("{5-}", 5, None),
        ("{128}", 128, 128),
        ("[1-16]", 1, 16),
    ],
)
def test_gaps_cut_a_pattern(gap: str, least: int, most: int | None) -> None:
    read = parse(f"6162{gap}63")
    assert read.gaps == (Skip(least, most),)
    assert [segment.elements for segment in read.segments] == [(Literal(b"ab"),), (Literal(b"c"),)]


def test_classes_belong_to_the_side_they_stand_on() -> None:
    assert parse("(B)6162!(W)*(L)6364").segments == (
        Segment(
            (Literal(b"ab"),),
            (Edge(Class.BOUNDARY, True), Edge(Class.NOT_ALPHANUMERIC, False, negated=True)),
        ),
        Segment((Literal(b"cd"),), (Edge(Class.LINE, True),)),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "before or after"),
        ("6", "cannot read"),
        ("616", "cannot read '6'"),
        ("zz61", "cannot read"),
        ("61 62", "cannot read"),
        ("*6162", "before or after"),
        ("6162*", "before or after"),
        ("6162**6364", "before or after"),
        ("61??62", "match everything"),
        ("(6162|6364)", "match everything"),
        ("????????", "match everything"),
        ("6162{}63", "without a number"),
        ("6162{-}63", "without a number"),
        ("6162{5-2}63", "ends before"),
        ("6162{9999999999}63", "more than"),
        ("6162{99999999999999999999}63", "cannot read"),
        ("6162{1-2", "cannot read"),
        ("6162()", "empty choice"),
        ("6162(63", "cannot read"),
        ("6162(63|(64))", "cannot read"),
        ("6162(6*3)", "cannot read"),
        ("6162({200})", "128 bytes or more"),
        ("6162(6)", "a choice with"),
        ("6162!(63|6465)", "different lengths"),
        ("6162(B)6364", "within a segment"),
        ("(B)(W)6162", "two of"),
        ("6162(X)", "cannot read"),
        ("6162\u0663\u0664", "cannot read"),
        ("6162(" + "|".join(["61"] * 300) + ")", "more than 256"),
        ("6162" + "*6162" * 600, "more than 512 gaps"),
        ("61" * 40_000, "more than 65536 characters"),
        ("6162" + "(" * 1000 + ")" * 1000, "cannot read"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(PatternError, match=says.replace("(", r"\(")):
        parse(text)


@given(st.text("0123456789abcdefABF?*{}[]()|!-BLW \u0660", max_size=60))
def test_junk_is_read_or_refused(text: str) -> None:
    try:
        read = parse(text)
    except PatternError:
        return
    assert len(read.gaps) == len(read.segments) - 1
    assert read.min_length() >= pattern.FIXED_MIN


def matches(read: Pattern, data: bytes) -> bool:
    return bool(spans(read, data))


def test_wide_puts_a_nul_after_every_given_byte() -> None:
    assert matches(wide(parse("6162(63|64)")), b"a\0b\0d\0")
    assert not matches(wide(parse("6162")), b"ab")


def test_fullword_wants_no_letter_or_digit_beside_it() -> None:
    word = fullword(parse("6162"))
    assert all(matches(word, data) for data in (b"ab", b" ab", b"ab.", b"xab-ab"))
    assert not any(matches(word, data) for data in (b"xab", b"ab1", b"xabx"))
    with pytest.raises(PatternError, match="modifier f"):
        fullword(parse("(B)6162"))


def test_the_shortest_match_is_known() -> None:
    assert parse("6162(63|6465){2-4}66*67").min_length() == 2 + 1 + 2 + 1 + 1
