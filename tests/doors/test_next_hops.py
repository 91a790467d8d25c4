"""Several next hops: the first that answers, and no client waits twice for a dead one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mailward.doors import next_hop
from mailward.doors.next_hops import AVOID_S, NextHops
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.errors import TemporaryError
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.doors.test_tls import sent
from tests.e2e.postfix import free_port


@pytest.fixture
async def second() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


def dead() -> str:
    return f"127.0.0.1:{free_port()}"


async def test_mail_goes_to_the_next_one_when_the_first_is_down(
    second: FakeHop, tmp_path: Path
) -> None:
    settings = SmtpSettings(
        listen="127.0.0.1:0",
        next_hop=dead(),
        next_hop_fallback=(dead(), second.address),
        hostname="mx.example",
    )
    quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
    gateway = Gateway(settings, PolicySettings(), FakeScanner(), quarantine)
    await gateway.start()
    assert (await sent(gateway)).startswith("250 ")
    await gateway.stop(1.0)
    assert len(second.messages) == 1


async def test_a_server_that_refuses_in_its_greeting_is_down_as_well(second: FakeHop) -> None:
    async with FakeHop(answers={"EHLO": "554 no", "HELO": "554 no"}) as first:
        hop = await NextHops((first.address, second.address), 10).connect("mx.example")
        hop.quit()
    assert (first.connections, second.connections) == (1, 1)


async def test_a_dead_server_is_asked_last_for_a_while(
    second: FakeHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    connect = next_hop.HopConnection.connect

    async def noted(address: str, *rest: object) -> next_hop.HopConnection:
        asked.append(address)
        return await connect(address, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(next_hop.HopConnection, "connect", noted)
    now = 100.0
    first = dead()
    hops = NextHops((first, second.address), 10, clock=lambda: now)
    for _ in range(3):
        (await hops.connect("mx.example")).quit()
    assert asked == [first, *[second.address] * 3]
    now += AVOID_S
    (await hops.connect("mx.example")).quit()
    assert asked[-2:] == [first, second.address]


async def test_when_all_are_down_each_is_named() -> None:
    first, other = dead(), dead()
    hops = NextHops((first, other), 10)
    for _ in range(2):  # those that failed are asked all the same
        with pytest.raises(TemporaryError, match=first) as caught:
            await hops.connect("mx.example")
        assert other in str(caught.value)
