"""Whom XCLIENT, XFORWARD and a milter's mail server say a message comes from: policy and events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.doors.commands import BadCommandError
from mailward.doors.origin import Origin, Said
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.events import Event
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

Open = Callable[..., Awaitable[Gateway]]
TRUSTED = ["127.0.0.1"]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def open_gateway(hop: FakeHop, events: list[Event], tmp_path: Path) -> AsyncIterator[Open]:
    gateways: list[Gateway] = []

    async def open_(*rules: object, **settings: object) -> Gateway:
        own = {"listen": "127.0.0.1:0", "next_hop": hop.address}
        gateway = Gateway(
            SmtpSettings.model_validate(own | settings),
            PolicySettings.model_validate({"rules": rules}),
            FakeScanner(),
            Quarantine(tmp_path / "quarantine", QuarantineSettings()),
            events.append,
        )
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield open_
    for gateway in gateways:
        await gateway.stop(1.0)


async def answers(gateway: Gateway, *lines: str) -> list[str]:
    """To everything that a client says in one go, a message and QUIT at its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    end = ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA", "hello", ".", "QUIT", "")
    writer.write("\r\n".join((*lines, *end)).encode())
    heard = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return heard.decode().splitlines()


async def test_policy_and_events_see_whom_xclient_names(
    open_gateway: Open, events: list[Event]
) -> None:
    when = {"client": ["192.0.2.0/24"], "helo": ["SPIKE.*"], "login": ["?*"]}
    gateway = await open_gateway({"name": "r", "action": "reject", "when": when}, xclient=TRUSTED)
    xclient = "XCLIENT ADDR=192.0.2.7 HELO=spike.example LOGIN=ann"

    heard = await answers(gateway, "EHLO proxy", xclient, "EHLO proxy")
    others = await answers(gateway, "EHLO proxy", xclient.replace("LOGIN=ann", ""), "EHLO proxy")

    assert heard[-2].startswith("550 5.7.1 Message refused")
    assert others[-2].startswith("250 ")
    assert (events[0].client, events[0].helo, events[0].login) == (
        "192.0.2.7",
        "spike.example",
        "ann",
    )


async def test_policy_and_events_see_whom_xforward_names(
    open_gateway: Open, events: list[Event]
) -> None:
    when = {"direction": "inbound"}
    gateway = await open_gateway({"name": "r", "action": "reject", "when": when}, xforward=TRUSTED)
    xforward = "XFORWARD ADDR=192.0.2.7 HELO=spike.example IDENT=4bXyz"

    heard = await answers(gateway, "EHLO proxy", xforward)
    local = await answers(gateway, "EHLO proxy", "XFORWARD ADDR=[UNAVAILABLE] SOURCE=LOCAL")

    assert heard[-2].startswith("550 5.7.1 Message refused")
    assert local[-2].startswith("250 ")  # the mail server's own: outbound
    assert (events[0].client, events[0].helo, events[0].queue_id) == (
        "192.0.2.7",
        "spike.example",
        "4bXyz",
    )
    assert events[1].client == "127.0.0.1"


async def test_who_was_named_by_xclient_may_not_name_others(
    open_gateway: Open, events: list[Event]
) -> None:
    """Or a network in ``smtp.xforward`` could be got into by being named."""
    gateway = await open_gateway(xclient=TRUSTED, xforward=["192.0.2.0/24"])
    lines = ("XCLIENT ADDR=192.0.2.7", "EHLO proxy", "XFORWARD ADDR=198.51.100.1")

    heard = await answers(gateway, "EHLO proxy", *lines)

    assert "550 5.7.0 Error: insufficient authorization" in heard
    assert [event.client for event in events] == ["192.0.2.7"]


@given(st.text(max_size=600))
def test_any_argument_is_taken_or_refused_and_never_more_than_one_line(argument: str) -> None:
    for take in (Said.xclient, Said.xforward):
        said, refused = Said(), 501
        try:
            take(said, argument)
        except BadCommandError as e:
            refused = e.reply.code
        assert refused == 501
        origin = said.origin("192.0.2.1", "helo")
        for text in (origin.address, origin.helo, origin.login, origin.queue_id):
            assert text.isascii()
            assert text.isprintable()
            assert len(text) <= 255


@given(st.text(max_size=300), st.text(max_size=300))
def test_what_the_next_hop_is_told_is_one_command(helo: str, queue_id: str) -> None:
    line = Origin("2001:db8::7", helo, queue_id=queue_id).xforward("NAME ADDR HELO IDENT")
    assert line.startswith("XFORWARD ADDR=IPV6:2001:db8::7 HELO=")
    assert line.isascii()
    assert line.isprintable()
    assert len(line.split(" ")) == 4
    assert Origin("192.0.2.1").xforward("") == ""
