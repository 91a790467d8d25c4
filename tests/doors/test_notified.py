"""Notifications at the doors: after the answer, through the next hop, with the entry's name."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from mailward.config import Config
from mailward.console.recipients import notifier
from mailward.doors import releasing
from mailward.doors.milter import MilterDoor
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop
from mailward.errors import ConfigError
from mailward.protect.events import Event
from mailward.protect.notify.notifier import Notifier
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import MilterSettings, SmtpSettings
from mailward.settings.notify import NotifySettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.testing import Attachment, message
from tests.doors.milter_client import Server
from tests.doors.test_stripped import PartScanner

POLICY = PolicySettings.model_validate({
    "internal": [],
    "rules": [
        {"name": "held", "action": "quarantine", "when": {"verdict": ["infected"]},
         "notify": ["recipients"]},
    ],
})  # fmt: skip
VIRUS = message(Attachment("a.exe", b"VIRUS"))


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine", QuarantineSettings())


def tells(hop: FakeHop, events: list[Event], folder: Path) -> Notifier:
    smtp = SmtpSettings(next_hop=hop.address)
    send = partial(releasing.send, smtp)
    return Notifier(NotifySettings(), "m@example.net", send, events.append, folder)


async def test_the_gateway_tells_recipients_what_is_held(
    hop: FakeHop, quarantine: Quarantine, tmp_path: Path
) -> None:
    events: list[Event] = []
    smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=hop.address)
    async with tells(hop, events, tmp_path) as notify:
        gateway = Gateway(smtp, POLICY, PartScanner(), quarantine, notify=notify)
        await gateway.start()
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
            await client.sendmail("a@example.org", ["b@example.net"], VIRUS)
            await client.sendmail("a@example.org", ["b@example.net"], message())
        await gateway.stop(1.0)

    (held,) = quarantine.ids()
    _, note = sorted(hop.messages, key=lambda taken: b"Auto-Submitted" in taken.content)
    assert len(hop.messages) == 2
    assert note.mail.startswith("FROM:<>")
    assert note.recipients == ("TO:<b@example.net>",)
    assert held.encode() in note.content
    assert [event.trace_id for event in events] == [held]


async def test_a_milter_tells_them_too(
    hop: FakeHop, quarantine: Quarantine, tmp_path: Path
) -> None:
    path = str(tmp_path / "milter.sock")
    async with tells(hop, [], tmp_path) as notify:
        door = MilterDoor(
            MilterSettings(listen=(path,)), POLICY, PartScanner(), quarantine, notify=notify
        )
        await door.start()
        async with await Server.connect(path) as server:
            await server.negotiate()
            server.client()
            await server.message(VIRUS.replace(b"\r\n", b"\n"))
        await door.stop(1.0)

    (held,) = quarantine.ids()
    (note,) = hop.messages
    assert note.mail.startswith("FROM:<>")
    assert held.encode() in note.content


@pytest.mark.parametrize(
    ("audience", "why"), [("admin", r"notify\.admin names nobody"), ("sender", r"notify\.domains")]
)
async def test_a_rule_that_tells_somebody_who_is_nobody_is_refused(
    tmp_path: Path, audience: str, why: str
) -> None:
    rules: list[Any] = [{"name": "r", "action": "tag", "notify": [audience]}]
    config = Config(state_dir=tmp_path, policy=PolicySettings.model_validate({"rules": rules}))

    with pytest.raises(ConfigError, match=why):
        notifier(config, lambda event: None)
