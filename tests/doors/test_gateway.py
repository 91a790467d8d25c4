"""The gateway as a whole: opening, closing, many clients, large messages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiosmtplib
import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.errors import ConfigError
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

Open = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine", QuarantineSettings())


@pytest.fixture
async def open_gateway(hop: FakeHop, quarantine: Quarantine) -> AsyncIterator[Open]:
    gateways: list[Gateway] = []

    async def open_(**settings: object) -> Gateway:
        plain = {"listen": "127.0.0.1:0", "next_hop": hop.address, **settings}
        smtp = SmtpSettings.model_validate(plain)
        gateway = Gateway(smtp, PolicySettings(), FakeScanner(), quarantine)
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield open_
    for gateway in gateways:
        await gateway.stop(1.0)


async def connected(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=2**20)
    assert (await reader.readline()).startswith(b"220 ")
    return reader, writer


async def in_data(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connected(gateway)
    for command in (b"HELO c", b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.net>", b"DATA"):
        writer.write(command + b"\r\n")
        assert (await reader.readline())[:1] in b"23"
    return reader, writer


async def send(gateway: Gateway, message: bytes, *recipients: str) -> str:
    async with aiosmtplib.SMTP(
        hostname="127.0.0.1", port=gateway.port, start_tls=False, timeout=30
    ) as client:
        await client.mail("a@example.org", options=["BODY=8BITMIME"])
        for recipient in recipients or ("b@example.net",):
            await client.rcpt(recipient)
        return (await client.data(message)).message


def body(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


async def test_it_listens_on_a_port_of_its_choice(open_gateway: Open) -> None:
    gateway = await open_gateway()

    assert gateway.host == "127.0.0.1"
    assert gateway.port > 0
    await connected(gateway)


async def test_an_address_that_is_taken_is_named(open_gateway: Open) -> None:
    port = (await open_gateway()).port

    with pytest.raises(ConfigError, match=rf"smtp\.listen.*127\.0\.0\.1:{port}"):
        await open_gateway(listen=f"127.0.0.1:{port}")


async def test_when_250_is_heard_the_quarantine_has_the_message(
    open_gateway: Open, quarantine: Quarantine, hop: FakeHop
) -> None:
    answer = await send(await open_gateway(), b"\r\nODD\r\n", "b@example.net", "c@example.net")

    (held,) = quarantine.list()
    assert held.id in answer
    message = quarantine.message(held.id)
    assert message.startswith(b"Received: from ")
    assert body(message) == b"ODD\r\n"
    assert quarantine.get(held.id).envelope.recipients == ("b@example.net", "c@example.net")
    assert hop.messages == []


async def test_many_clients_at_once(open_gateway: Open, hop: FakeHop) -> None:
    gateway = await open_gateway()
    bodies = [f"message {i}\r\n..\r\n".encode() for i in range(100)]

    await asyncio.gather(*(send(gateway, b"Subject: x\r\n\r\n" + b) for b in bodies[:50]))
    await asyncio.gather(*(send(gateway, b"Subject: x\r\n\r\n" + b) for b in bodies[50:]))

    assert sorted(body(taken.content) for taken in hop.messages) == sorted(bodies)


async def test_a_large_message_does_not_hold_up_others(open_gateway: Open, hop: FakeHop) -> None:
    gateway = await open_gateway()
    large = b"\r\n" + (b"." * 70 + b"\r\n") * 200_000
    sending = asyncio.create_task(send(gateway, large))

    small = 0
    while not sending.done():
        await send(gateway, b"\r\nsmall\r\n")
        small += 1

    await sending
    assert small >= 2
    assert any(body(taken.content) == large[2:] for taken in hop.messages)


async def test_stopping_says_goodbye_to_those_who_wait(open_gateway: Open) -> None:
    gateway = await open_gateway()
    reader, _ = await connected(gateway)

    await gateway.stop()

    assert await reader.read() == b"421 4.3.2 Service is closing, try again later\r\n"
    with pytest.raises(ConnectionRefusedError):
        await connected(gateway)


async def test_stopping_finishes_the_message_under_way(open_gateway: Open, hop: FakeHop) -> None:
    gateway = await open_gateway()
    reader, writer = await in_data(gateway)
    stopping = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", gateway.port)

    writer.write(b"\r\nhello\r\n.\r\nQUIT\r\n")

    assert await reader.readline() == b"250 2.0.0 queued\r\n"
    assert await reader.read() == b"421 4.3.2 Service is closing, try again later\r\n"
    await stopping
    assert len(hop.messages) == 1


async def test_stopping_waits_no_longer_than_told(open_gateway: Open, hop: FakeHop) -> None:
    gateway = await open_gateway()
    reader, _ = await in_data(gateway)

    await gateway.stop(0.05)

    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert hop.messages == []


async def test_the_next_hop_may_come_back_at_any_time(open_gateway: Open, hop: FakeHop) -> None:
    gateway = await open_gateway()
    await hop.__aexit__(None, None, None)
    with pytest.raises(aiosmtplib.SMTPSenderRefused, match="451"):
        await send(gateway, b"\r\nhello\r\n")

    await hop.__aenter__()

    await send(gateway, b"\r\nhello\r\n")
    assert len(hop.messages) == 1


async def test_a_next_hop_that_interrupts_is_heard(open_gateway: Open) -> None:
    """It refuses in the middle of the message and closes, as Postfix does over its size limit."""

    async def interrupt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hop\r\n")
        async for line in reader:
            if line == b"DATA\r\n":
                break
            writer.write(b"250-hop\r\n250 8BITMIME\r\n" if line[:1] == b"E" else b"250 ok\r\n")
        writer.write(b"354 go on\r\n")
        await reader.readexactly(100_000)
        writer.write(b"552 5.3.4 Message too big for me\r\n")
        await writer.drain()
        await reader.readuntil(b"x\r\n.\r\n")  # or the reset could overtake the answer
        writer.close()

    async with await asyncio.start_server(interrupt, "127.0.0.1", 0, limit=2**26) as server:
        port = server.sockets[0].getsockname()[1]
        gateway = await open_gateway(next_hop=f"127.0.0.1:{port}")
        with pytest.raises(aiosmtplib.SMTPDataError, match="Message too big for me"):
            await send(gateway, b"\r\n" + b"x" * 20_000_000 + b"\r\n")
