"""The expected values are what clamscan 1.4.6 wrote into its temporary files."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.signatures import html
from mailward.scan.signatures.filetype import Target, identify, narrow
from mailward.scan.signatures.normalise import TEXT_MAX_BYTES, text, views


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"a \n\n b", b"a b"),
        (b"a<B  CLASS=x\n id=y >c", b"a<b class=x id=y>c"),
        (b"a <b> c", b"a <b>c"),
        (b"a< b>c</B >", b"a<b>c</b>"),
        (b"a<b class = X>c", b"a<b class=x>c"),
        (b"a<b c='x'>d", b'a<b c="x">d'),
        (b'a<b c="x>y">d', b'a<b c="x>y">d'),
        (b'<b c="x"d="y">e', b'<b c="x" d="y">e'),
        (b'<b c="x"/>z', b'<b c="x" />z'),
        (b'<b c="x="48">z', b'<b c="x=" 48">z'),
        (b"<b c=x/>z", b"<b c=x/>z"),
        (b'<b "x>y">z', b'<b "x>y">z'),
        (b"<b=\"x\"C='y'>z", b"<b=\"x\"c='y'>z"),
        (b"<b=\"x>y\" c='d'e>z", b"<b=\"x>y\" c='d'e>z"),
        (b'<b c="x"=y d=""e>z', b'<b c="x"=y d="" e>z'),
        (b'<b c="x> y"d>z', b'<b c="x>y"d>z'),
        (b'<b c="x >z', b'<b c="x >z'),
        (b'<b c=""/>z', b'<b c="" />z'),
        (b"<b <! c>z", b"<b <! c>z"),
        (b"<b c=\"x 'y', 'z'\">w", b'<b c="x "y", \'z\'">w'),
        (b"<b c='x:\"Y Z\",S;c:d' e='f'>w", b'<b c="x:"y z",s;c:d" e="f">w'),
        (b'<b c="x \'y>z">w', b'<b c="x "y>z">w'),
        (b"a<!-- x > y -->b", b"ay -->b"),
        (b"a <!-- x --> b", b"a b"),
        (b"a<!DOCTYPE html>b<!-- x", b"ab"),
        (b"a&amp;b&LT;&lt;&nbsp;&Eacute;&euro;", b"a&b&lt;<\xa0\xc9&#x20ac;"),
        (b"&#65;&#x42;&#X43;&#255;&#254;&#99999999;&bogus;", b"abc&#x00ff;\xfe&#xe0ff;&bogus;"),
        (b'<a href="x&amp;y">z', b'<a href="x&y">z'),
        (b"<b &amp;>z", b"<b &amp;>z"),
        (b"<style>a  { b : 'C' }</style> z", b'<style>a{b:"c"}</style>z'),
        (b"<script>var X = 1;\nY</script> z", b"<script>varx=1;y</script>z"),
        (b"<script/>a b</script>c", b"<script/>a b</script>c"),
        (b"a\0<b\0c>z", b"a<bc>z"),
        (b'<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">x', b'<img src="data">x'),
        (b"<b c='data:x' d=data:y e=\"data:z\"f>x", b'<b c="data" d=data e="data" f>x'),
        (b'<b c="\xe4\xbd\xa0\xe5\xa5\xbd">z', b'<b c="\xe4\xbd\xa0">z'),
        (b"a\xe3\x80\x82b", b"a.b"),
    ],
)
def test_a_page_without_comments(written: bytes, expected: bytes) -> None:
    assert html.normalise(b"<html>" + written).nocomment == b"<html>" + expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"a<B CLASS=x>c</b> d ", b" a c d "),
        (b'<a href="http://A.com/B">X</a>y', b" http://A.com/B x y"),
        (b"<A CLASS=a HREF='X'><IMG SRC=\"Y\"></A>z", b" X Y z"),
        (b'<a href="X&amp;Y">z<area href=U><b src=V>w', b" X&Y z w"),
        (b"a&amp;b &lt;c &d e&f;g", b" a b c e g"),
        (b"<style>x</style><script>y</script>z", b" z"),
        (b"caf\xc3\xa9 x \xe4\xbd\xa0 y\xe9z", b" caf\xc3\xc3 x \xe4\xbd\xbdy\0z"),
        (b"a\x01b", b" a b"),
        (b'<a href="tel:+1 2 3">x', b" tel:+1  x"),
        (b'<a href="x> y z">w', b" x> w"),
        (b"<a href=\"x'y\"><img src='x\"y'>w", b' x"y x"y w'),
        (b'<a href="x y&#65;>w', b" x y w"),
        (b'<a href="x"> <b></b><a href="y', b" x "),
    ],
)
def test_a_page_without_tags(written: bytes, expected: bytes) -> None:
    assert html.normalise(b"<html>" + written).notags == expected


def test_scripts_are_kept_apart_as_they_are() -> None:
    page = html.normalise(b"<html><script>A  b</script><style>c</style><SCRIPT x=y>D</script>")
    assert page.scripts == (b"A b", b"D")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"Hello  World\n x", b"hello world x"),
        (b"  a\tb\r\nc\x0bd\x0ce", b" a b c d e"),
        (b"a\x01B\x7fc\x80D\xe9\xff", b"ab\x7fcd"),
        (b"hello \x01 world \xe9", b"hello world "),
        ("A  B\n".encode("utf-16"), b"a b "),
        (b" ", b" "),
        (b"", b""),
    ],
)
def test_a_text(written: bytes, expected: bytes) -> None:
    assert text(written) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"<HTML>A", [(Target.HTML, b"<html>a"), (Target.HTML, b" a")]),
        (b"Hi  there", [(Target.ANY, b"Hi  there"), (Target.TEXT, b"hi there")]),
        (b"MZ", [(Target.PE, b"MZ")]),
        (b"Received: x", [(Target.MAIL, b"Received: x")]),
        (b"ID3", []),
    ],
)
def test_which_forms_a_part_is_matched_in(
    data: bytes, expected: list[tuple[Target, bytes]]
) -> None:
    assert [(v.target, v.data) for v in views(data, identify(data))] == expected


def test_a_page_in_utf_16_is_matched_as_it_is_too_and_as_ascii() -> None:
    data = "<html>A\u0142".encode("utf-16-le") + b"!"
    forms = views(data, identify(data))
    assert [(v.target, v.data) for v in forms] == [(0, data), (3, b"<html>ar"), (3, b" ar")]


@given(st.binary(max_size=40))
def test_utf_16_becomes_a_byte_for_each_two(data: bytes) -> None:
    pairs = zip(data[::2], data[1::2], strict=False)
    assert narrow(data) == bytes((low + (high << 4)) & 0xFF for low, high in pairs)


def test_a_text_that_becomes_html_is_matched_as_it_is_and_as_html() -> None:
    data = b"hello\n" * 300 + b"<html>x"
    assert [v.target for v in views(data, identify(data))] == [0, 3, 3]


def test_a_text_over_the_limit_is_matched_as_it_is() -> None:
    data = b"a " * (TEXT_MAX_BYTES // 2 + 1)
    assert [v.target for v in views(data, identify(data))] == [Target.ANY]


@pytest.mark.parametrize(
    "data",
    [
        b"<" * 200_000,
        b"<a " + b"=" * 200_000,
        b"<a b='" * 40_000,
        b'<a b="' * 40_000,
        b"<!" * 100_000,
        b"<script>" * 20_000,
        b"<script " * 20_000,
        b"<style></script>" * 10_000,
        b"&" * 200_000,
        b"&#" * 100_000 + b"9" * 100_000,
        b"&#x" + b"f" * 200_000 + b";",
        b" \n" * 100_000,
        b"\xe4" * 200_000,
        b"\xe4 " * 100_000,
        b"\xe4'" * 100_000,
        b"<a href= " * 20_000,
        b"> " * 100_000,
        b"\0" * 200_000,
        b'<a c="x"d' * 20_000,
        b'="data:' * 30_000,
    ],
    ids=range(20),
)
@pytest.mark.timeout(60)  # milliseconds; what grows with the square takes minutes
def test_pages_made_to_be_slow_are_not(data: bytes) -> None:
    html.normalise(b"<html>" + data)
    assert len(text(data)) <= len(data)


def test_any_bytes_have_their_forms() -> None:
    random_ = random.Random(3)
    alphabet = [b"<", b">", b"=", b'"', b"'", b" ", b"&", b"#", b";", b"a", b"\xe4", b"!", b"\0"]
    alphabet += [b"<script>", b"</script>", b"href", b"\x01", b"\x02", b"<a "]
    for _ in range(3000):
        html.normalise(b"".join(random_.choices(alphabet, k=random_.randrange(40))))
