"""The FTP server: what it gives, and what it keeps to itself. Read with Python's own client."""

import ftplib
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.definitions.model import Version
from mailward.errors import TemporaryError, UsageError
from mailward.publish import ftp
from mailward.publish.ftp import FtpSettings
from mailward.publish.home import Home
from mailward.publish.repository import Publisher

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def port(home: Home) -> Iterator[int]:
    with ftp.serving(home.public, FtpSettings(port=0)) as port:
        yield port


@pytest.fixture
def visitor(port: int) -> Iterator[ftplib.FTP]:
    with _visit(port) as client:
        yield client


def _visit(port: int) -> ftplib.FTP:
    client = ftplib.FTP(timeout=20)
    client.connect("127.0.0.1", port)
    client.login()
    return client


def _get(client: ftplib.FTP, path: str, rest: int | None = None) -> bytes:
    found = io.BytesIO()
    client.retrbinary(f"RETR {path}", found.write, rest=rest)
    return found.getvalue()


def test_files_come_whole_and_from_where_a_download_broke_off(
    visitor: ftplib.FTP, home: Home, publisher: Publisher, built: Callable[[], Version]
) -> None:
    publisher.publish(built())
    files = [path for path in home.public.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        name = str(path.relative_to(home.public))
        assert _get(visitor, name) == content
        assert _get(visitor, name, rest=10) == content[10:]
        assert visitor.size(name) == len(content)


def test_nothing_can_be_written(visitor: ftplib.FTP, home: Home) -> None:
    before = {p: p.read_bytes() for p in home.public.rglob("*") if p.is_file()}
    with pytest.raises(ftplib.error_perm):
        visitor.storbinary("STOR metadata/timestamp.json", io.BytesIO(b"x"))
    with pytest.raises(ftplib.error_perm):
        visitor.storbinary("APPE metadata/timestamp.json", io.BytesIO(b"x"))
    for command in (
        "DELE metadata/timestamp.json", "MKD new", "RMD metadata", "RNFR metadata",
        "SITE CHMOD 777 metadata", "MFMT 20200101000000 metadata/timestamp.json", "STOU x",
    ):  # fmt: skip
        with pytest.raises(ftplib.error_perm):
            visitor.voidcmd(command)
    assert {p: p.read_bytes() for p in home.public.rglob("*") if p.is_file()} == before


def test_nothing_outside_the_folder_and_nothing_unfinished_can_be_read(
    visitor: ftplib.FTP, home: Home
) -> None:
    key = next(home.keys.iterdir())
    (home.public / "link.pem").symlink_to(key)
    (home.public / "link").symlink_to(home.keys)
    (home.metadata / ".tmp-1234").write_bytes(b"half a file")
    for path in (
        f"../keys/{key.name}", f"/../keys/{key.name}", f"metadata/../../keys/{key.name}",
        f"link/{key.name}", "link.pem", str(key), "/etc/passwd", "metadata/.tmp-1234", "metadata",
    ):  # fmt: skip
        with pytest.raises((ftplib.error_perm, ftplib.error_temp)):
            _get(visitor, path)
    assert sorted(visitor.nlst("metadata")) == sorted(
        path.name for path in home.metadata.iterdir() if not path.name.startswith(".")
    )
    for path in ("link", "../keys", "/../keys", str(home.keys)):
        with pytest.raises(ftplib.error_perm):
            visitor.cwd(path)
        with pytest.raises(ftplib.error_perm):
            visitor.nlst(path)
    visitor.cwd("../..")
    assert "metadata" in visitor.nlst()


def test_the_server_connects_to_nobody(visitor: ftplib.FTP) -> None:
    """FTP bounce: a client names somebody else's address for the data (RFC 2577)."""
    for command in ("PORT 127,0,0,1,0,80", "EPRT |1|127.0.0.1|80|"):
        with pytest.raises(ftplib.error_perm, match="500"):
            visitor.voidcmd(command)


def test_nobody_but_anonymous_gets_in(port: int) -> None:
    client = ftplib.FTP(timeout=20)
    client.connect("127.0.0.1", port)
    with capture_logs() as events:
        with pytest.raises((ftplib.error_perm, EOFError)):
            client.login("root", "a-password-nobody-may-see")
        while not events:  # the server answers first
            time.sleep(0.01)
    assert [event["event"] for event in events] == ["ftp login refused"]
    assert "a-password-nobody-may-see" not in str(events)
    client.close()


def test_data_comes_from_the_ports_that_are_named_and_the_address_that_is_told(home: Home) -> None:
    ports = _free_ports(3)
    settings = FtpSettings(
        port=0, passive_ports=range(min(ports), max(ports) + 1), masquerade_address="192.0.2.7"
    )
    with ftp.serving(home.public, settings) as port, _visit(port) as client:
        answer = client.sendcmd("PASV")
        told = ftplib.parse227(answer)
        assert told[0] == "192.0.2.7"
        assert min(ports) <= told[1] <= max(ports)


def _free_ports(count: int) -> list[int]:
    """Ports in a row that nobody has."""
    for first in range(20000, 32000, 7):
        held: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for each in held:
                each.close()
        return list(range(first, first + count))
    pytest.fail("no free ports in a row")


def test_one_client_cannot_take_all_connections(home: Home) -> None:
    settings = FtpSettings(port=0, connections_per_client=3)
    with ftp.serving(home.public, settings) as port:
        clients = [_visit(port) for _ in range(3)]
        with pytest.raises((ftplib.error_temp, EOFError)):
            _visit(port)
        for client in clients:
            client.quit()


def test_many_clients_read_at_once(port: int, home: Home) -> None:
    expected = (home.metadata / "1.root.json").read_bytes()
    found: list[bytes] = []

    def read() -> None:
        with _visit(port) as client:
            found.append(_get(client, "metadata/1.root.json"))

    threads = [threading.Thread(target=read) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == [expected] * 10


def test_hostile_commands_end_no_service(port: int, visitor: ftplib.FTP) -> None:
    for junk in (b"\0" * 5000, b"A" * 100_000, b"USER " + b"\xff" * 2000 + b"\r\n", b"\r\n" * 999):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(junk)
            client.recv(100)
    assert visitor.voidcmd("NOOP").startswith("200")


def test_transfers_are_logged(visitor: ftplib.FTP, home: Home) -> None:
    with capture_logs() as events:
        _get(visitor, "metadata/timestamp.json")
        visitor.voidcmd("NOOP")
    (event,) = [e for e in events if e["event"] == "ftp transfer"]
    assert event["path"] == "/metadata/timestamp.json"
    assert event["bytes"] == (home.metadata / "timestamp.json").stat().st_size
    assert event["whole"]


def test_an_address_in_use_and_a_folder_that_is_none_are_said(
    port: int, home: Home, tmp_path: Path
) -> None:
    with (
        pytest.raises(TemporaryError, match=f"cannot listen on 127.0.0.1:{port}"),
        ftp.serving(home.public, FtpSettings(port=port)),
    ):
        pass
    with (
        pytest.raises(UsageError, match="no such folder"),
        ftp.serving(tmp_path / "nothing", FtpSettings(port=0)),
    ):
        pass


def test_the_command_serves_both(home: Home) -> None:
    code = "from mailward.cli.repo import app; app()"
    words = ["serve", "--repo", str(home.folder), "--listen", "127.0.0.1:0", "--ftp", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-uc", code, *words], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        line = server.stdout.readline()
        assert "ftp://127.0.0.1:" in line
        port = int(line.split("ftp://127.0.0.1:")[1].strip().rstrip("/"))
        with _visit(port) as client:
            expected = (home.metadata / "timestamp.json").read_bytes()
            assert _get(client, "metadata/timestamp.json") == expected
        server.terminate()
        assert server.wait(timeout=20) == 0
