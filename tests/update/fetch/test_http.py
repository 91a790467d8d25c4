"""A hostile or broken web server, byte by byte."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailward.errors import ConfigError, FetchError
from mailward.fetch import backoff
from mailward.settings.update import UpdateSettings
from mailward.update.fetch import Bearer, NotResumableError, NotThereError
from mailward.update.fetch.http import HttpFetcher
from tests.contract import fetch_servers

REQUESTS: list[bytes] = []
"""As ``serve`` received them."""

Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture(autouse=True)
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits for busy servers, and no proxy of whoever runs the tests."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_S", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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
                        REQUESTS.append(asked)
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


def _get(url: str, max_bytes: int = 1 << 20, **settings: object) -> bytes:
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


def test_headers_dripped_a_byte_at_a_time_end_at_the_deadline(serve: Serve) -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not gone.wait(0.02):
            connection.sendall(b"x")

    with pytest.raises(FetchError, match="total_timeout_s"):
        _get(serve(drip), total_timeout_s=0.3)
    gone.set()


def test_a_chunk_length_dripped_a_byte_at_a_time_ends_at_the_deadline(serve: Serve) -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(_head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
        while not gone.wait(0.02):
            connection.sendall(b"0")

    with pytest.raises(FetchError, match="total_timeout_s"):
        _get(serve(drip), total_timeout_s=0.3)
    gone.set()


def test_a_black_hole_ends_at_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, never answers
        port = listener.getsockname()[1]
        with pytest.raises(FetchError, match="timed out"):
            _get(f"http://127.0.0.1:{port}/file", timeout_s=0.2)
        with pytest.raises(FetchError, match="timed out"):
            _get(f"https://127.0.0.1:{port}/file", timeout_s=0.2)


def test_a_name_that_is_gone_from_dns_is_said() -> None:
    with pytest.raises(FetchError, match="resolve"):
        _get("http://repository.invalid/file")


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again_and_then_answers(serve: Serve, status: int) -> None:
    answers = [
        _head(f"HTTP/1.1 {status} Busy", "Retry-After: 0", "Connection: close"),
        _head("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: close") + b"ok",
    ]
    assert _get(serve(lambda c: c.sendall(answers.pop(0)))) == b"ok"


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_server_that_asks_for_much_time_is_left_alone_and_the_error_says_how_long(
    serve: Serve, status: int
) -> None:
    asked: list[int] = []

    def busy(connection: socket.socket) -> None:
        asked.append(1)
        connection.sendall(_head(f"HTTP/1.1 {status} Busy", "Retry-After: 3600"))

    with pytest.raises(FetchError, match=r"try again in 3600 s \(20.* UTC\)"):
        _get(serve(busy))
    assert len(asked) == 1


def test_a_server_that_stays_busy_is_asked_three_times(serve: Serve) -> None:
    asked: list[int] = []

    def busy(connection: socket.socket) -> None:
        asked.append(1)
        connection.sendall(_head("HTTP/1.1 500 No", "Content-Length: 0", "Connection: close"))

    with pytest.raises(FetchError, match="500"):
        _get(serve(busy))
    assert len(asked) == 3


def test_a_range_that_begins_elsewhere_is_refused(serve: Serve) -> None:
    answer = _head("HTTP/1.1 206 OK", "Content-Range: bytes 0-9/10", "Content-Length: 10")
    fetcher = HttpFetcher(UpdateSettings(timeout_s=5))
    with pytest.raises(NotResumableError, match="from 5 on"):
        b"".join(fetcher.fetch(serve(lambda c: c.sendall(answer + b"0123456789")), 100, 5))
    fetcher.close()


def test_a_body_longer_than_announced_gives_no_more_than_announced(serve: Serve) -> None:
    url = serve(lambda c: c.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 4") + b"four more"))
    assert _get(url) == b"four"


def test_an_ipv6_address(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this computer has no IPv6 loopback address")
    with fetch_servers.web(tmp_path, host="::1") as port:
        assert _get(f"http://[::1]:{port}/file") == b"content"


def test_a_server_of_an_unknown_authority_is_refused_unless_the_authority_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    pem = fetch_servers.certificate(tmp_path)
    with fetch_servers.web(tmp_path, tls=fetch_servers.server_tls(pem)) as port:
        with pytest.raises(FetchError, match=r"no trust.*update\.ca_file"):
            _get(f"https://127.0.0.1:{port}/file")
        assert _get(f"https://127.0.0.1:{port}/file", ca_file=pem) == b"content"


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    pem = fetch_servers.certificate(tmp_path, "elsewhere.example")
    with (
        fetch_servers.web(tmp_path, tls=fetch_servers.server_tls(pem)) as port,
        pytest.raises(FetchError, match="not valid for"),
    ):
        _get(f"https://127.0.0.1:{port}/file", ca_file=pem)


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    server = fetch_servers.certificate(tmp_path)
    mine = fetch_servers.certificate(tmp_path, "client.example")
    tls = fetch_servers.server_tls(server, clients=mine)
    with fetch_servers.web(tmp_path, tls=tls) as port:
        url = f"https://127.0.0.1:{port}/file"
        assert _get(url, ca_file=server, client_cert=mine, client_key=mine) == b"content"
        assert _get(url, ca_file=server, client_cert=mine) == b"content"
        with pytest.raises(FetchError):
            _get(url, ca_file=server)


@pytest.mark.parametrize("key", ["ca_file", "client_cert"])
def test_a_certificate_file_that_cannot_be_used_is_named_with_its_key(
    tmp_path: Path, key: str
) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate", encoding="utf-8")
    for name in ("bad.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=rf"update\.{key} .*{name}"):
            _get("https://127.0.0.1:1/file", 100, **{key: tmp_path / name})


class Proxy:
    """Answers what it is asked for itself, if it was given the right login."""

    def __init__(self, serve: Serve, expected: bytes = b"") -> None:
        self.asked: list[bytes] = []
        self._expected = expected
        self.address = serve(self._answer).removesuffix("/file")

    def _answer(self, connection: socket.socket) -> None:
        request = REQUESTS[-1]
        self.asked.append(request)
        if self._expected and self._expected not in request:
            connection.sendall(
                _head("HTTP/1.1 407 No", "Proxy-Authenticate: Basic", "Content-Length: 0")
            )
        else:
            connection.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 5") + b"proxy")


_BASIC = b"Basic dXNlcjpodW50ZXIy"  # user:hunter2


@pytest.fixture
def login(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.touch(mode=0o600)
    path.write_text("user:hunter2\n", encoding="utf-8")
    return path


def test_the_proxy_of_the_settings_is_used(serve: Serve) -> None:
    proxy = Proxy(serve)
    assert _get("http://repository.invalid/file", proxy=proxy.address) == b"proxy"
    assert proxy.asked[0].startswith(b"GET http://repository.invalid/file ")


def test_the_proxy_of_the_environment_is_used_but_not_for_what_no_proxy_names(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(serve, _BASIC)
    monkeypatch.setenv("http_proxy", proxy.address.replace("//", "//user:hunter2@"))
    assert _get("http://repository.invalid/file") == b"proxy"
    monkeypatch.setenv("no_proxy", "repository.invalid")
    with pytest.raises(FetchError, match="resolve"):
        _get("http://repository.invalid/file")


def test_the_proxy_is_given_the_login_of_a_file(serve: Serve, login: Path) -> None:
    proxy = Proxy(serve, _BASIC)
    url = "http://repository.invalid/file"
    assert _get(url, proxy=proxy.address, proxy_login=login) == b"proxy"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_for_a_password_is_said_with_the_key(serve: Serve, scheme: str) -> None:
    proxy = Proxy(serve, _BASIC)
    with pytest.raises(FetchError, match=r"proxy asks for .*update\.proxy_login.*407"):
        _get(f"{scheme}://repository.invalid/file", proxy=proxy.address)


def test_a_wrong_password_appears_in_no_error(serve: Serve, login: Path) -> None:
    proxy = Proxy(serve, b"another")
    with pytest.raises(FetchError) as caught:
        _get("http://repository.invalid/f", proxy=proxy.address, proxy_login=login)
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_is_down_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError, match="proxy"):
        _get("http://repository.invalid/file", proxy=f"http://127.0.0.1:{port}")


def test_a_password_in_the_proxy_address_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match=r"update\.proxy_login") as caught:
        _get("http://repository.invalid/file", proxy="http://user:hunter2@127.0.0.1:3128")
    assert "hunter2" not in str(caught.value)


def test_a_license_is_not_shown_to_where_a_server_redirects(serve: Serve) -> None:
    def give(connection: socket.socket) -> None:
        connection.sendall(_head("HTTP/1.1 200 OK", "Content-Length: 2") + b"ok")

    elsewhere = serve(give)
    here = serve(
        lambda c: c.sendall(
            _head("HTTP/1.1 302 Found", f"Location: {elsewhere}", "Content-Length: 0")
        )
    )
    fetcher = HttpFetcher(UpdateSettings(timeout_s=5))
    fetcher.present(Bearer("a.license.token", "0" * 32))
    REQUESTS.clear()
    assert b"".join(fetcher.fetch(here, 100)) == b"ok"
    fetcher.close()
    first, second = REQUESTS
    assert b"Authorization: Bearer a.license.token" in first
    assert b"Mailward-Installation: " in first
    assert b"license" not in second
    assert b"Mailward-Installation" not in second


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_why_a_server_refuses_is_told_in_its_words_bounded_and_printable(
    serve: Serve, status: str
) -> None:
    body = b"no license\x1b[2J for you " + b"x" * 5000
    head = (f"HTTP/1.1 {status}", "Content-Type: text/plain", f"Content-Length: {len(body)}")
    url = serve(lambda c: c.sendall(_head(*head) + body))
    with pytest.raises(FetchError, match="no license") as caught:
        _get(url)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
