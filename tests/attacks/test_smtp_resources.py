"""Clients and next hops that eat memory, time or connections."""

import asyncio
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.smtp_connection import Connection
from mailward.doors.smtp_session import Session
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.base import MIB
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

Open = Callable[..., Awaitable[Gateway]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEAD = b"HELO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def open_gateway(hop: FakeHop, tmp_path: Path) -> AsyncIterator[Open]:
    gateways: list[Gateway] = []

    async def open_(**settings: object) -> Gateway:
        plain = {"listen": "127.0.0.1:0", "next_hop": hop.address, **settings}
        quarantine = Quarantine(tmp_path, QuarantineSettings())
        smtp = SmtpSettings.model_validate(plain)
        gateway = Gateway(smtp, PolicySettings(), FakeScanner(), quarantine)
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield open_
    for gateway in gateways:
        await gateway.stop(0.1)


async def connected(gateway: Gateway) -> Streams:
    return await asyncio.open_connection("127.0.0.1", gateway.port)


async def replies(streams: Streams, count: int) -> list[bytes]:
    return [await asyncio.wait_for(streams[0].readline(), 10) for _ in range(count)]


async def test_a_message_of_empty_lines_costs_its_size_not_a_multiple(open_gateway: Open) -> None:
    """One object for each line would be thirty times the message."""
    gateway = await open_gateway(max_message_bytes=8 * MIB)
    streams = await connected(gateway)
    streams[1].write(HEAD)
    await replies(streams, 5)

    tracemalloc.start()
    for _ in range(127):
        streams[1].write(b"\r\n" * 32 * 1024)
        await streams[1].drain()
    streams[1].write(b"\n\r\n.\r\n")
    (reply,) = await replies(streams, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert reply.startswith(b"550 5.5.2 Error: bare <LF>")
    assert peak < 40 * MIB


@pytest.mark.parametrize("mail", [True, False], ids=["over the limit", "without MAIL"])
async def test_a_piece_that_announces_everything_costs_nothing(
    open_gateway: Open, *, mail: bool
) -> None:
    gateway = await open_gateway(max_message_bytes=MIB)
    streams = await connected(gateway)
    head = HEAD.removesuffix(b"DATA\r\n") if mail else b"HELO c\r\n"
    size = 20 * MIB
    streams[1].write(head + b"BDAT %d\r\n" % size)
    await replies(streams, 4 if mail else 2)

    tracemalloc.start()
    for _ in range(size // 200_000):
        streams[1].write(b"x" * 200_000)
        await streams[1].drain()
    streams[1].write(b"x" * (size % 200_000) + b"BDAT 99999999999999999999 LAST\r\n" + b"x" * 1000)
    refused = (await replies(streams, 1))[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert refused.startswith(b"552 5.3.4" if mail else b"503 5.5.1")
    assert peak < 4 * MIB
    streams[1].close()


async def test_a_message_without_end_costs_no_more_than_the_limit(open_gateway: Open) -> None:
    gateway = await open_gateway(max_message_bytes=MIB)
    streams = await connected(gateway)
    streams[1].write(HEAD)
    await replies(streams, 5)

    tracemalloc.start()
    for _ in range(200):
        streams[1].write(b"x" * 200_000)
        await streams[1].drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 * MIB
    streams[1].write(b"\r\n.\r\n")
    assert (await replies(streams, 1))[0].startswith(b"552 5.3.4")


async def test_a_command_without_end_costs_nothing(open_gateway: Open) -> None:
    gateway = await open_gateway()
    streams = await connected(gateway)

    tracemalloc.start()
    for _ in range(100):
        streams[1].write(b"NOOP" * 50_000)
        await streams[1].drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2 * MIB
    streams[1].write(b"\r\n")
    assert (await replies(streams, 2))[1] == b"500 5.5.2 Command line too long\r\n"


async def test_a_client_that_does_not_read_loses_its_connection(open_gateway: Open) -> None:
    gateway = await open_gateway(client_timeout_s=0.3, max_connections=1)
    _, writer = await connected(gateway)
    try:
        while True:
            writer.write(b"EHLO %s\r\n" % (b"c" * 200) * 300)
            await asyncio.wait_for(writer.drain(), 60)
    except ConnectionError:
        pass

    greeting = (await replies(await connected(gateway), 1))[0]
    assert greeting.startswith(b"220 ")  # the only connection there is was given back


async def test_a_client_that_says_goodbye_and_does_not_read_loses_its_connection(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[Connection] = []
    made = Connection.connection_made

    def watched(self: Connection, transport: asyncio.BaseTransport) -> None:
        connections.append(self)
        made(self, transport)

    monkeypatch.setattr(Connection, "connection_made", watched)
    gateway = await open_gateway(client_timeout_s=0.3, max_connections=1)
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", gateway.port))
        while not (connections and connections[0].transport.get_write_buffer_size()):  # type: ignore[union-attr]
            await loop.sock_sendall(client, b"EHLO %s\r\n" % (b"c" * 200) * 20)
            for _ in range(100):
                await asyncio.sleep(0)
        await loop.sock_sendall(client, b"QUIT\r\n")
        greeting = b"421"
        async with asyncio.timeout(20):
            while not greeting.startswith(b"220 "):
                greeting = (await replies(await connected(gateway), 1))[0]


async def test_thousands_of_commands_at_once_keep_nobody_waiting(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled, begun = 0, asyncio.Event()
    noop = Session.smtp_NOOP

    async def counted(self: Session, arg: str | None) -> None:
        nonlocal handled
        handled += 1
        begun.set()
        await noop(self, arg)

    monkeypatch.setattr(Session, "smtp_NOOP", counted)
    gateway = await open_gateway()
    reader, writer = await connected(gateway)
    writer.write(b"NOOP\r\n" * 20_000 + b"QUIT\r\n")
    await begun.wait()
    other = await connected(gateway)
    other[1].write(b"QUIT\r\n")
    assert [reply[:4] for reply in await replies(other, 2)] == [b"220 ", b"221 "]
    assert handled < 1000
    assert len((await asyncio.wait_for(reader.read(), 60)).splitlines()) == 20_002


async def test_a_next_hop_whose_reply_has_no_end_is_left(open_gateway: Open) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"220-hello\r\n" * 1000)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        streams = await connected(await open_gateway(next_hop=f"127.0.0.1:{port}"))
        streams[1].write(b"HELO c\r\nMAIL FROM:<a@example.org>\r\n")

        assert (await replies(streams, 3))[2].startswith(b"451 4.4.1")


async def test_connections_come_back_however_clients_leave(
    open_gateway: Open, hop: FakeHop
) -> None:
    gateway = await open_gateway(max_connections=5)
    endings = (b"", b"QUIT\r\n", HEAD, HEAD + b"half", b"\n", b"\r\0\r\n", b"EHLO c\r\nMAIL FROM:<")
    for sent in endings * 3:
        _, writer = await connected(gateway)
        writer.write(sent)
        writer.transport.abort() if sent.endswith(b"half") else writer.close()

    for _ in range(5):
        streams = await connected(gateway)
        while not (await replies(streams, 1))[0].startswith(b"220 "):
            streams = await connected(gateway)  # the last ones are still being let out
        streams[1].write(b"NOOP\r\n")
        assert await replies(streams, 1) == [b"250 2.0.0 OK\r\n"]
    assert hop.messages == []
