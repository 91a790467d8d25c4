"""What every Fetcher does, whatever the kind of address: one suite, each implementation in turn."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward.config import UpdateSettings
from mailward.errors import ConfigError, FetchError
from mailward.update.fetch import Fetcher, NotThereError, fetcher_for


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/small.json").write_bytes(b"{}")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4096)
    return tmp_path


@pytest.fixture(params=["http", "file"])
def base(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "file":
        yield folder.as_uri()
        return
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def fetcher(base: str) -> Iterator[Fetcher]:
    fetcher = fetcher_for(base, UpdateSettings(timeout_s=5))
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


def test_closing_may_be_repeated(fetcher: Fetcher) -> None:
    fetcher.close()
    fetcher.close()


@pytest.mark.parametrize("address", ["gopher://example.org/", "", "/srv/repository", "ftp:"])
def test_unknown_kinds_of_addresses_are_refused_with_the_key_to_change(address: str) -> None:
    with pytest.raises(ConfigError, match=r"update\.repository"):
        fetcher_for(address, UpdateSettings())
