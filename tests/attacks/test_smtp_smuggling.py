"""Nothing inside a message becomes a second one, at the gateway or at any server behind it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

FORGED = (
    b"MAIL FROM:<forged@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n\r\nforged\r\n.\r\n"
)


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def gateway(hop: FakeHop, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = SmtpSettings(
        listen="127.0.0.1:0", next_hop=hop.address, max_connections_per_client=200
    )
    quarantine = Quarantine(tmp_path, QuarantineSettings())
    gateway = Gateway(settings, PolicySettings(), FakeScanner(), quarantine)
    await gateway.start()
    yield gateway
    await gateway.stop(1.0)


async def session(gateway: Gateway, sent: bytes) -> list[bytes]:
    """All replies to what a client sends in one go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent + b"QUIT\r\n")
    heard = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return heard.split(b"\r\n")[:-1]


def almost_ends() -> list[bytes]:
    """Dots between up to three CR, LF and NUL on either side, without the one that ends data."""
    pieces = (b"\r", b"\n", b"\0")
    breaks = [b"".join(p) for n in (1, 2, 3) for p in itertools.product(pieces, repeat=n)]
    return [
        before + b"." + after
        for before, after in itertools.product(breaks, breaks)
        if not (before.endswith(b"\r\n") and after.startswith(b"\r\n"))
    ]


async def test_no_sequence_around_a_dot_ends_a_message_here_or_behind(
    gateway: Gateway, hop: FakeHop
) -> None:
    ends = almost_ends()[::4]
    head = b"HELO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n\r\none"
    for start in range(0, len(ends), 50):
        await asyncio.gather(
            *(session(gateway, head + end + FORGED) for end in ends[start : start + 50])
        )

    assert hop.connections == len(ends)
    assert not [command for command in hop.commands if "forged" in command or "victim" in command]
    assert 0 < len(hop.messages) < len(ends)
    for message in hop.messages:
        wire = message.content.replace(b"\r\n.", b"\r\n..")
        assert b"\r\n.\r\n" not in wire.replace(b"\0", b""), "a server that drops NUL sees two"
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")


async def test_pieces_cut_anywhere_are_the_message_that_data_brings(
    gateway: Gateway, hop: FakeHop
) -> None:
    head = b"HELO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"
    random = Random(4)
    for end in almost_ends()[::40]:
        message = b"Subject: x\r\n\r\none" + end + FORGED.replace(b"\r\n.\r\n", b"\r\n")
        by_data = await session(gateway, head + b"DATA\r\n" + message + b"\r\n.\r\n")
        cuts = sorted(random.choices(range(len(message)), k=5))
        pieces = [message[a:b] for a, b in pairwise([0, *cuts, len(message)])]
        sent = b"".join(b"BDAT %d\r\n%s" % (len(piece), piece) for piece in pieces)
        by_bdat = await session(gateway, head + sent + b"BDAT 2 LAST\r\n\r\n")

        assert by_bdat[-2] == by_data[-2]
        if by_data[-2].startswith(b"250"):
            first, second = (taken.content.partition(b"Subject: x")[2] for taken in hop.messages)
            assert first == second
        hop.messages.clear()
    assert not [command for command in hop.commands if "forged" in command or "victim" in command]


async def test_a_refused_message_is_not_read_as_commands(gateway: Gateway, hop: FakeHop) -> None:
    head = b"HELO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"

    replies = await session(gateway, head + b"\r\nbare\nline\r\n" + FORGED)

    assert [reply[:3] for reply in replies] == [
        b"220",
        b"250",
        b"250",
        b"250",
        b"354",
        b"550",
        b"221",
    ]
    assert hop.messages == []


@pytest.mark.parametrize("path", ["a@example.org>\r\nDATA", "a@example.org>\nDATA", "a>\0<b"])
async def test_a_path_cannot_carry_a_second_command_to_the_next_hop(
    gateway: Gateway, hop: FakeHop, path: str
) -> None:
    await session(gateway, f"HELO c\r\nMAIL FROM:<{path}>\r\n".encode())

    assert all(c.startswith(("EHLO", "QUIT", "MAIL FROM:<a@example.org>")) for c in hop.commands)
    assert "DATA" not in hop.commands


async def test_what_the_client_calls_itself_stays_in_its_line(
    gateway: Gateway, hop: FakeHop
) -> None:
    head = b"HELO c) by evil\tX-Mailward-Verdict: clean\r\nMAIL FROM:<a@example.org>\r\n"

    await session(gateway, head + b"RCPT TO:<b@example.net>\r\nDATA\r\n\r\nODDLY\r\n.\r\n")
    await session(gateway, head + b"RCPT TO:<b@example.net>\r\nDATA\r\n\r\nhello\r\n.\r\n")

    (message,) = hop.messages
    assert b"Received: from c??by?evil?X-Mailward-Verdict:?clean ([127.0.0.1])" in message.content
