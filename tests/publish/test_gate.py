"""Who gets which published file: over HTTP, over FTP, and whatever a path is dressed up as."""

import asyncio
import ftplib
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3
from structlog.testing import capture_logs

from mailward.definitions.model import Channel, Version
from mailward.errors import UsageError
from mailward.publish import ftp, licensing, server
from mailward.publish.ftp import FtpSettings
from mailward.publish.gate import Gate, Refusal, Visitor
from mailward.publish.home import Home
from mailward.publish.licensing import Order
from mailward.publish.pruning import prune
from mailward.publish.repository import Publisher
from mailward.publish.usage import WINDOW, Usage, Use
from tests.publish.conftest import Clock

pytestmark = pytest.mark.timeout(60)


class Shop:
    """Two sets in rapid, which asks for a license; the first is certified too, which does not."""

    def __init__(self, publisher: Publisher, clock: Clock, built: Callable[[], Version]) -> None:
        self.publisher, self.clock = publisher, clock
        self.home = publisher.home
        licensing.init(publisher, "Example Ltd", "definitions")
        self.free = built()
        publisher.publish(self.free, license_required=True)
        publisher.promote(self.free)
        self.paid = built()
        publisher.publish(self.paid)
        self.usage = Usage(self.home.license_usage)
        self.gate = Gate(self.home, self.usage, clock)

    def token(self, days: int = 100, channel: Channel | None = None, **order: Any) -> str:
        channels = (channel,) if channel else tuple(Channel)
        until = self.clock().date() + timedelta(days=days)
        since = self.clock().date() - timedelta(days=300)
        wanted = Order("Example Hospital", until, channels, since=since, **order)
        return licensing.issue_all(self.publisher, [wanted], self.clock())[0][1]

    def paths(self) -> tuple[set[str], set[str]]:
        """Everything published: what is for everybody, and what is for license holders."""
        every = {
            str(path.relative_to(self.home.public))
            for path in self.home.public.rglob("*")
            if path.is_file()
        }
        paid = {path for path in every if self.gate.refusal(path, Visitor()) is not None}
        return every - paid, paid


@pytest.fixture
def shop(publisher: Publisher, clock: Clock, built: Callable[[], Version]) -> Shop:
    return Shop(publisher, clock, built)


def test_metadata_offers_and_what_a_free_channel_names_are_for_everybody(shop: Shop) -> None:
    free, paid = shop.paths()
    assert {path.partition("/")[0] for path in paid} == {"targets", "objects", "patches"}
    manifests = sorted(
        path.rpartition("/")[2].partition(".")[2] for path in paid if "targets" in path
    )
    assert manifests == [f"{shop.free}.json", f"{shop.paid}.json"]  # those in rapid
    assert len([path for path in paid if path.startswith("objects/")]) == 1
    assert len([path for path in free if path.startswith("objects/")]) >= 1
    assert any(path.endswith(".licensing.json") for path in free)
    assert {path for path in free if path.startswith("metadata/")}


def test_with_a_license_everything(shop: Shop) -> None:
    _, paid = shop.paths()
    assert {shop.gate.refusal(path, Visitor(shop.token())) for path in paid} == {None}
    assert {
        shop.gate.refusal(path, Visitor(shop.token(channel=Channel.RAPID))) for path in paid
    } == {None}


def test_nothing_is_asked_for_while_no_channel_needs_a_license(shop: Shop) -> None:
    shop.publisher.publish(shop.paid, license_required=False)
    assert shop.paths()[1] == set()


def _refused(shop: Shop, token: str) -> Refusal:
    found = shop.gate.refusal(next(iter(shop.paths()[1])), Visitor(token))
    assert found is not None
    assert token[:40] not in found.text
    return found


def test_licenses_that_do_not_do(shop: Shop) -> None:
    assert _refused(shop, "nonsense").status == 401
    assert _refused(shop, shop.token()[:-10]).status == 401
    assert _refused(shop, "x" * 100_000).status == 401
    assert _refused(shop, shop.token(channel=Channel.CERTIFIED)).status == 403
    assert _refused(shop, shop.token(days=-20)).status == 403
    token = shop.token(id="L-1")
    assert shop.gate.login(Visitor(token)) is None
    licensing.revoke(shop.publisher, "L-1", "not paid")
    refused = _refused(shop, token)
    assert (refused.status, "not paid" in refused.text) == (403, True)
    assert shop.gate.login(Visitor(token)) is not None


def test_grace_goes_on_and_then_ends(shop: Shop) -> None:
    token = shop.token(days=1)
    (path, *_) = shop.paths()[1]
    shop.clock.advance(days=15)
    assert shop.gate.refusal(path, Visitor(token)) is None
    shop.clock.advance(days=1)
    assert _refused(shop, token).status == 403


def test_damaged_metadata_gives_nothing_that_needs_a_license(shop: Shop) -> None:
    (path, *_) = shop.paths()[1]
    (shop.home.metadata / "timestamp.json").write_bytes(b"{}")
    refused = shop.gate.refusal(path, Visitor("a.b.c"))
    assert refused is not None
    assert refused.status == 503


@pytest.fixture
async def port(shop: Shop) -> AsyncIterator[int]:
    async with server.serving(shop.home.public, "127.0.0.1", 0, gate=shop.gate) as port:
        yield port


def _ask(port: int, path: str, **headers: str) -> Any:
    pool = urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=10, retries=False)
    return pool.request("GET", path, headers=headers)


async def test_over_http(shop: Shop, port: int) -> None:
    free, paid = shop.paths()
    token = shop.token()
    for path in sorted(paid):
        refused = await asyncio.to_thread(_ask, port, f"/{path}")
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert refused.data == b"this needs a license for rapid"
        given = await asyncio.to_thread(_ask, port, f"/{path}", Authorization=f"Bearer {token}")
        assert given.status == 200
        assert given.data == (shop.home.public / path).read_bytes()
        assert given.headers["Cache-Control"].startswith("private")
    for path in sorted(free):
        assert (await asyncio.to_thread(_ask, port, f"/{path}")).status == 200, path
    expired = f"Bearer {shop.token(days=-20)}"
    refused = await asyncio.to_thread(_ask, port, f"/{next(iter(paid))}", Authorization=expired)
    assert refused.status == 403
    assert b"days of grace are over" in refused.data


async def test_a_path_dressed_up_as_something_free(shop: Shop, port: int) -> None:
    path = next(p for p in shop.paths()[1] if p.startswith("objects/"))
    for dressed in (
        f"//{path}", f"/./{path}", f"/metadata/../{path}", f"/metadata/%2e%2e/{path}",
        f"/metadata/..%2f{path}", f"/{path}?x=.current.json", f"/{path}#.current.json",
        f"/%6fbjects{path.removeprefix('objects')}", f"/targets/../{path}", f"/{path}/",
        f"/{path}/.current.json", f"/{path}%00.current.json", f"/objects/../{path}",
        f"/metadata\\..\\{path}",
    ):  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {dressed} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1] in (b"400", b"401", b"404"), (dressed, answer[:100])


async def test_another_server_asks_for_each_file(shop: Shop, port: int) -> None:
    free, paid = shop.paths()
    for path, token, status in (
        (min(paid), "", 401), (min(paid), shop.token(), 204), (min(free), "", 204),
        (min(paid), shop.token(days=-20), 403), (f"metadata/../{min(paid)}", "", 403),
        (f"metadata/%2e%2e/{min(paid)}", "", 403), ("", "", 403),
    ):  # fmt: skip
        headers = {"X-Original-URI": f"/{path}"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        answer = await asyncio.to_thread(_ask, port, server.LICENSE_CHECK, **headers)
        assert answer.status == status, path


def _visit(port: int, user: str = "anonymous", password: str = "x@") -> ftplib.FTP:
    client = ftplib.FTP(timeout=20)
    client.connect("127.0.0.1", port)
    client.login(user, password)
    return client


@pytest.fixture
def ftp_port(shop: Shop) -> Iterator[int]:
    with ftp.serving(shop.home.public, FtpSettings(port=0), shop.gate) as port:
        yield port


def test_over_ftp(shop: Shop, ftp_port: int) -> None:
    free, paid = shop.paths()
    anonymous = _visit(ftp_port)
    for path in sorted(paid):
        with pytest.raises(ftplib.error_perm, match="550 this needs a license for rapid"):
            anonymous.retrbinary(f"RETR {path}", lambda _: None)
    for path in sorted(free):
        anonymous.retrbinary(f"RETR {path}", lambda _: None)
    with _visit(ftp_port, f"license.{'ab' * 16}", shop.token(id="L-1")) as licensed:
        for path in sorted(free | paid):
            content = io.BytesIO()
            licensed.retrbinary(f"RETR {path}", content.write)
            assert content.getvalue() == (shop.home.public / path).read_bytes()
    assert [use.seen for use in shop.usage.uses(shop.clock())] == [1]
    anonymous.close()


def test_an_ftp_login_with_a_license_that_does_not_do(shop: Shop, ftp_port: int) -> None:
    token = shop.token(days=-20)
    with capture_logs() as logs:
        with pytest.raises(ftplib.error_perm, match=r"530 .*grace are over"):
            _visit(ftp_port, "license", token)
        assert token[:30] not in json.dumps(logs)


def test_the_longest_license_fits_into_an_ftp_login(shop: Shop, ftp_port: int) -> None:
    token = shop.token(id="L" * 64, warn_days=365, grace_days=365)
    assert len(token) > 500
    _visit(ftp_port, f"license.{'ab' * 16}", token).close()


def _count(shop: Shop, token: str, installations: int) -> None:
    (path, *_) = shop.paths()[1]
    for number in range(installations):
        visitor = Visitor(token, f"{number:032x}", "192.0.2.1")
        for _ in range(3):
            assert shop.gate.refusal(path, visitor) is None


def test_servers_are_counted_and_more_than_allowed_is_reported_not_refused(shop: Shop) -> None:
    token = shop.token(id="L-1", servers=2)
    _count(shop, token, 2)
    with capture_logs() as logs:
        _count(shop, token, 5)
    assert shop.usage.uses(shop.clock()) == [Use("L-1", "Example Hospital", 2, 5)]
    told = [each for each in logs if "more servers" in each["event"]]
    assert [(each["license"], each["servers"]) for each in told] == [("L-1", 3)]  # once a day


def test_counts_outlive_the_server_and_forget_after_thirty_days(shop: Shop) -> None:
    _count(shop, shop.token(id="L-1"), 4)
    shop.usage.save(shop.clock())
    kept = shop.home.license_usage
    assert kept.stat().st_mode & 0o077 == 0
    assert [use.seen for use in Usage(kept).uses(shop.clock())] == [4]
    shop.clock.now += WINDOW + timedelta(days=1)
    assert Usage(kept).uses(shop.clock()) == []
    kept.write_text("{broken")
    assert Usage(kept).uses(shop.clock()) == []


def test_who_shows_no_number_is_counted_by_address(shop: Shop) -> None:
    (path, *_) = shop.paths()[1]
    token = shop.token()
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        shop.gate.refusal(path, Visitor(token, "not a number", address))
    assert [use.seen for use in shop.usage.uses(shop.clock())] == [2]


# --- issuing --------------------------------------------------------------------------------------


def test_orders_from_csv() -> None:
    text = (
        "to,until,channels,servers,id\r\n"
        'Example Hospital,2027-11-30,rapid,3,L-1\r\n"Müller, Söhne",2028-01-31,,,\r\n'
    )
    first, second = licensing.read_orders(b"\xef\xbb\xbf" + text.encode())
    assert (first.id, first.servers, first.channels) == ("L-1", 3, (Channel.RAPID,))
    assert second == Order("Müller, Söhne", date(2028, 1, 31))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"to,until\n", b"name,until\nx,2027-01-01\n", b"to,until,colour\nx,2027-01-01,red\n",
        b"to,until\nx,soon\n", b"to,until\nx\n", b"to,until\nx,2027-01-01,more\n",
        b"to,until,servers\nx,2027-01-01,many\n", b"to,until,channels\nx,2027-01-01,fast\n",
        b"\xff\xfe\x00", b"\x00" * 100, b'to,until\n"x,2027-01-01\n', b"to,until\n\"a\"b,c\n",
    ],
)  # fmt: skip
def test_lists_of_orders_that_make_no_sense(raw: bytes) -> None:
    with pytest.raises(UsageError):
        licensing.read_orders(raw)


@pytest.mark.parametrize(
    "order",
    [
        Order("", date(2030, 1, 1)), Order("x" * 200, date(2030, 1, 1)),
        Order("x", date(2030, 1, 1), servers=-1),
        Order("x", date(2030, 1, 1), id="../x"), Order("x", date(2030, 1, 1), grace_days=-1),
        Order("x", date(9999, 12, 31)), Order("x", date(1960, 1, 1)),
    ],
)  # fmt: skip
def test_of_several_licenses_all_or_none_are_issued(shop: Shop, order: Order) -> None:
    good = Order("Example Hospital", date(2030, 1, 1))
    with pytest.raises(UsageError, match="license 2"):
        licensing.issue_all(shop.publisher, [good, order], shop.clock())


def test_two_licenses_of_one_id_are_not_issued(shop: Shop) -> None:
    with pytest.raises(UsageError, match="2 licenses would have the id L-1"):
        licensing.issue_all(
            shop.publisher, [Order("x", date(2030, 1, 1), id="L-1")] * 2, shop.clock()
        )


def test_a_channel_cannot_ask_for_what_nobody_can_have(
    publisher: Publisher, built: Callable[[], Version]
) -> None:
    with pytest.raises(UsageError, match="mailward license init"):
        publisher.publish(built(), license_required=True)


def test_it_is_set_up_once_and_the_only_key_is_not_dropped(shop: Shop) -> None:
    with pytest.raises(UsageError, match="set up already"):
        licensing.init(shop.publisher, "Other", "definitions")
    known = licensing.read(shop.home)
    assert known is not None
    with pytest.raises(UsageError, match="the only license key"):
        licensing.drop(shop.publisher, known.keys[0].keyid)
    with pytest.raises(UsageError, match="there is no license key"):
        licensing.drop(shop.publisher, "00000000")


def test_the_file_about_licenses_is_not_pruned_and_survives_other_changes(
    shop: Shop, home: Home
) -> None:
    shop.publisher.refresh_timestamp()
    prune(home, shop.clock(), timedelta(0))
    prune(home, shop.clock(), timedelta(0))
    known = licensing.read(home)
    assert known is not None
    assert known.publisher == "Example Ltd"
    assert Path(home.keys).is_dir()
