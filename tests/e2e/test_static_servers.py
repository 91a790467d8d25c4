"""The published folder behind other people's servers, unchanged: nginx, vsftpd, and our own FTP."""

import ftplib
import getpass
import hashlib
import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tuf.ngclient import Updater

from mailward.definitions.model import Channel, Current, Level
from mailward.definitions.store import Store
from mailward.publish import ftp, licensing, quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.ftp import FtpSettings
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update.agent import Agent, Result
from mailward.update.licenses import Licenses

pytestmark = pytest.mark.real

_DOCS = Path(__file__).resolve().parents[2] / "docs"

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {public}; }}
}}
"""

_VSFTPD = """
listen=YES
background=NO
listen_address=127.0.0.1
listen_port={port}
pasv_min_port={passive_min}
pasv_max_port={passive_max}
anonymous_enable=YES
no_anon_password=YES
anon_root={public}
ftp_username={user}
run_as_launching_user=YES
secure_chroot_dir={empty}
seccomp_sandbox=NO
write_enable=NO
xferlog_enable=NO
"""


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """Two sets in rapid, the second by a patch; one of them certified."""
    folder = tmp_path_factory.mktemp("published")
    made = Publisher(folder / "publisher")
    made.init()
    hashes = folder / "list.txt"
    for count in (20_000, 20_001):
        lines = [hashlib.sha256(bytes([n % 256, n >> 8])).hexdigest() for n in range(count)]
        hashes.write_text("\n".join(lines))
        version = build(made.home, parse_specs([f"hashes={hashes}"])).version
        assert quality.check(made.home, version, Level.BASIC).passed
        made.publish(version)
    made.promote(version, forced="a test of servers")
    assert list((made.home.public / "patches").rglob("*.zst"))
    return made


def _binary(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"needs {name}, which is not installed on this computer")
    return found


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@contextmanager
def _running(words: list[str], port: int, log: Path) -> Iterator[int]:
    """A server in the foreground, until it is no longer needed; the port once it answers."""
    with log.open("wb") as output:
        server = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 20
            while True:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                except OSError:
                    continue
                break
            yield port
        finally:
            server.terminate()
            server.wait(timeout=20)


@pytest.fixture
def nginx(publisher: Publisher, tmp_path: Path) -> Iterator[str]:
    binary = _binary("nginx")
    (port,) = _free_ports(1)
    config = tmp_path / "nginx.conf"
    # A master that is root lets its workers be nobody, who may not read a private folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = _NGINX.format(folder=tmp_path, port=port, public=publisher.home.public, user=user)
    config.write_text(text)
    words = [binary, "-c", str(config), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")]
    with _running(words, port, tmp_path / "nginx.out"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def vsftpd(publisher: Publisher, tmp_path: Path) -> Iterator[int]:
    binary = _binary("vsftpd")
    port, first, second = sorted(_free_ports(3))
    (tmp_path / "empty").mkdir()
    config = tmp_path / "vsftpd.conf"
    config.write_text(
        _VSFTPD.format(
            port=port,
            passive_min=first,
            passive_max=max(second, first + 20),
            public=publisher.home.public,
            user=getpass.getuser(),
            empty=tmp_path / "empty",
        ).lstrip()
    )
    with _running([binary, str(config)], port, tmp_path / "vsftpd.out") as listening:
        yield listening


def _every_file_is_the_same_by_ftp(publisher: Publisher, port: int) -> int:
    files = [path for path in publisher.home.public.rglob("*") if path.is_file()]
    with ftplib.FTP(timeout=30) as client:
        client.connect("127.0.0.1", port)
        client.login()
        for path in files:
            found = io.BytesIO()
            client.retrbinary(f"RETR {path.relative_to(publisher.home.public)}", found.write)
            assert found.getvalue() == path.read_bytes(), path
    return len(files)


def test_a_tuf_client_reads_the_repository_behind_nginx(
    publisher: Publisher, nginx: str, tmp_path: Path
) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    updater = Updater(
        str(memory),
        f"{nginx}/metadata/",
        str(memory),
        f"{nginx}/targets/",
        bootstrap=publisher.root_file.read_bytes(),
    )
    for channel in Channel:
        info = updater.get_targetinfo(f"{channel}/current.json")
        assert info is not None
        current = Current.from_json(Path(updater.download_target(info)).read_bytes())
        assert current.version is not None


def test_an_agent_updates_from_nginx(publisher: Publisher, nginx: str, tmp_path: Path) -> None:
    settings = UpdateSettings(repository=nginx, root=publisher.root_file)
    store = Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))
    agent = Agent(settings, store, tmp_path / "update")
    assert agent.refresh(Channel.RAPID).result is Result.ACTIVATED
    again = agent.refresh(Channel.RAPID)
    assert again.result is Result.UP_TO_DATE
    assert again.requests == 2
    assert again.bytes_received < 2048


def test_every_file_comes_from_vsftpd_byte_for_byte(publisher: Publisher, vsftpd: int) -> None:
    assert _every_file_is_the_same_by_ftp(publisher, vsftpd) > 15


def test_every_file_comes_from_our_ftp_server_byte_for_byte(publisher: Publisher) -> None:
    with ftp.serving(publisher.home.public, FtpSettings(port=0)) as port:
        assert _every_file_is_the_same_by_ftp(publisher, port) > 15


# --- licenses: nginx gives the files, `repo serve` says to whom -----------------------------------


@pytest.fixture
def licensed(tmp_path: Path) -> Publisher:
    """A set in rapid, which asks for a license."""
    made = Publisher(tmp_path / "publisher")
    made.init()
    licensing.init(made, "Example Ltd", "definitions")
    version = build(made.home, parse_specs(["starter"])).version
    made.publish(version, forced="a test of servers", license_required=True)
    return made


def _documented_nginx(public: Path, port: int, asked: int) -> str:
    """The server of docs/license.md, without TLS and at other addresses."""
    text = (_DOCS / "license.md").read_text(encoding="utf-8")
    found = re.search(r"```nginx\n(.*?)```", text, re.DOTALL)
    assert found
    server = re.sub(r" *ssl_certificate.*\n", "", found[1])
    for documented, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port}"),
        ("/srv/definitions/public", str(public)),
        ("127.0.0.1:8080", f"127.0.0.1:{asked}"),
    ):
        assert documented in server
        server = server.replace(documented, here)
    return server


@pytest.fixture
def asking_nginx(licensed: Publisher, tmp_path: Path) -> Iterator[str]:
    binary = _binary("nginx")
    port, asked = _free_ports(2)
    serve = [sys.executable, "-P", "-m", "mailward", "repo", "serve", "--repo"]
    serve += [str(licensed.home.folder), "--listen", f"127.0.0.1:{asked}"]
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    plain = _NGINX.format(folder=tmp_path, port=port, public=licensed.home.public, user=user)
    own = re.search(r"server \{.*\}", plain)
    assert own
    config = tmp_path / "nginx.conf"
    documented = _documented_nginx(licensed.home.public, port, asked)
    config.write_text(plain.replace(own[0], documented))
    words = [binary, "-c", str(config), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")]
    with (
        _running(serve, asked, tmp_path / "serve.out"),
        _running(words, port, tmp_path / "nginx.out"),
    ):
        yield f"http://127.0.0.1:{port}"


def test_nginx_asks_before_it_gives_what_needs_a_license(
    licensed: Publisher, asking_nginx: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    order = Order("Example Hospital", now.date(), id="L-1")
    ((_, token),) = licensing.issue_all(licensed, [order], now)
    free = paid = 0
    bearer = {"Authorization": f"Bearer {token}"}
    for path in licensed.home.public.rglob("*"):
        if not path.is_file():
            continue
        url = f"{asking_nginx}/{path.relative_to(licensed.home.public)}"
        status = _status(url)
        free, paid = free + (status == 200), paid + (status == 401)
        assert status in (200, 401), url
        assert _status(url, **bearer) == 200, url
        assert _status(f"{url}?a=metadata/", **bearer) == 200, url
        if status == 401:
            below = url.removeprefix(asking_nginx)
            for dressed in (f"/metadata/..{below}", f"/metadata/%2e%2e{below}", f"/.{below}"):
                assert _status(f"{asking_nginx}{dressed}") in (401, 403), dressed
    assert free > 5
    assert paid > 3
    licensing.revoke(licensed, "L-1", "not paid")
    objects = next((licensed.home.public / "objects").rglob("*.zst"))
    url = f"{asking_nginx}/{objects.relative_to(licensed.home.public)}"
    assert _status(url, **bearer) == 403


def test_an_agent_with_a_license_updates_from_nginx_that_asks(
    licensed: Publisher, asking_nginx: str, tmp_path: Path
) -> None:
    settings = UpdateSettings(repository=asking_nginx, root=licensed.root_file)
    store = Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))
    agent = Agent(settings, store, tmp_path / "update", license_dir=tmp_path / "license")
    assert agent.refresh(Channel.RAPID).result is Result.UNLICENSED
    now = datetime.now(UTC)
    ((_, token),) = licensing.issue_all(licensed, [Order("Example Hospital", now.date())], now)
    file = tmp_path / "new.mwlic"
    file.write_text(token)
    known, _ = agent.known_of_licenses([Channel.RAPID])
    installed = Licenses(tmp_path / "license", tmp_path / "update")
    installed.install(file, [Channel.RAPID], known, now)
    assert agent.refresh(Channel.RAPID).result is Result.ACTIVATED


def _status(url: str, **headers: str) -> int:
    pieces = urlsplit(url)
    connection = http.client.HTTPConnection(pieces.hostname or "", pieces.port or 0, timeout=20)
    with closing(connection):
        # As it stands: other clients would resolve the dots themselves.
        target = f"{pieces.path}?{pieces.query}" if pieces.query else pieces.path
        connection.request("GET", target, headers=headers)
        return connection.getresponse().status
