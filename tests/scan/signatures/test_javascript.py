"""The expected values are what clamscan 1.4.6 wrote into its temporary files."""

import random

import pytest

from mailward.scan.signatures import javascript
from mailward.scan.signatures.filetype import Target, identify
from mailward.scan.signatures.normalise import views


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"var foo = 1; foo = foo + bar;", b"var n000=1;n000=n000+bar;"),
        (b"function f(a, b) { a+b } f(1)", b"function n000(n001,n002){n001+n002}f(1)"),
        (b'x = "a" + \'b\' + c;', b'x="ab"+c;'),
        (b"x='it\\'s';", b'x="it\'s";'),
        (b'x="a\\x41\\u0042\\n\\"q";', b'x="aab "q";'),
        (b"/* c */ a(); // d", b"a();d"),
        (b"x = /re g/i;", b"x=/re g/i;"),
        (b"var Foo; Foo.Bar(foo);", b"var n000;n000.bar(foo);"),
        (b"var a, b=2;", b"var n000,n001=2;"),
        (b"for(var i=0;i<5;i++){x(i)}", b"for(var n000=0;n000<5;n000++){x(n000)}"),
        (b'var x="a";var x="b";x', b'var n001="a";var n001="b";n001'),
        (b"var a=function(b){return b*c}", b"var n000=function(n001){return n001*c}"),
        (b'eval(unescape("%61%6c%65%72%74%28%31%29"))', b"alert(1)"),
        (b"var a=007,b=0;f(a,b)", b"var n000=7,n001=0;f(n000,n001)"),
        (b"function f(a){return a} a=1", b"function n000(n001){return n001}a=1"),
        (b"var a; function f(b){b=a} b", b"var n000;function n001(n002){n002=n000}b"),
        (b"var a=f(1,b)+[c,d];", b"var n000=f(1,n001)+[c,d];"),
        (b"new Foo ( ) typeof  x", b"new foo()typeof x"),
        (b"", b""),
    ],
)  # fmt: skip
def test_a_script(written: bytes, expected: bytes) -> None:
    assert javascript.normalise(written) == expected


def test_scripts_of_a_page_are_matched_as_html_and_as_text() -> None:
    data = b"<html><script>var X = 1</script> <SCRIPT>X</SCRIPT>"
    made = [v for v in views(data, identify(data)) if v.data.startswith(b"<script>")]
    assert [v.target for v in made] == [Target.HTML, Target.TEXT]
    assert made[0].data == b"<script>var n000=1</script>\n<script>x</script>"


def test_scripts_beyond_the_limit_of_a_page_are_matched_as_they_are() -> None:
    page = b"<html>" + b"<script>var x;%s</script>" % (b"y" * 999_000) * 3
    made = next(v for v in views(page, identify(page)) if v.data.startswith(b"<script>"))
    assert made.data.count(b"var n000;y") == 2
    assert made.data.count(b"var x;y") == 1


@pytest.mark.timeout(60)  # a second; what grows with the square takes minutes
@pytest.mark.parametrize(
    "hostile",
    [
        b"'" * 200_000,
        b'"\\' * 100_000,
        b"/*" * 100_000,
        b"var " * 50_000,
        b"var a," * 30_000,
        b"function(" * 20_000,
        b"function(a){" * 20_000,
        b"function(){" * 200 + b"b " * 100_000,
        b"var x=(" * 20_000,
        b'"a"+' * 50_000,
        b'eval("' * 30_000,
        b"a " * 600_000,
    ],
    ids=range(12),
)
def test_scripts_made_to_be_slow_are_not(hostile: bytes) -> None:
    assert isinstance(javascript.normalise(hostile), bytes)


def test_any_bytes_are_a_script_of_some_kind() -> None:
    random_ = random.Random(5)
    alphabet = [
        b"var ",
        b"function",
        b"(",
        b")",
        b"a",
        b",",
        b";",
        b"'",
        b'"',
        b"\\",
        b"+",
        b"eval",
    ]
    alphabet += [b"unescape", b"/", b"*", b"\xff", b"1", b".", b"{", b"}"]
    for _ in range(3000):
        javascript.normalise(b"".join(random_.choices(alphabet, k=random_.randrange(40))))
