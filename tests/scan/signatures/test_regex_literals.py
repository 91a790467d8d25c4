"""What a regular expression cannot match without."""

import pcre2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailward.scan.signatures.regex_literals import OPTIONS_MAX, literals


def one(*literals: str) -> list[tuple[bytes, ...]]:
    return [(literal.encode(),) for literal in literals]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("abc", one("abc")),
        (r"vw[\d]{4,8}\.exe", one(".exe")),
        (r"abcd?efg\x2f\x3A", [(b"abcdefg/:", b"abcefg/:")]),
        ("abcd*efg", one("abc", "efg")),
        ("abcd+efg", one("abcd", "efg")),
        ("abcd{2}efg", one("abcd", "efg")),
        ("abcd{0,2}efg", one("abc", "efg")),
        ("abcd{,2}efg", one("abc", "efg")),
        ("abcd{}efg", one("abc", "efg")),
        ("abcd??efg", [(b"abcdefg", b"abcefg")]),
        ("abcd?{2}efg", one("abc", "efg")),
        ("abc(def|ghi)?jkl", [(b"abcdefjkl", b"abcghijkl", b"abcjkl")]),
        ("abc(def.*ghi)jkl", one("abcdef", "ghi", "jkl")),
        ("abc(def.*ghi)?jkl", one("abc", "jkl")),
        ("abc(def.*ghi|k)jkl", [(b"abcdef", b"abck"), (b"jkl",)]),
        ("abc(?=x(y[)]z))jkl", one("abc", "jkl")),
        ("abc(?!def)(?s:def)jkl", one("abc", "jkl")),
        (r"abc[]x]+def[^\]]ghi[[:alpha:]]jkl", one("abc", "def", "ghi", "jkl")),
        (r"x[ab\x63\.]yz", [(b"x.yz", b"xayz", b"xbyz", b"xcyz")]),
        ("abc[a-z]def", one("abc", "def")),
        ("abc|def", [(b"abc", b"def")]),
        ("abc|d.efg", [(b"abc", b"efg")]),
        ("abcd(e|f)|ghi.{3,20}jkl", [(b"abcde", b"abcdf", b"ghi")]),
        ("abc(x|de.fgh|i.*klm)nop", [(b"abcde", b"abci", b"abcx"), (b"nop",)]),
        ("abc.*(?:d.*efg|h.*ijk).*lmn", [(b"abc",), (b"efg", b"ijk"), (b"lmn",)]),
        ("abc|m", []),
        ("abc|def)", []),
        ("abc|", []),
        ("abc|de", []),
        (r"abc\012\x4def\1ghi", one("abc", "Mef", "ghi")),
        (r"abc\xgdef", one("abc", "gdef")),
        (r"\Qabc\E", []),
        (r"abc\x{41}", []),
        ("abc(?#def)", []),
        ("abc(", []),
        ("abc)", []),
        ("(" * 5000 + "abc" + ")" * 5000, []),
        ("", []),
    ],
)
def test_what_is_surely_needed(source: str, expected: list[tuple[bytes, ...]]) -> None:
    assert list(literals(source, "")) == [(options, False) for options in expected]


def test_flags_say_what_the_source_means() -> None:
    assert list(literals("abC", "i")) == [((b"abc",), True)]
    assert list(literals("x(?i)abC", "")) == [((b"abc",), True)]
    assert list(literals("a b c", "x")) == []


def test_of_many_alternatives_so_much_of_the_beginning_that_they_are_few() -> None:
    found, *_ = literals("[ab][cd][ef](?:gh|[ij]k)[lm][no][pq]rstu", "")
    assert len(found[0]) <= OPTIONS_MAX
    assert {option[:1] for option in found[0]} == {b"a", b"b"}
    *_, end = literals("[ab][ab][ab][ab][ab][ab][ab]rst", "")
    assert all(option.endswith(b"rst") for option in end[0])


def test_hostile_expressions_have_few_and_short_ones() -> None:
    source = "(?:" * 30 + "|".join(f"a{n}[xyz]{{1}}b" for n in range(500)) + ")" * 30
    many = "".join(chr(ord("A") + n) for n in range(26)) + "abcdef"
    for each in (source + "[ab]?" * 2000, f"[{many}]?xyz[{many}]uvw[{many}gh]rst"):
        for options, _ in literals(each, ""):
            assert len(options) <= OPTIONS_MAX


PIECE = st.one_of(
    st.sampled_from(["abc", "ab", "c", "a?", "b*", "c+", "[abc]", "[^a]", "(ab|c)", "(abc)?"]),
    st.sampled_from(
        [
            "(?:a|b)",
            "(a|b.|)",
            "[ab]",
            "[aB]",
            "?",
            r"\x6",
            r"\12",
            r"\x61",
            ".",
            "{2}",
            "{0,1}",
            "|",
            r"\.",
            "^",
            "$",
            "(?=abc)",
        ]
    ),
    st.sampled_from([r"\w", "a{2}", "(?i)", "((a)b)"]),
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECE, min_size=1, max_size=9), st.text("abcABC.", max_size=16))
def test_whatever_matches_has_them(pieces: list[str], text: str) -> None:
    source = "".join(pieces)
    try:
        compiled = pcre2.compile(source.encode())
    except (pcre2.PatternError, pcre2.LibraryError):
        return
    if compiled.search(text.encode()) is not None:
        for options, caseless in literals(source, ""):
            held = text.lower() if caseless else text
            assert any(option.decode() in held for option in options)
