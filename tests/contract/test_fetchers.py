"""What every Fetcher does, whatever the kind of address: one suite, each implementation in turn."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailward.errors import ConfigError, FetchError
from mailward.settings.update import UpdateSettings
from mailward.update.fetch import Fetcher, NotResumableError, NotThereError, fetcher_for
from tests.contract import fetch_servers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/small.json").write_bytes(b"{}")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4096)
    return tmp_path


@pytest.fixture
def settings() -> dict[str, object]:
    return {"timeout_s": 5}


@pytest.fixture(
    params=["http", "http-ranges", "file", "ftp", "vsftpd", "vsftpd-active", "vsftpd-tls"]
)
def base(
    request: pytest.FixtureRequest,
    folder: Path,
    settings: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    kind, scratch = str(request.param), tmp_path_factory.mktemp("server")
    settings["ftp_passive"] = kind != "vsftpd-active"
    with ExitStack() as servers:
        if kind == "file":
            yield folder.as_uri()
        elif kind.startswith("http"):
            port = servers.enter_context(fetch_servers.web(folder, ranges=kind == "http-ranges"))
            yield f"http://127.0.0.1:{port}"
        elif kind.startswith("ftp"):
            yield f"ftp://127.0.0.1:{servers.enter_context(fetch_servers.ftp(folder))}"
        elif kind in ("vsftpd", "vsftpd-active"):
            yield f"ftp://127.0.0.1:{servers.enter_context(fetch_servers.vsftpd(folder, scratch))}"
        else:
            settings["ca_file"] = pem = fetch_servers.certificate(scratch)
            port = servers.enter_context(fetch_servers.vsftpd(folder, scratch, pem))
            yield f"ftps://127.0.0.1:{port}"


@pytest.fixture
def fetcher(base: str, settings: dict[str, object]) -> Iterator[Fetcher]:
    fetcher = fetcher_for(base, UpdateSettings.model_validate(settings))
    yield fetcher
    fetcher.close()


def test_gives_the_content_and_counts_it(base: str, fetcher: Fetcher, folder: Path) -> None:
    assert b"".join(fetcher.fetch(f"{base}/large", 1 << 20)) == (folder / "large").read_bytes()
    assert fetcher.bytes_received == 1 << 20
    assert fetcher.requests == 1


def test_an_empty_file_is_empty(base: str, fetcher: Fetcher) -> None:
    assert b"".join(fetcher.fetch(f"{base}/empty", 10)) == b""


def test_exactly_the_bound_is_allowed_one_byte_more_is_not(base: str, fetcher: Fetcher) -> None:
    assert len(b"".join(fetcher.fetch(f"{base}/metadata/small.json", 2))) == 2
    with pytest.raises(FetchError, match="allowed"):
        b"".join(fetcher.fetch(f"{base}/metadata/small.json", 1))


def test_what_is_not_there_is_said_with_its_status(base: str, fetcher: Fetcher) -> None:
    with pytest.raises(NotThereError) as caught:
        b"".join(fetcher.fetch(f"{base}/metadata/2.root.json", 100))
    assert caught.value.status == 404


def test_it_can_be_repeated_after_a_failure_and_after_an_unfinished_read(
    base: str, fetcher: Fetcher
) -> None:
    with pytest.raises(NotThereError):
        b"".join(fetcher.fetch(f"{base}/nothing", 100))
    unfinished = fetcher.fetch(f"{base}/large", 1 << 20)
    next(unfinished)
    unfinished.close()  # type: ignore[attr-defined]  # generators have it; the interface need not
    assert b"".join(fetcher.fetch(f"{base}/metadata/small.json", 10)) == b"{}"


def test_it_goes_on_from_any_byte(base: str, fetcher: Fetcher, folder: Path) -> None:
    content = (folder / "large").read_bytes()
    for start in (1, 255, len(content) // 2, len(content) - 1):
        assert b"".join(fetcher.fetch(f"{base}/large", 1 << 20, start)) == content[start:]


def test_going_on_behind_the_end_says_that_it_must_begin_anew(base: str, fetcher: Fetcher) -> None:
    with pytest.raises(NotResumableError):
        b"".join(fetcher.fetch(f"{base}/metadata/small.json", 1 << 20, 100))
    assert b"".join(fetcher.fetch(f"{base}/metadata/small.json", 10)) == b"{}"


def test_the_bound_holds_for_the_whole_when_going_on(base: str, fetcher: Fetcher) -> None:
    with pytest.raises(FetchError, match="allowed"):
        b"".join(fetcher.fetch(f"{base}/large", 1000, 500))


def test_threads_share_it(base: str, fetcher: Fetcher, folder: Path) -> None:
    def get(_: int) -> bytes:
        return b"".join(fetcher.fetch(f"{base}/large", 1 << 20))

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(get, range(8))) == {(folder / "large").read_bytes()}
    assert fetcher.requests == 8


def test_closing_may_be_repeated(fetcher: Fetcher) -> None:
    fetcher.close()
    fetcher.close()


@pytest.mark.parametrize(
    "address", ["gopher://example.org/", "", "/srv/repository", "ftp:", "http://"]
)
def test_unknown_kinds_of_addresses_are_refused_with_the_key_to_change(address: str) -> None:
    with pytest.raises(ConfigError, match=r"update\.repository"):
        fetcher_for(address, UpdateSettings())


@pytest.mark.parametrize("scheme", ["http", "https", "ftp", "ftps"])
def test_an_address_with_a_password_is_refused_without_showing_it(scheme: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fetcher_for(f"{scheme}://user:hunter2@example.org/", UpdateSettings())
    assert "hunter2" not in str(caught.value)
