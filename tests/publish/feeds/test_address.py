"""Feeds at addresses. How downloads are bounded is tested where the agent's fetcher is."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import FetchError, FormatError, TrustError, UsageError
from mailward.publish.feeds import Fetching, parse_spec, read_spec
from mailward.publish.feeds.address import AddressFeed, Validators
from mailward.publish.feeds.spec import FeedSpec

Hashes = Callable[[int], bytes]


def _feed(web: Any, kind: str = "hashes", **more: Any) -> AddressFeed:
    feed = FeedSpec(kind, "far", web.address, **more).open(
        Fetching(timeout_s=5, total_timeout_s=10, max_bytes=100_000)
    )
    assert isinstance(feed, AddressFeed)
    return feed


def test_what_is_there_is_read(web: Any, hashes: Hashes) -> None:
    web.give(hashes(3))
    assert _feed(web).read().signatures == 3


def test_the_server_may_say_that_nothing_changed(web: Any, hashes: Hashes) -> None:
    web.give(hashes(3), ETag='"one"', Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT")
    found = _feed(web).read_unless(Validators())
    assert found is not None
    assert "If-None-Match" not in web.asked[0]
    assert _feed(web).read_unless(found[1]) is None
    assert web.asked[1]["If-None-Match"] == '"one"'
    assert web.asked[1]["If-Modified-Since"] == "Mon, 23 Nov 2026 10:00:00 GMT"
    web.give(hashes(4), ETag='"two"')
    assert _feed(web).read_unless(found[1]) is not None


def test_who_was_not_asked_cannot_say_that_nothing_changed(web: Any) -> None:
    web.status = 304
    with pytest.raises(FetchError, match="304"):
        _feed(web).read()


@pytest.mark.parametrize("etag", ["x" * 2000, "caf\xe9"])
def test_an_etag_that_is_none_is_not_remembered(web: Any, hashes: Hashes, etag: str) -> None:
    web.give(hashes(3), ETag=etag)
    found = _feed(web).read_unless(Validators())
    assert found is not None
    assert found[1] == Validators()


@pytest.mark.parametrize("status", [204, 404, 403, 429, 500])
def test_an_error_is_an_error(web: Any, status: int) -> None:
    web.status = status
    with pytest.raises(FetchError, match=str(status)):
        _feed(web).read()


def test_too_long_is_an_error(web: Any, hashes: Hashes) -> None:
    web.give(hashes(3000))
    with pytest.raises(FetchError, match="100000 allowed"):
        _feed(web).read()


def test_errors_and_omissions_name_the_address(web: Any, container: Any) -> None:
    web.give(b"<!doctype html>")
    with pytest.raises(FormatError, match=f"^{web.address}: an HTML page"):
        _feed(web).read()
    web.give(container({"x.ndb": b"A:0:*:00\n"}))
    with pytest.raises(TrustError, match=f"^{web.address}: its signature is not ClamAV's"):
        _feed(web, "clamav", suffix=".cvd").read()
    web.give(b"no digest\n")
    assert _feed(web).read().left_out[0].where == web.address


def test_nothing_is_left_on_the_disk(
    web: Any, hashes: Hashes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    web.give(hashes(3))
    _feed(web).read()
    web.give(b"<html>")
    with pytest.raises(FormatError):
        _feed(web).read()
    assert not list(tmp_path.iterdir())


def test_the_suffix_says_what_it_is(web: Any) -> None:
    web.give(f"name,hash\nWorm,{'a' * 64}\n".encode())
    (draft,) = _feed(web, suffix=".csv").read().drafts
    assert draft.content.decode() == f"{'a' * 64}:*:Worm\n"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://lists.example.org/abuse/all.txt?format=plain", "all"),
        ("https://lists.example.org/", "lists.example.org"),
        ("https://lists.example.org/..%2f..%2fx.txt", "2f..2fx"),
    ],
)
def test_addresses_give_names(address: str, name: str) -> None:
    assert read_spec(f"hashes={address}").name.replace("_", "") == name


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("ftp://lists.example.org/a.txt", "expected a path, or an https://"),
        ("https:///a.txt", "expected a path"),
        ("https://[::1/a.txt", "expected a path"),
        ("https://me:secret@lists.example.org/a.txt", "printed and logged"),
    ],
)
def test_addresses_that_cannot_be_are_refused_without_their_secrets(place: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse_spec(f"hashes={place}")
    assert "secret" not in str(caught.value)


def test_a_database_without_a_suffix_needs_one() -> None:
    with pytest.raises(UsageError, match=r"`suffix` in publisher\.toml"):
        parse_spec("clamav=https://lists.example.org/latest")


def test_a_zero_byte_in_a_place_is_refused() -> None:
    with pytest.raises(UsageError):
        read_spec("hashes=a\0b")
