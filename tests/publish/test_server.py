"""The static server: what it gives, and what it keeps to itself."""

import asyncio
import gzip
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
from mailward.publish.limits import Gatekeeper, Limits, client_of
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


async def test_nothing_outside_the_folder_can_be_read(visit: Visitor, home: Home) -> None:
    key = next(path.name for path in home.keys.iterdir() if path.name.startswith("root"))
    for path in (
        f"/../keys/{key}",
        f"/metadata/../../keys/{key}",
        f"/%2e%2e/keys/{key}",
        f"/..%2fkeys%2f{key}",
        f"/metadata/..%5c..%5ckeys%5c{key}",
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
    (home.public / "link.pem").symlink_to(next(home.keys.iterdir()))
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


# --- compression ----------------------------------------------------------------------------------

_GZIP = {"Accept-Encoding": "br, gzip"}


async def _plain(visit: Visitor, path: str, **headers: str) -> Any:
    """The answer as it came over the wire."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1", int(visit.base.rsplit(":", 1)[1]), timeout=10)
    return await asyncio.to_thread(
        pool.request, "GET", path, headers=headers, decode_content=False, retries=False
    )


async def test_json_comes_compressed_to_who_takes_it(visit: Visitor, home: Home) -> None:
    whole = (home.metadata / "1.targets.json").read_bytes()
    answer = await _plain(visit, "/metadata/1.targets.json", **_GZIP)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.data) < len(whole)
    assert gzip.decompress(answer.data) == whole
    for refusing in ("identity", "gzip;q=0", "br", ""):
        other = await _plain(visit, "/metadata/1.targets.json", **{"Accept-Encoding": refusing})
        assert "Content-Encoding" not in other.headers
        assert other.data == whole
        assert other.headers["ETag"] != answer.headers["ETag"]
        assert other.headers["Vary"] == answer.headers["Vary"] == "Accept-Encoding"


async def test_each_form_has_an_etag_of_its_own_that_spares_the_next_download(
    visit: Visitor,
) -> None:
    for headers in (_GZIP, {"Accept-Encoding": "identity"}):
        first = await _plain(visit, "/metadata/1.targets.json", **headers)
        same = {"If-None-Match": first.headers["ETag"]}
        again = await _plain(visit, "/metadata/1.targets.json", **headers, **same)
        assert again.status == 304
        assert again.headers["Vary"] == "Accept-Encoding"
    compressed = (await _plain(visit, "/metadata/1.targets.json", **_GZIP)).headers["ETag"]
    plain = await _plain(visit, "/metadata/1.targets.json", **{"If-None-Match": compressed})
    assert plain.status == 200  # who has the compressed form has not the plain one


async def test_a_range_is_one_of_the_plain_content(visit: Visitor, home: Home) -> None:
    whole = (home.metadata / "1.targets.json").read_bytes()
    answer = await _plain(visit, "/metadata/1.targets.json", Range="bytes=10-19", **_GZIP)
    assert answer.status == 206
    assert answer.data == whole[10:20]


async def test_a_changed_timestamp_is_never_served_from_what_was_compressed_before(
    visit: Visitor, home: Home, publisher: Publisher
) -> None:
    for _ in range(5):
        answer = await _plain(visit, "/metadata/timestamp.json", **_GZIP)
        assert gzip.decompress(answer.data) == (home.metadata / "timestamp.json").read_bytes()
        await asyncio.to_thread(publisher.refresh_timestamp)


async def test_objects_are_not_compressed_again(
    visit: Visitor, home: Home, built: Callable[[], Version]
) -> None:
    built()
    path = next((home.public / "objects").rglob("*.zst"))
    answer = await _plain(visit, f"/{path.relative_to(home.public)}", **_GZIP)
    assert "Content-Encoding" not in answer.headers
    assert answer.data == path.read_bytes()


# --- limits ---------------------------------------------------------------------------------------


async def test_who_asks_too_often_is_told_when_to_come_again(home: Home) -> None:
    limits = Limits(requests_per_s=0.5, burst=5)
    async with server.serving(home.public, "127.0.0.1", 0, limits) as port:
        visit = Visitor(port)
        answers = [await visit("GET", "/metadata/timestamp.json") for _ in range(8)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2


async def test_a_client_has_only_so_many_connections(home: Home) -> None:
    limits = Limits(connections=3)
    async with server.serving(home.public, "127.0.0.1", 0, limits) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        answer = await Visitor(port).raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        async with asyncio.timeout(10):
            answer = await Visitor(port)("GET", "/metadata/timestamp.json")
            while answer.status != 200:  # until the server has noticed
                answer = await Visitor(port)("GET", "/metadata/timestamp.json")


@pytest.mark.parametrize("sent", [b"", b"GET /metadata/timestamp.json HTTP/1.1\r\nHost: "])
async def test_a_request_that_never_arrives_does_not_hold_its_connection(
    home: Home, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "_REQUEST_WITHIN_S", 0.2)
    async with server.serving(home.public, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        # A slow drip after an answered request is no way around it.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /metadata/timestamp.json HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"G")
            assert await reader.read() == b""
        writer.close()


def test_tokens_come_back_with_time_and_clients_do_not_share_them() -> None:
    keeper = Gatekeeper(Limits(requests_per_s=2, burst=3))
    assert [keeper.wait_s("192.0.2.1", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert keeper.wait_s("192.0.2.2", 0.0) == 0
    assert keeper.wait_s("192.0.2.1", 0.5) == 0
    assert keeper.wait_s("192.0.2.1", 0.5) == 0.5
    assert [keeper.wait_s("192.0.2.1", 1e6) for _ in range(4)] == [0, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, client: str) -> None:
    assert client_of(address) == client
