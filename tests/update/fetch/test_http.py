"""A hostile or broken web server, byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from mailward.config import UpdateSettings
from mailward.errors import FetchError
from mailward.update.fetch import NotThereError
from mailward.update.fetch.http import HttpFetcher

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that answers every connection by the given function, once it has asked."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: Callable[[socket.socket], None]) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        asked = b""
                        while b"\r\n\r\n" not in asked:
                            asked += connection.recv(4096) or b"\r\n\r\n"
                        answer(connection)
                    except OSError:
                        continue  # the client has gone, as some of these tests want

        thread = threading.Thread(target=loop)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/file"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def _get(url: str, max_bytes: int = 1 << 20, **settings: float) -> bytes:
    fetcher = HttpFetcher(UpdateSettings.model_validate({"timeout_s": 5, **settings}))
    try:
        return b"".join(fetcher.fetch(url, max_bytes))
    finally:
        fetcher.close()


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def test_a_body_shorter_than_announced_is_an_error(serve: Serve) -> None:
    url = serve(lambda c: c.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 100") + b"only this"))
    with pytest.raises(FetchError):
        _get(url)


def test_an_endless_body_without_content_length_is_cut_at_the_bound(serve: Serve) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(_head("HTTP/1.1 200 OK"))
        while True:
            connection.sendall(b"x" * 65536)

    with pytest.raises(FetchError, match="longer than"):
        _get(serve(endless), max_bytes=200_000)


def test_a_huge_announced_length_is_refused_before_reading(serve: Serve) -> None:
    url = serve(lambda c: c.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 99999999999")))
    with pytest.raises(FetchError, match="announced"):
        _get(url)


def test_a_stalled_body_ends_at_the_read_timeout(serve: Serve) -> None:
    gone = threading.Event()

    def stall(connection: socket.socket) -> None:
        connection.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 100") + b"begin")
        gone.wait(10)

    with pytest.raises(FetchError):
        _get(serve(stall), timeout_s=0.3)
    gone.set()


def test_slow_retrieval_is_given_up(serve: Serve) -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 1000"))
        while not gone.wait(0.02):
            connection.sendall(b"x")

    with pytest.raises(FetchError, match="total_timeout_s"):
        _get(serve(drip), total_timeout_s=0.3)
    gone.set()


def test_a_redirect_loop_ends(serve: Serve) -> None:
    url = serve(
        lambda c: c.sendall(
            _head("HTTP/1.1 302 Found", "Location: /file", "Content-Length: 0", "Connection: close")
        )
    )
    with pytest.raises(FetchError, match="redirected more than"):
        _get(url)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "gopher:x"])
def test_a_redirect_to_another_kind_of_address_is_refused(serve: Serve, location: str) -> None:
    head = _head("HTTP/1.1 302 Found", f"Location: {location}", "Content-Length: 0")
    with pytest.raises(FetchError, match="not allowed"):
        _get(serve(lambda c: c.sendall(head)))


@pytest.mark.parametrize("status", [403, 404])
def test_not_there_is_told_from_broken(serve: Serve, status: int) -> None:
    url = serve(lambda c: c.sendall(_head(f"HTTP/1.1 {status} No", "Content-Length: 0")))
    with pytest.raises(NotThereError) as caught:
        _get(url)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [204, 206, 401, 407, 429, 500, 503])
def test_any_other_status_is_an_error_that_names_it(serve: Serve, status: int) -> None:
    url = serve(lambda c: c.sendall(_head(f"HTTP/1.1 {status} No", "Content-Length: 0")))
    with pytest.raises(FetchError, match=str(status)):
        _get(url)


@pytest.mark.parametrize(
    "answer", [b"", b"\0" * 100, b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 banana\r\n\r\n"]
)
def test_an_answer_that_is_not_http_is_an_error(serve: Serve, answer: bytes) -> None:
    with pytest.raises(FetchError):
        _get(serve(lambda c: c.sendall(answer)))


def test_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError):
        _get(f"http://127.0.0.1:{port}/file")
