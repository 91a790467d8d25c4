"""Where a recipient's mail goes, and what happens to a message for several places."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from mailward.doors.next_hops import NextHops
from mailward.doors.relay import Relay
from mailward.doors.routes import Routes
from mailward.doors.testing import FakeHop
from mailward.errors import TemporaryError
from mailward.protect.held import Envelope
from mailward.settings.domains import domain_key
from mailward.settings.doors import SmtpSettings

MESSAGE = b"Subject: hello\r\n\r\nhello\r\n"


@pytest.fixture
async def first() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def second() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


def dead() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def routed(default: str, *routes: tuple[str, list[str]]) -> Routes:
    table = [{"domains": [domain], "next_hops": hops} for domain, hops in routes]
    return Routes.of(SmtpSettings.model_validate({"next_hop": default, "routes": table}))


def paths(hop: FakeHop) -> list[list[str]]:
    return [[r.split("<")[1][:-1] for r in taken.recipients] for taken in hop.messages]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a@example.org", "itself"),
        ("a@EXAMPLE.Org.", "itself"),
        ("@relay.example,@b.example:a@example.org", "itself"),
        ('"a@b"@example.org', "itself"),
        ("a@mail.example.org", "below"),
        ("a@x.mail.example.org", "below"),
        ("a@special.mail.example.org", "special"),
        ("a@bücher.example", "punycode"),
        ("a@xn--bcher-kva.example", "punycode"),
        ("a@notexample.org", "default"),
        ("a@org", "default"),
        ("postmaster", "default"),
        ("example.org", "default"),
        ("a@[192.0.2.1]", "default"),
        ("a@", "default"),
        ("a@..", "default"),
        (f"a@{'x.' * 480}y", "default"),
        ("a@\udcff", "default"),
    ],
)
def test_the_most_special_entry_wins(path: str, expected: str) -> None:
    names = {
        "example.org": "itself",
        "*.example.org": "below",
        "special.mail.example.org": "special",
        "bücher.example": "punycode",
    }
    hops = {name: NextHops((name,), 1) for name in [*names.values(), "default"]}
    routes = Routes(hops["default"], {domain_key(d): hops[name] for d, name in names.items()})
    assert routes.to(path) is hops[expected]


@pytest.mark.parametrize(
    "routes",
    [
        [{"domains": ["a.example", "A.example."], "next_hops": ["127.0.0.1:1"]}],
        [{"domains": [], "next_hops": ["127.0.0.1:1"]}],
        [{"domains": ["a.example"], "next_hops": []}],
        [{"domains": ["a@b.example"], "next_hops": ["127.0.0.1:1"]}],
        [{"domains": ["*"], "next_hops": ["127.0.0.1:1"]}],
        [{"domains": ["a.example"], "next_hops": ["lmtp:lmtp:127.0.0.1:1"]}],
        [{"domains": ["a.example"], "next_hops": ["somewhere"]}],
    ],
    ids=["twice", "no domain", "no hop", "address", "star", "lmtp twice", "no port"],
)
def test_a_route_that_says_nothing_clear_is_refused(routes: object) -> None:
    with pytest.raises(ValidationError, match="routes"):
        SmtpSettings.model_validate({"routes": routes})


async def test_a_released_message_goes_to_each_recipients_next_hop(
    first: FakeHop, second: FakeHop
) -> None:
    routes = routed(first.address, ("example.com", [dead(), second.address]))
    relay = Relay(routes, "mx.example")

    to = ("a@example.net", "b@example.com", "c@example.net")
    refused = await relay.deliver(Envelope("s@example.org", to), MESSAGE)

    relay.close()
    assert refused == {}
    assert paths(first) == [["a@example.net", "c@example.net"]]
    assert paths(second) == [["b@example.com"]]


async def test_who_cannot_be_reached_is_named_when_others_have_the_message(first: FakeHop) -> None:
    relay = Relay(routed(first.address, ("example.com", [dead()])), "mx.example")

    to = ("b@example.com", "a@example.net")
    refused = await relay.deliver(Envelope("s@example.org", to), MESSAGE)

    relay.close()
    assert list(refused) == ["b@example.com"]
    assert refused["b@example.com"].startswith("451 4.4.1 next hop 127.0.0.1:")
    assert paths(first) == [["a@example.net"]]


async def test_when_nobody_can_be_reached_nothing_was_taken() -> None:
    relay = Relay(routed(dead(), ("example.com", [dead()])), "mx.example")
    with pytest.raises(TemporaryError, match="cannot connect"):
        await relay.deliver(Envelope("", ("a@example.net", "b@example.com")), MESSAGE)


async def test_only_what_every_known_next_hop_offers_is_offered(
    first: FakeHop, second: FakeHop
) -> None:
    second.answers = {"EHLO": "250-hop.example\r\n250-SIZE 1000\r\n250 8BITMIME"}
    routes = routed(first.address, ("example.com", [second.address]))
    assert routes.offered() == {"8BITMIME": "", "SMTPUTF8": ""}

    for hops in (routes.default, routes.to("a@example.com")):
        (await hops.connect("mx.example")).quit()

    assert routes.offered() == {"8BITMIME": "", "SIZE": "1000"}


async def test_an_lmtp_server_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 lmtp.example\r\n")
        while line := (await reader.readline()).decode().strip():
            heard.append(line)
            if line == "DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 2.0.0 stored\r\n550 5.2.1 disabled\r\n")
            else:
                writer.write(b"250 2.0.0 OK\r\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, path):
        relay = Relay(routed(f"lmtp:{path}"), "mx.example")
        envelope = Envelope("s@example.org", ("a@example.net", "b@example.net"))
        refused = await relay.deliver(envelope, MESSAGE)
        relay.close()

    assert refused == {"b@example.net": "550 5.2.1 disabled"}
    assert heard[0] == "LHLO mx.example"
