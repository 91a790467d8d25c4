"""What becomes of a message whose recipients the policy treats differently, and of each action."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.held import Held
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

ANN, BOB, EVE = "ann@example.net", "bob@example.net", "eve@example.com"
HOLD_EVE = {"name": "hold", "action": "quarantine", "when": {"recipient": ["eve@*"]}}


class Mailroom:
    """A gateway with a policy, what it delivered and what it holds."""

    def __init__(self, folder: Path, hop: FakeHop) -> None:
        self.hop = hop
        self.quarantine = Quarantine(folder, QuarantineSettings())
        self._gateways: list[Gateway] = []

    async def send(
        self, *to: str, text: str = "hello", subject: bool = True, **policy: Any
    ) -> tuple[int, str]:
        smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=self.hop.address)
        settings = PolicySettings.model_validate(policy)
        gateway = Gateway(smtp, settings, FakeScanner(), self.quarantine)
        await gateway.start()
        head = "Subject: greetings\r\n" if subject else "X-Other: x\r\n"
        try:
            async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
                await client.mail("sender@example.org")
                for recipient in to:
                    await client.rcpt(recipient)
                try:
                    return await client.data(f"{head}\r\n{text}\r\n".encode())
                except aiosmtplib.SMTPResponseException as e:
                    return e.code, e.message
        finally:
            await gateway.stop(1.0)

    @property
    def delivered(self) -> list[list[str]]:
        return [[r.split("<")[1][:-1] for r in m.recipients] for m in self.hop.messages]

    @property
    def held(self) -> list[tuple[str, ...]]:
        entries = self.quarantine.list()
        return sorted(entry.envelope.recipients for entry in entries if isinstance(entry, Held))


@pytest.fixture
async def mailroom(tmp_path: Path) -> AsyncIterator[Mailroom]:
    async with FakeHop() as hop:
        yield Mailroom(tmp_path / "quarantine", hop)


async def test_one_recipient_held_and_the_others_delivered(mailroom: Mailroom) -> None:
    code, _ = await mailroom.send(ANN, EVE, BOB, rules=[HOLD_EVE])

    assert code == 250
    assert (mailroom.delivered, mailroom.held) == ([[ANN, BOB]], [(EVE,)])


async def test_a_refusal_for_some_is_held_so_that_nothing_is_lost(mailroom: Mailroom) -> None:
    code, _ = await mailroom.send(ANN, EVE, rules=[HOLD_EVE | {"action": "reject"}])

    assert code == 250
    assert (mailroom.delivered, mailroom.held) == ([[ANN]], [(EVE,)])


async def test_refusals_by_different_rules_are_one_refusal(mailroom: Mailroom) -> None:
    rules = [HOLD_EVE | {"action": "reject"}, {"name": "all", "action": "reject"}]

    code, text = await mailroom.send(ANN, EVE, rules=rules)

    assert code == 550
    assert "'all'" in text
    assert (mailroom.delivered, mailroom.held) == ([], [])


@pytest.mark.parametrize("answer", ["451 4.3.0 no room", ""], ids=["not now", "connection lost"])
async def test_what_was_held_is_taken_back_when_the_next_hop_takes_nothing(
    mailroom: Mailroom, answer: str
) -> None:
    mailroom.hop.answers = {".": answer}

    code, _ = await mailroom.send(ANN, EVE, rules=[HOLD_EVE])

    assert (code, mailroom.delivered, mailroom.held) == (451, [], [])


async def test_who_is_refused_after_others_were_served_has_it_held(mailroom: Mailroom) -> None:
    mailroom.hop.answers = {".": "554 5.7.1 not that"}

    code, _ = await mailroom.send(ANN, EVE, rules=[HOLD_EVE])

    assert code == 250
    assert (mailroom.delivered, mailroom.held) == ([], [(ANN,), (EVE,)])


async def test_discarded_mail_is_accepted_and_goes_nowhere(mailroom: Mailroom) -> None:
    code, _ = await mailroom.send(ANN, rules=[{"name": "d", "action": "discard"}])

    assert code == 250
    assert (mailroom.delivered, mailroom.held) == ([], [])


async def test_redirected_mail_goes_to_the_rule_s_address_alone(mailroom: Mailroom) -> None:
    rule = {"name": "r", "action": "redirect", "to": ["abuse@example.net"], "subject": "[caught]"}

    code, _ = await mailroom.send(ANN, BOB, rules=[rule])

    assert code == 250
    assert mailroom.delivered == [["abuse@example.net"]]
    assert b"\r\nSubject: [caught] greetings\r\n" in mailroom.hop.messages[0].content


async def test_a_redirection_that_is_refused_is_tried_again_by_the_sender(
    mailroom: Mailroom,
) -> None:
    mailroom.hop.answers = {".": "550 5.1.1 nobody of that name"}
    rule = {"name": "r", "action": "redirect", "to": ["abuse@example.net"]}

    code, _ = await mailroom.send(ANN, rules=[rule])

    assert (code, mailroom.delivered, mailroom.held) == (451, [], [])


async def test_a_subject_is_added_where_there_is_none(mailroom: Mailroom) -> None:
    rule = {"name": "t", "action": "tag", "subject": "[odd]"}

    await mailroom.send(ANN, subject=False, rules=[rule])

    content = mailroom.hop.messages[0].content
    assert b"\r\nSubject: [odd]\r\n" in content
    assert b"\r\nX-Mailward-Tag: clean\r\n" in content


@pytest.mark.parametrize(
    ("chosen", "code", "delivered", "held"),
    [
        ("tempfail", 451, [], []),
        ("deliver", 250, [[ANN]], []),
        ("quarantine", 250, [], [(ANN,)]),
    ],
)
async def test_when_nobody_can_scan_the_policy_says_what_happens(
    mailroom: Mailroom,
    chosen: str,
    code: int,
    delivered: list[list[str]],
    held: list[tuple[str, ...]],
) -> None:
    got, _ = await mailroom.send(ANN, text="DOWN", scanner_down=chosen)

    assert (got, mailroom.delivered, mailroom.held) == (code, delivered, held)
    if delivered:
        assert b"X-Mailward-Verdict: unscannable\r\n" in mailroom.hop.messages[0].content
