"""The PROXY protocol: load balancers say who the client is, nobody else is believed."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mailward.doors import smtp_connection
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

Open = Callable[..., Awaitable[Gateway]]

V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 25\r\n"
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command: int = 1, source: str = "2001:db8::7") -> bytes:
    """HAProxy's binary form, over TCP and IPv6."""
    address = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "::1")
    rest = address + struct.pack(">HH", 4711, 25)
    return _SIGNATURE + bytes([0x20 | command, 0x21]) + struct.pack(">H", len(rest)) + rest


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def open_gateway(hop: FakeHop, tmp_path: Path) -> AsyncIterator[Open]:
    gateways: list[Gateway] = []

    async def open_(**settings: object) -> Gateway:
        own = {"listen": "127.0.0.1:0", "next_hop": hop.address, "proxies": ["127.0.0.0/8"]}
        gateway = Gateway(
            SmtpSettings.model_validate(own | settings),
            PolicySettings(),
            FakeScanner(),
            Quarantine(tmp_path / "quarantine", QuarantineSettings()),
        )
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield open_
    for gateway in gateways:
        await gateway.stop(1.0)


async def session(gateway: Gateway, header: bytes) -> str:
    """Everything that is heard when a message follows the header in one go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    lines = "EHLO x|MAIL FROM:<a@example.org>|RCPT TO:<b@example.org>|DATA|hello|.|QUIT|"
    writer.write(header + lines.replace("|", "\r\n").encode())
    try:
        heard = await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        heard = b""
    writer.close()
    return heard.decode()


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, b"[192.0.2.7]"),
        (v2(), b"[IPv6:2001:db8::7]"),
        (v2(command=0), b"[127.0.0.1]"),
        (b"PROXY UNKNOWN\r\n", b"[127.0.0.1]"),
    ],
    ids=["v1", "v2", "v2 local", "v1 unknown"],
)
async def test_the_client_is_who_the_load_balancer_says(
    header: bytes, client: bytes, open_gateway: Open, hop: FakeHop
) -> None:
    assert "250 2.0.0 queued" in await session(await open_gateway(), header)
    assert client in hop.messages[0].content.partition(b"\r\n\tby ")[0]


@pytest.mark.parametrize(
    "header",
    [b"", b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 192.0.2.7", _SIGNATURE[:-1] + b"X", bytes(300)],
    ids=["none", "nonsense", "half", "another signature", "zeros"],
)
async def test_a_load_balancer_that_does_not_say_who_is_not_served(
    header: bytes, open_gateway: Open, hop: FakeHop
) -> None:
    assert "250" not in await session(await open_gateway(), header)
    assert hop.messages == []


async def test_nobody_else_is_believed(open_gateway: Open, hop: FakeHop) -> None:
    heard = await session(await open_gateway(proxies=["192.0.2.0/24"]), V1)
    assert "500 5.5.2" in heard or "502 5" in heard
    assert b"192.0.2.7" not in b"".join(taken.content for taken in hop.messages)


async def test_limits_are_those_of_the_client_behind(open_gateway: Open) -> None:
    gateway = await open_gateway(max_connections_per_client=1)
    first, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(V1)
    assert (await asyncio.wait_for(first.readline(), 20)).startswith(b"220 ")
    assert "421 4.7.0 Too many connections from your address" in await session(gateway, V1)
    assert "250 2.0.0 queued" in await session(gateway, V1.replace(b"192.0.2.7", b"192.0.2.8"))
    writer.close()


async def test_a_silent_load_balancer_is_not_waited_for(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connection, "_PROXY_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", (await open_gateway()).port)
    assert b"421 4.4.2" in await asyncio.wait_for(reader.read(), 20)
    writer.close()
