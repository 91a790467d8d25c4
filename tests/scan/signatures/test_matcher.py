"""The fast path finds what the plain slow matcher finds, whatever the pattern and the data."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailward.scan.engine import ScanTimeoutError
from mailward.scan.signatures import logical, pattern
from mailward.scan.signatures.errors import MalformedError
from mailward.scan.signatures.evaluation import BodyMatcher
from mailward.scan.signatures.executable import Executable, Section
from mailward.scan.signatures.matcher import Matcher
from mailward.scan.signatures.pattern import Pattern, PatternError, parse
from mailward.scan.signatures.signature import Body
from mailward.scan.signatures.subject import Subject
from tests.scan.signatures import slow_matcher

FAR = 1e18
BYTES = st.sampled_from(["61", "62", "41", "00", "2e", "0a", "0d"])
OPTION = st.one_of(BYTES, st.sampled_from(["", "6162", "6?", "??61", "{2}", "612e"]))
CHOICE = st.builds(
    lambda options: "(" + "|".join(options) + ")", st.lists(OPTION, min_size=1, max_size=3)
)
PAIRS = st.builds("".join, st.lists(BYTES, min_size=2, max_size=2))
NEGATED = st.builds(
    lambda options: "!(" + "|".join(options) + ")",
    st.one_of(st.lists(BYTES, max_size=2), st.lists(PAIRS, min_size=1, max_size=2)),
)
GAP = st.sampled_from(["*", "{1}", "{0-1}", "{1-3}", "{-2}", "{2-}", "[0-2]", "??", "6?", "?1"])
EDGE = st.sampled_from(["(B)", "(L)", "(W)", "!(B)", "!(L)", "!(W)"])
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


OFFSETS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["0", "3", "EOF-4", "EOF-9", "EP+0", "EP+2", "EP-1", "S0+0", "S1+1"])
        | st.sampled_from(["S1-2", "S5+0", "SL+0", "SL+1", "SE0", "SE1", "SE5"]),
        st.sampled_from(["", ",1", ",5"]),
    ),
)
MODIFIERS = st.sampled_from(["", "i", "w", "wa", "a", "f", "iwaf"])


def plain_window(text: str, length: int, layout: Executable) -> tuple[int, int]:
    """Where a match may begin, as plainly as it can be said; nowhere is before the file."""
    place, _, shift = text.partition(",")
    last = len(layout.sections) - 1
    if place.startswith("SE"):
        number = int(place[2:])
        section = layout.sections[number] if number <= last else None
        return (section.offset, section.offset + section.size) if section else (-1, -1)
    base, sign, number_ = place.partition("-") if "-" in place else place.partition("+")
    by = int(number_ or 0) * (-1 if sign == "-" else 1)
    if base.isdigit():
        start = int(base)
    elif base in ("EOF", "EP"):
        start = (length if base == "EOF" else layout.entry_point or 0) + by
    else:
        index = last if base == "SL" else int(base[1:])
        start = layout.sections[index].offset + by if index <= last else -1
    return (start, start + int(shift or 0)) if start >= 0 else (-1, -1)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECE, max_size=4), OFFSETS, MODIFIERS, DATA, st.integers(0, 20))
def test_a_subsignature_is_where_its_offset_says(
    pieces: list[str], offset: str, modifiers: str, data: bytes, entry: int
) -> None:
    text = f"{offset}:6162{''.join(pieces)}::{modifiers}"
    try:
        signature = logical.read(f"A;Target:1;0;{text}")
    except MalformedError:
        signature = logical.read(f"A;Target:1;0;{offset}:6162::{modifiers}")
    (body,) = signature.subsignatures
    assert isinstance(body, Body)
    half = len(data) // 2
    sections = (Section(0, half, 0, half), Section(half, len(data) - half, half, half))
    layout = Executable(entry, sections)
    low, high = plain_window(offset, len(data), layout)
    places = {
        last
        for read in body.patterns
        for first, last, _ in slow_matcher.matches(read, data)
        if low <= first <= high
    }
    subject = Subject(data, FAR, lambda: layout)
    matcher = BodyMatcher(body)
    first = matcher.places(subject, 1)  # whether it is anywhere at all, in a shorter way
    assert places.issuperset(first)
    assert bool(first) is bool(places)
    assert matcher.places(subject, 1000) == sorted(places)


def test_data_that_fits_everywhere_ends_by_the_clock() -> None:
    read = Matcher(parse("6161" + "{0-1000}6161" * 20))
    with pytest.raises(ScanTimeoutError):
        read.places(Subject(b"a" * 10_000_000, time.monotonic() + 0.05))


def test_segments_in_all_distances_take_no_longer_than_they_are_many() -> None:
    read = Matcher(parse("6161" + "*6161" * 50))
    assert read.places(Subject(b"aa" * 500, FAR))[-1] == 998
