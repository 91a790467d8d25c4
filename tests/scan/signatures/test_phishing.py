"""What clamscan 1.4.6 said of the same links is expected, except where a test says otherwise."""

import hashlib
import random
from pathlib import Path

import pytest

from mailward.errors import FormatError
from mailward.scan.signatures.phishing import SPOOFED, SPOOFED_TLS, Phishing, links

EVIL = "http://evil.test/x"


@pytest.fixture(params=[False, True], ids=["unchecked", "checked"])
def phishing(request: pytest.FixtureRequest) -> Phishing:
    found = Phishing(checked=request.param)
    for line in (
        "H:example.com",
        "H:bank.co.uk",
        "R:.+\\.regex[0-9]\\.org([/?].*)?",
        "M:good.test:www.example.com",
        "X:.+\\.fine\\.test([/?].*)?:.+\\.example\\.com([/?].*)?",
    ):
        assert found.add(line)
    return found


def page(real: str, shown: str) -> bytes:
    return f'<html><p>Hi</p><a class=b href="{real}">{shown}</a><p>bye</p>'.encode("latin-1")


@pytest.mark.parametrize(
    "shown",
    [
        "http://www.example.com",
        "www.example.com",
        "Example.com",
        "http://example.com/path",
        "example.com?x",
        "www . example . com",
        "visit example.com",
        "<b>www.exam</b>ple.com",
        "(www.example.com)",
        "http://www.example.com/ and more text",
        "HTTP://www.example.com:8080/",
        "https:www.example.com",
        "ftp://ftp.example.com",
        "mailto:a@example.com",
        "www.bank.co.uk",
        "http://x.regex1.org/",
        '<img src="http://www.example.com/x.gif">',
    ],
)
def test_a_link_that_shows_an_imitated_host_is_found(phishing: Phishing, shown: str) -> None:
    assert phishing.check(page(EVIL, shown)) in (SPOOFED, SPOOFED_TLS)


@pytest.mark.parametrize(
    "shown",
    [
        "text",
        "click http://www.example.com now",
        "www.notexample.com",
        "example.com.br",
        "http://example.com.evil.test",
        "user@example.com",
        "www.example.com, inc",
        "www.example.comx",
        "wwwexample.com",
        "regex1.org",
        "a.b",
    ],
)
def test_other_texts_are_left_alone(phishing: Phishing, shown: str) -> None:
    assert phishing.check(page(EVIL, shown)) is None


@pytest.mark.parametrize(
    "real",
    [
        "http://www.example.com/y",
        "https://login.example.com",
        "http://good.test/",
        "http://www.good.test/",
        "http://a.fine.test/q",
        "mailto:x@evil.test",
        "#top",
        "/relative/path",
        "javascript:foo()",
        "tel:123",
        "",
    ],
)
def test_links_that_may_show_it_are_left_alone(phishing: Phishing, real: str) -> None:
    assert phishing.check(page(real, "http://www.example.com/")) is None


@pytest.mark.parametrize(
    "real",
    [
        "http://fine.test",
        "http://1.2.3.4/x",
        "http://example.com.evil.test/",
        "http://evil.test/www.example.com",
        "http://www.example.com@evil.test",
        "http://notexample.com",
        "notexample.com",
        "http://localhost/",
        "HTTP://EVIL.TEST",  # which clamscan misses: it knows small letters only
    ],
)
def test_links_that_only_look_related_are_found(phishing: Phishing, real: str) -> None:
    assert phishing.check(page(real, "http://www.example.com/")) == SPOOFED


def test_a_secure_address_shown_for_an_insecure_one_has_its_own_name(phishing: Phishing) -> None:
    assert phishing.check(page(EVIL, "https://www.example.com/login")) == SPOOFED_TLS


def test_it_is_of_the_same_host_too_but_not_for_pictures(phishing: Phishing) -> None:
    same = page("http://www.bank.co.uk/x", "https://www.bank.co.uk/x")
    assert phishing.check(same) == SPOOFED_TLS
    assert phishing.check(page("http://good.test", "https://www.example.com")) is None
    picture = '<img src="https://www.example.com/x.gif">'
    assert phishing.check(page(EVIL, picture)) == SPOOFED
    assert phishing.check(page("http://example.com", picture)) is None


def test_a_title_counts_as_what_is_shown(phishing: Phishing) -> None:
    assert phishing.check(b'<a href="http://evil.test" title="www.example.com">pay</a>') == SPOOFED


def test_a_link_ends_where_the_next_begins(phishing: Phishing) -> None:
    page_ = b"<a href=http://evil.test>see <a href='http://www.example.com'>www.example.com</a>"
    assert phishing.check(page_) is None


def test_listed_addresses_are_found_by_host_and_folder_unless_unlisted() -> None:
    phishing = Phishing()
    phishing.add("S1:F:" + hashlib.sha256(b"evil.test/bad/").hexdigest())
    phishing.add("S1:P:01234567")
    name = "Heuristics.Phishing.URL.Blocked"
    assert phishing.check(page("http://www.evil.test/bad/worse.php?x", "click")) == name
    assert phishing.check(page("http://evil.test/", "click")) is None
    phishing.add("S:W:" + hashlib.sha256(b"evil.test/bad/").hexdigest())
    assert phishing.check(page("http://evil.test/bad/", "click")) is None


@pytest.mark.parametrize(
    ("line", "taken"),
    [("H:a.com:50", True), ("H:a.com:50-100", False), ("H:a.com:500", False), ("M:a:b:1-", True)],
)
def test_lines_for_other_releases_are_passed_over(line: str, taken: bool) -> None:
    assert Phishing().add(line) is taken


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Q:a.com",
        "H",
        "H:",
        "H:a.com:x",
        "H:a.com/b",
        "H:" + "a" * 300,
        "H:a.com:1:2",
        "M:a.com",
        "X:(:b",
        "X:(a+)+:b",
        "X:" + "a" * 3000 + ":b",
        "X:a",
        "S:F:12",
        "S1:W:" + "0" * 64,
        "S:Q:" + "0" * 64,
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(line: str) -> None:
    with pytest.raises(FormatError):
        Phishing().add(line)


@pytest.mark.timeout(60)  # milliseconds; what grows with the square takes minutes
@pytest.mark.parametrize(
    "hostile",
    [
        b"<a href=" * 20_000,
        b"<a href='" * 20_000,
        b"<a " * 60_000,
        b"<a href=x>" * 20_000,
        b"<a href=http://e.test>" + b"<img src=" * 20_000,
        b"<a href=http://e.test>" + b"<" * 200_000 + b"</a>",
        b"<a href=http://" + b"a." * 1000 + b">" + b"www." * 900 + b"example.com</a>",
    ],
    ids=range(7),
)
def test_pages_made_to_be_slow_are_not(phishing: Phishing, hostile: bytes) -> None:
    assert phishing.check(hostile) in (None, SPOOFED)


def test_any_bytes_have_links_or_none() -> None:
    random_ = random.Random(4)
    alphabet = [b"<a ", b"href=", b"http://", b".", b"a", b"@", b"/", b">", b"</a>", b'"', b"\xff"]
    phishing = Phishing()
    phishing.add("H:a.a")
    for _ in range(3000):
        made = b"".join(random_.choices(alphabet, k=random_.randrange(40)))
        phishing.check(made)
        assert len(list(links(made))) < 50


@pytest.mark.shared
def test_the_public_files_are_read_whole(shared: Path) -> None:
    phishing = Phishing()
    for name in ("daily.pdb", "daily.wdb"):
        for line in (shared / "definitions/clamav" / name).read_text("latin-1").splitlines():
            phishing.add(line)
    assert phishing.check(page(EVIL, "https://www.bradesco.com.br")) == SPOOFED_TLS
