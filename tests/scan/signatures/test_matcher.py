"""The fast path finds what the plain slow matcher finds, whatever the pattern and the data."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailward.scan.engine import ScanTimeoutError
from mailward.scan.signatures import pattern
from mailward.scan.signatures.matcher import Matcher
from mailward.scan.signatures.pattern import Pattern, PatternError, parse
from mailward.scan.signatures.subject import Subject
from tests.scan.signatures import slow_matcher

FAR = 1e18
BYTES = st.sampled_from(["61", "62", "41", "00", "2e", "0a", "0d"])
OPTION = st.one_of(BYTES, st.sampled_from(["", "6162", "6?", "??61", "{2}", "612e"]))
CHOICE = st.builds(
    lambda options: "(" + "|".join(options) + ")", st.lists(OPTION, min_size=1, max_size=3)
)
NEGATED = st.builds(lambda options: "!(" + "|".join(options) + ")", st.lists(BYTES, max_size=2))
GAP = st.sampled_from(["*", "{1}", "{0-1}", "{1-3}", "{-2}", "{2-}", "[0-2]", "??", "6?", "?1"])
EDGE = st.sampled_from(["(B)", "(L)", "(W)", "!(B)", "!(W)"])
PIECE = st.one_of(BYTES, BYTES, BYTES, CHOICE, NEGATED, GAP, EDGE)
DATA = st.lists(st.sampled_from(list(b"aabbAB\x00..\n\r1_")), max_size=24).map(bytes)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    try:
        read = parse("".join(draw(st.lists(PIECE, min_size=2, max_size=8))) + "6162")
        if draw(st.booleans()):
            read = pattern.wide(read)
        if draw(st.booleans()):
            read = pattern.fullword(read, wide=draw(st.booleans()))
    except PatternError:
        read = parse("6162*62(61|2e)")
    return pattern.with_case(read, caseless=draw(st.booleans()))


@settings(max_examples=1500, deadline=None)
@given(patterns(), DATA, st.integers(0, 5), st.integers(0, 30))
def test_the_same_places_as_the_slow_matcher(
    read: Pattern, data: bytes, low: int, width: int
) -> None:
    window = (low, low + width)
    matches = slow_matcher.matches(read, data, window)
    matcher, subject = Matcher(read), Subject(data, FAR)
    lasts = sorted({last for _, last, _ in matches})
    assert matcher.places(subject, window) == lasts
    assert matcher.places(subject, window, 2) == lasts[:2]


@settings(max_examples=300, deadline=None)
@given(patterns(), st.lists(DATA, max_size=4), st.binary(min_size=100, max_size=200))
def test_the_same_places_in_longer_data(read: Pattern, pieces: list[bytes], filler: bytes) -> None:
    data = filler.join(pieces)
    lasts = {last for _, last, _ in slow_matcher.matches(read, data)}
    assert Matcher(read).places(Subject(data, FAR)) == sorted(lasts)


def test_data_that_fits_everywhere_ends_by_the_clock() -> None:
    read = Matcher(parse("6161" + "{0-1000}6161" * 20))
    with pytest.raises(ScanTimeoutError):
        read.places(Subject(b"a" * 10_000_000, time.monotonic() + 0.05))


def test_segments_in_all_distances_take_no_longer_than_they_are_many() -> None:
    read = Matcher(parse("6161" + "*6161" * 50))
    assert read.places(Subject(b"aa" * 500, FAR))[-1] == 998
