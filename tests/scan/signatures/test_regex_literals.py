"""What a regular expression cannot match without."""

import pcre2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailward.scan.signatures.regex_literals import Needed, alternatives, literals


@pytest.mark.parametrize(
    ("source", "flags", "expected"),
    [
        ("abc", "", [(b"abc", False)]),
        ("abc", "i", [(b"abc", True)]),
        ("(?i)abc", "", [(b"abc", True)]),
        (r"vw[\d]{4,8}\.exe", "", [(b".exe", False)]),
        (r"abcd?efg\x2f\x3A", "", [(b"abc", False), (b"efg/:", False)]),
        ("abcd*efg", "", [(b"abc", False), (b"efg", False)]),
        ("abcd+efg", "", [(b"abcd", False), (b"efg", False)]),
        ("abcd{2}efg", "", [(b"abcd", False), (b"efg", False)]),
        ("abcd{0,2}efg", "", [(b"abc", False), (b"efg", False)]),
        ("abcd{,2}efg", "", [(b"abc", False), (b"efg", False)]),
        ("abc(def|ghi)?jkl", "", [(b"abc", False), (b"jkl", False)]),
        ("abc(?=x(y[)]z))jkl", "", [(b"abc", False), (b"jkl", False)]),
        (
            r"abc[]x]+def[^\]]ghi[[:alpha:]]jkl",
            "",
            [(b"abc", False), (b"def", False)] * 1 + [(b"ghi", False), (b"jkl", False)],
        ),
        ("abc|def", "", []),
        ("a b c", "x", []),
        (r"\Qabc\E", "", []),
        (r"abc\x{41}", "", []),
        ("abc(", "", []),
        ("abc)", "", []),
        ("", "", []),
    ],
)
def test_what_is_surely_needed(source: str, flags: str, expected: list[tuple[bytes, bool]]) -> None:
    assert list(literals(source, flags)) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("abc", [[b"abc"]]),
        ("abc|d.efg", [[b"abc"], [b"efg"]]),
        ("abcd(e|f)|ghi.{3,20}jkl|m", [[b"abcd"], [b"ghi", b"jkl"], []]),
        ("abc|", [[b"abc"], []]),
        ("abc|def)", []),
    ],
)
def test_each_alternative_needs_its_own(source: str, expected: list[list[bytes]]) -> None:
    found = alternatives(source, "")
    assert [[literal for literal, _ in needed] for needed in found] == expected


PIECE = st.one_of(
    st.sampled_from(["abc", "ab", "c", "a?", "b*", "c+", "[abc]", "[^a]", "(ab|c)", "(abc)?"]),
    st.sampled_from(["(?:a|b)", r"\x61", ".", "{2}", "{0,1}", "|", r"\.", "^", "$", "(?=abc)"]),
    st.sampled_from([r"\w", "a{2}", "(?i)", "((a)b)"]),
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECE, min_size=1, max_size=7), st.text("abcABC.", max_size=16))
def test_whatever_matches_has_them(pieces: list[str], text: str) -> None:
    source = "".join(pieces)
    try:
        compiled = pcre2.compile(source.encode())
    except (pcre2.PatternError, pcre2.LibraryError):
        return
    if compiled.search(text.encode()) is not None:
        assert _has(text, literals(source, ""))
        found = alternatives(source, "")
        assert not found or any(_has(text, needed) for needed in found)


def _has(text: str, needed: Needed) -> bool:
    return all(
        (literal.lower() if caseless else literal).decode() in (text.lower() if caseless else text)
        for literal, caseless in needed
    )
