"""The static server: what it gives, and what it keeps to itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from structlog.testing import capture_logs
from tuf.ngclient import Updater

from mailward.definitions.model import Channel, Current, Version
from mailward.errors import TemporaryError, UsageError
from mailward.publish import server
from mailward.publish.home import Home
from mailward.publish.repository import Publisher

pytestmark = pytest.mark.timeout(30)


class Visitor:
    """Sends requests from a thread, as somebody else would."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=10, retries=False)

    async def __call__(self, method: str, path: str, **headers: str) -> Any:
        return await asyncio.to_thread(self._pool.request, method, path, headers=headers)

    async def raw(self, request: bytes) -> bytes:
        """A request as no decent client would write it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._pool.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def visit(home: Home) -> AsyncIterator[Visitor]:
    async with server.serving(home.public, "127.0.0.1", 0) as port:
        yield Visitor(port)


async def test_files_come_whole_with_an_etag_and_only_when_changed(
    visit: Visitor, home: Home
) -> None:
    answer = await visit("GET", "/metadata/1.root.json")
    assert answer.status == 200
    assert answer.data == (home.metadata / "1.root.json").read_bytes()
    again = await visit("GET", "/metadata/1.root.json", **{"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    assert again.data == b""


async def test_head_tells_the_size_alone(visit: Visitor, home: Home) -> None:
    answer = await visit("HEAD", "/metadata/timestamp.json")
    assert answer.status == 200
    size = (home.metadata / "timestamp.json").stat().st_size
    assert int(answer.headers["Content-Length"]) == size
    assert answer.data == b""


async def test_a_download_can_be_resumed(visit: Visitor, home: Home) -> None:
    whole = (home.metadata / "1.root.json").read_bytes()
    answer = await visit("GET", "/metadata/1.root.json", Range="bytes=100-")
    assert answer.status == 206
    assert answer.data == whole[100:]
    beyond = await visit("GET", "/metadata/1.root.json", Range=f"bytes={len(whole)}-")
    assert beyond.status == 416


async def test_only_the_timestamp_may_change_under_its_name(visit: Visitor) -> None:
    stamp = await visit("GET", "/metadata/timestamp.json")
    root = await visit("GET", "/metadata/1.root.json")
    assert stamp.headers["Cache-Control"] == "no-cache"
    assert "immutable" in root.headers["Cache-Control"]


async def test_nothing_can_be_written(visit: Visitor) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await visit(method, "/metadata/timestamp.json")).status == 405, method


async def test_there_are_no_listings(visit: Visitor) -> None:
    for path in ("/", "/metadata", "/metadata/", "/nothing", "/metadata/2.root.json"):
        answer = await visit("GET", path)
        assert answer.status == 404, path
        assert b"timestamp" not in answer.data, path


async def test_nothing_outside_the_folder_can_be_read(visit: Visitor) -> None:
    for path in (
        "/../keys/root.pem",
        "/metadata/../../keys/root.pem",
        "/%2e%2e/keys/root.pem",
        "/..%2fkeys%2froot.pem",
        "/metadata/..%5c..%5ckeys%5croot.pem",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/metadata/timestamp.json%00.pem",
        "/" + "a/" * 3000,
        "/" + "a" * 5000,
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await visit.raw(request.encode())
        assert answer.split(b" ")[1] in (b"404", b"400"), (path[:80], answer[:200])
        assert b"PRIVATE KEY" not in answer
        assert b"root:" not in answer


async def test_links_out_of_the_folder_and_unfinished_files_are_not_served(
    visit: Visitor, home: Home
) -> None:
    (home.public / "link.pem").symlink_to(home.keys / "root.pem")
    (home.metadata / ".tmp-1234").write_bytes(b"half a file")
    assert (await visit("GET", "/link.pem")).status == 404
    assert (await visit("GET", "/metadata/.tmp-1234")).status == 404


async def test_a_client_updates_over_http(
    visit: Visitor, publisher: Publisher, built: Callable[[], Version], tmp_path: Path
) -> None:
    version = built()
    await asyncio.to_thread(publisher.publish, version)

    def update() -> bytes:
        updater = Updater(
            str(tmp_path),
            f"{visit.base}/metadata/",
            str(tmp_path),
            f"{visit.base}/targets/",
            bootstrap=publisher.root_file.read_bytes(),
        )
        info = updater.get_targetinfo("rapid/current.json")
        assert info is not None
        return Path(updater.download_target(info)).read_bytes()

    current = Current.from_json(await asyncio.to_thread(update))
    assert (current.channel, current.version) == (Channel.RAPID, version)


async def test_requests_are_logged(home: Home) -> None:
    with capture_logs() as events:
        async with server.serving(home.public, "127.0.0.1", 0) as port:
            await Visitor(port)("GET", "/metadata/timestamp.json")
    (event,) = events
    assert event["path"] == "/metadata/timestamp.json"
    assert event["status"] == 200
    assert event["bytes"] == (home.metadata / "timestamp.json").stat().st_size
    assert event["client"] == "127.0.0.1"


async def test_stopping_frees_the_port(home: Home) -> None:
    async with server.serving(home.public, "127.0.0.1", 0) as first:
        pass
    async with server.serving(home.public, "127.0.0.1", first) as second:
        assert first == second


async def test_an_address_in_use_is_said(visit: Visitor, home: Home) -> None:
    port = int(visit.base.rsplit(":", 1)[1])
    with pytest.raises(TemporaryError, match=f"cannot listen on 127.0.0.1:{port}"):
        async with server.serving(home.public, "127.0.0.1", port):
            pass


async def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        async with server.serving(tmp_path / "nothing", "127.0.0.1", 0):
            pass
