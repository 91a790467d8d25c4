"""FTP servers that are broken, hostile or picky."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.errors import ConfigError, FetchError
from mailward.settings.update import UpdateSettings
from mailward.update.fetch import NotThereError
from mailward.update.fetch.ftp import FtpFetcher
from tests.contract import fetch_servers


def _get(url: str, max_bytes: int = 1 << 20, **settings: object) -> bytes:
    fetcher = FtpFetcher(UpdateSettings.model_validate({"timeout_s": 5, **settings}))
    try:
        return b"".join(fetcher.fetch(url, max_bytes))
    finally:
        fetcher.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "public"
    (folder / "a b").mkdir(parents=True)
    (folder / "a b/c%d").write_bytes(b"content")
    return folder


@pytest.fixture
def login(tmp_path: Path) -> Path:
    path = tmp_path / "login"
    path.touch(mode=0o600)
    path.write_text("mirror:hunter2\n", encoding="utf-8")
    return path


def test_escaped_characters_name_the_real_file(folder: Path) -> None:
    with fetch_servers.ftp(folder) as port:
        assert _get(f"ftp://127.0.0.1:{port}/a%20b/c%25d") == b"content"


@pytest.mark.parametrize("path", ["", "/", "/a%0d%0aDELE%20x", "/a%00b"])
def test_paths_that_would_be_other_commands_are_refused(path: str) -> None:
    with pytest.raises(FetchError, match="not a path"):
        _get(f"ftp://127.0.0.1:1{path}")


def test_the_login_of_a_file_is_used(folder: Path, login: Path) -> None:
    with fetch_servers.ftp(folder, login=("mirror", "hunter2")) as port:
        url = f"ftp://127.0.0.1:{port}/a%20b/c%25d"
        assert _get(url, ftp_login=login) == b"content"


def test_a_refused_login_is_said_with_the_key_and_without_the_password(
    folder: Path, login: Path
) -> None:
    with (
        fetch_servers.ftp(folder, ("mirror", "another"), auth_failed_timeout=0) as port,
        capture_logs() as logs,
        pytest.raises(FetchError, match=r"update\.ftp_login") as caught,
    ):
        _get(f"ftp://127.0.0.1:{port}/file", ftp_login=login)
    assert "hunter2" not in str(caught.value) + str(logs)


def test_a_login_that_others_may_read_is_refused(login: Path) -> None:
    login.chmod(0o644)
    with pytest.raises(ConfigError, match=r"update\.ftp_login"):
        _get("ftp://127.0.0.1:1/file", ftp_login=login)


def test_a_session_is_used_again_and_replaced_when_the_server_has_ended_it(folder: Path) -> None:
    sessions: list[object] = []

    def connected(handler: object) -> None:
        sessions.append(handler)

    fetcher = FtpFetcher(UpdateSettings(timeout_s=5))
    with fetch_servers.ftp(folder, on_connect=connected) as port:
        url = f"ftp://127.0.0.1:{port}/a%20b/c%25d"
        for _ in range(3):
            assert b"".join(fetcher.fetch(url, 100)) == b"content"
        assert len(sessions) == 1
        sessions[0].close_when_done()  # type: ignore[attr-defined]  # pyftpdlib is not typed
        assert b"".join(fetcher.fetch(url, 100)) == b"content"
        assert len(sessions) == 2
    fetcher.close()


def test_ftps_to_a_server_of_an_unknown_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    pem = fetch_servers.certificate(tmp_path)
    with (
        fetch_servers.vsftpd(folder, tmp_path, pem) as port,
        pytest.raises(FetchError, match=r"no trust.*update\.ca_file"),
    ):
        _get(f"ftps://127.0.0.1:{port}/file")


def test_ftps_to_a_server_without_tls_sends_no_login(folder: Path, login: Path) -> None:
    with (
        fetch_servers.ftp(folder, ("mirror", "hunter2")) as port,
        pytest.raises(FetchError, match="the server says 5"),
    ):
        _get(f"ftps://127.0.0.1:{port}/a%20b/c%25d", ftp_login=login)


class Script:
    """A server that gives these answers, one a command, and this content."""

    def __init__(self, *, size: bytes = b"500 no", content: bytes = b"", end: bytes = b"226 done"):
        self._size, self._content, self._end = size, content, end
        self._control = socket.create_server(("127.0.0.1", 0))
        self._data = socket.create_server(("127.0.0.1", 0))
        self.url = f"ftp://127.0.0.1:{self._control.getsockname()[1]}/file"
        self.gone = threading.Event()
        self.endless = self.drips = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._control.accept()
            with connection:
                self._talk(connection)
        except OSError:
            return

    def _talk(self, connection: socket.socket) -> None:
        connection.sendall(b"220 hello\r\n")
        port = self._data.getsockname()[1]
        answers = {
            b"USER": b"331 password",
            b"PASS": b"230 in",
            b"TYPE": b"200 yes",
            b"SIZE": self._size,
            b"PASV": f"227 yes (127,0,0,1,{port >> 8},{port & 255})".encode(),
            b"RETR": b"150 here",
        }
        while command := connection.recv(1000):
            answer = answers.get(command[:4].upper(), b"502 what")
            if self.drips and command.startswith(b"SIZE"):
                while not self.gone.wait(0.02):
                    connection.sendall(b"2")
                return
            connection.sendall(answer + b"\r\n")
            if command.startswith(b"RETR"):
                self._transfer()
                connection.sendall(self._end + b"\r\n")

    def _transfer(self) -> None:
        data, _ = self._data.accept()
        with data:
            data.sendall(self._content)
            while self.endless:
                data.sendall(b"x" * 65536)

    def close(self) -> None:
        self.gone.set()
        for listener in (self._control, self._data):
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._thread.join()


@pytest.fixture
def scripts() -> Iterator[list[Script]]:
    scripts: list[Script] = []
    yield scripts
    for script in scripts:
        script.close()


def test_a_server_that_tells_no_size_gives_its_content(scripts: list[Script]) -> None:
    scripts.append(Script(content=b"content"))
    assert _get(scripts[0].url) == b"content"


def test_an_endless_transfer_is_cut_at_the_bound(scripts: list[Script]) -> None:
    scripts.append(Script())
    scripts[0].endless = True
    with pytest.raises(FetchError, match="longer than"):
        _get(scripts[0].url, 200_000)


def test_a_transfer_that_ends_early_is_an_error(scripts: list[Script]) -> None:
    scripts.append(Script(size=b"213 100", content=b"only this"))
    with pytest.raises(FetchError, match="cut off after 9 of 100"):
        _get(scripts[0].url)


def test_a_transfer_that_the_server_aborts_is_an_error(scripts: list[Script]) -> None:
    scripts.append(Script(content=b"only this", end=b"426 broken off"))
    with pytest.raises(FetchError, match="426"):
        _get(scripts[0].url)


def test_a_huge_announced_size_is_refused_before_reading(scripts: list[Script]) -> None:
    scripts.append(Script(size=b"213 99999999999"))
    with pytest.raises(FetchError, match="announced"):
        _get(scripts[0].url)


@pytest.mark.parametrize("size", [b"213 many", b"213", b"213 -5", b"999 what", b"\xff\xfe", b""])
def test_an_answer_that_makes_no_sense_is_an_error(scripts: list[Script], size: bytes) -> None:
    scripts.append(Script(size=size, content=b"content"))
    with pytest.raises(FetchError):
        _get(scripts[0].url, timeout_s=0.5)


def test_an_answer_dripped_a_byte_at_a_time_ends_at_the_deadline(scripts: list[Script]) -> None:
    scripts.append(Script())
    scripts[0].drips = True
    with pytest.raises(FetchError, match="total_timeout_s"):
        _get(scripts[0].url, total_timeout_s=0.3)


def test_a_data_connection_that_stalls_ends_at_the_timeout(scripts: list[Script]) -> None:
    scripts.append(Script(size=b"213 100"))
    scripts[0]._transfer = lambda: scripts[0].gone.wait(10)  # type: ignore[assignment,method-assign]  # takes the connection, gives nothing
    with pytest.raises(FetchError, match="timed out"):
        _get(scripts[0].url, timeout_s=0.3)


def test_a_black_hole_ends_at_the_timeout() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(FetchError, match="timed out"),
    ):
        _get(f"ftp://127.0.0.1:{listener.getsockname()[1]}/file", timeout_s=0.2)


def test_a_closed_port_and_an_unknown_name_are_errors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in (f"127.0.0.1:{port}", "repository.invalid"):
        with pytest.raises(FetchError) as caught:
            _get(f"ftp://{host}/file")
        assert not isinstance(caught.value, NotThereError)
