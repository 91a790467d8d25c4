"""Downloads that break off: what has come is kept, whatever broke it off."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward.errors import FetchError
from mailward.settings.update import UpdateSettings
from mailward.update.fetch import Bearer, NotResumableError, NotThereError
from mailward.update.fetch.http import HttpFetcher
from mailward.update.fetch.partial import Frame, Partials, StoppedError
from tests.contract import fetch_servers

CONTENT = bytes(range(256)) * 2000


class Cutting:
    """A Fetcher whose server hangs up after some bytes of each connection."""

    def __init__(self, *cuts: int) -> None:
        self.cuts = list(cuts)
        self.starts: list[int] = []
        self.bytes_received = 0
        self.requests = 0

    def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
        self.starts.append(start)
        if self.cuts:
            yield CONTENT[start : start + self.cuts.pop(0)]
            raise FetchError(f"{url}: cut off")
        yield CONTENT[start:]

    def present(self, bearer: Bearer) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def _frame(url: str = "http://x/y") -> Frame:
    return Frame(url, "name.zst", len(CONTENT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "partial"
    folder.mkdir()
    return folder


def test_each_byte_comes_once_when_cut_and_gone_on_with(folder: Path) -> None:
    fetcher = Cutting(100_000, 1, 200_000)
    assert Partials(folder, fetcher).fetch(_frame()).read_bytes() == CONTENT
    assert fetcher.starts == [0, 100_000, 100_001, 300_001]


def test_a_server_that_gives_a_byte_a_connection_is_left_for_the_next_time(folder: Path) -> None:
    fetcher = Cutting(*[1] * 1000)
    with pytest.raises(FetchError, match="cut off"):
        Partials(folder, fetcher).fetch(_frame())
    assert len(fetcher.starts) == 5
    assert (folder / "name.zst").read_bytes() == CONTENT[:5]


def test_a_server_that_gives_nothing_is_asked_once(folder: Path) -> None:
    fetcher = Cutting(0, 0, 0)
    with pytest.raises(FetchError):
        Partials(folder, fetcher).fetch(_frame())
    assert fetcher.starts == [0]


def test_another_process_goes_on_and_says_so_once(folder: Path) -> None:
    with pytest.raises(FetchError):
        Partials(folder, Cutting(1000, 0)).fetch(_frame())
    later = Partials(folder, Cutting())
    assert later.fetch(_frame()).read_bytes() == CONTENT
    assert later.forget_carried_on(_frame())
    assert not later.forget_carried_on(_frame())


def test_a_partial_longer_than_the_file_is_thrown_away(folder: Path) -> None:
    (folder / "name.zst").write_bytes(CONTENT + b"more")
    assert Partials(folder, Cutting()).fetch(_frame()).read_bytes() == CONTENT


def test_what_is_whole_already_costs_no_request(folder: Path) -> None:
    (folder / "name.zst").write_bytes(CONTENT)
    fetcher = Cutting()
    Partials(folder, fetcher).fetch(_frame())
    assert fetcher.starts == []


def test_a_server_that_cannot_go_on_is_asked_from_the_beginning(folder: Path) -> None:
    class Stubborn(Cutting):
        def fetch(self, url: str, max_bytes: int, start: int = 0) -> Iterator[bytes]:
            if start:
                raise NotResumableError(url)
            yield from super().fetch(url, max_bytes, start)

    (folder / "name.zst").write_bytes(b"something else")
    assert Partials(folder, Stubborn()).fetch(_frame()).read_bytes() == CONTENT


def test_progress_counts_what_came_earlier(folder: Path) -> None:
    (folder / "name.zst").write_bytes(CONTENT[:1000])
    partials = Partials(folder, Cutting())
    partials.fetch(_frame())
    assert partials.done_bytes == len(CONTENT)


def test_a_stopped_download_ends_and_what_came_stays(folder: Path) -> None:
    partials = Partials(folder, Cutting(1000))
    partials.stop()
    with pytest.raises(StoppedError):
        partials.fetch(_frame())
    assert (folder / "name.zst").read_bytes() == CONTENT[:1000]


def test_leftovers_of_other_sets_go(folder: Path) -> None:
    (folder / "old.zst").write_bytes(b"x")
    (folder / "name.zst").write_bytes(b"x")
    Partials(folder, Cutting()).keep_only({"name.zst"})
    assert [path.name for path in folder.iterdir()] == ["name.zst"]


@pytest.fixture
def cutter(tmp_path: Path) -> Iterator[str]:
    """An HTTP server that hangs up after ``?N`` bytes of the file, whatever it announced."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += connection.recv(4096) or b"\r\n\r\n"
        start = int(asked.split(b"bytes=")[1].split(b"-")[0]) if b"bytes=" in asked else 0
        most = int(asked.split(b"?")[1].split(b" ")[0])
        total = len(CONTENT)
        connection.sendall(
            f"HTTP/1.1 {206 if start else 200} Yes\r\nContent-Length: {total - start}\r\n"
            f"Content-Range: bytes {start}-{total - 1}/{total}\r\n\r\n".encode()
            + CONTENT[start : max(start, most) if start < most else total]
        )

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                answer(connection)

    thread = threading.Thread(target=loop)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("place", [len(CONTENT) * n // 50 for n in range(1, 50)] + [1])
def test_a_download_cut_at_any_of_fifty_places_is_gone_on_with(
    cutter: str, folder: Path, place: int
) -> None:
    fetcher = HttpFetcher(UpdateSettings(timeout_s=5))
    try:
        frame = _frame(f"{cutter}?{place}")
        assert Partials(folder, fetcher).fetch(frame).read_bytes() == CONTENT
    finally:
        fetcher.close()
    assert fetcher.requests == 2
    assert fetcher.bytes_received == len(CONTENT)


def test_what_is_not_there_is_not_asked_for_again(folder: Path, tmp_path: Path) -> None:
    fetcher = HttpFetcher(UpdateSettings(timeout_s=5))
    with fetch_servers.web(tmp_path) as port, pytest.raises(NotThereError):
        Partials(folder, fetcher).fetch(_frame(f"http://127.0.0.1:{port}/nothing"))
    fetcher.close()
    assert fetcher.requests == 1
