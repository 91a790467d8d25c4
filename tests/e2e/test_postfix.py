"""Mailward in front of a real Postfix: each message is delivered, rejected or in quarantine."""

import asyncio
import shutil
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward import main
from mailward.config import Config
from mailward.doors import headers
from mailward.doors.relay import Relay
from mailward.doors.routes import Routes
from mailward.rules import Action
from mailward.settings.protect import PolicySettings
from tests.e2e import postfix, through

pytestmark = pytest.mark.real

EVERY = 10
CLIENTS = 8


@pytest.fixture(scope="module")
def started() -> Iterator[postfix.Postfix]:
    if reason := postfix.why_not():
        pytest.skip(reason)
    with postfix.running() as instance:
        yield instance


@pytest.fixture(scope="module")
def installed(started: postfix.Postfix, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return through.protected(tmp_path_factory.mktemp("mailward"), f"127.0.0.1:{started.port}")


@pytest.fixture
def mailbox(started: postfix.Postfix) -> postfix.Postfix:
    started.empty()
    return started


@pytest.fixture
def config(installed: Config, mailbox: postfix.Postfix) -> Config:
    quarantine = main.quarantine(installed)
    for entry in quarantine.list():
        quarantine.delete(entry.id)
    return installed


def with_policy(config: Config, **actions: Action) -> Config:
    return config.model_copy(update={"policy": PolicySettings.model_validate(actions)})


@pytest.mark.shared
def test_real_mail_arrives_to_the_message_and_to_the_byte(
    mailbox: postfix.Postfix, shared: Path, config: Config
) -> None:
    messages = through.samples() + through.corpus(shared, EVERY)

    config = with_policy(config, unscannable=Action.QUARANTINE)
    account = through.account(config, mailbox, messages, CLIENTS)

    assert account.sent == len(messages) >= 300
    assert account.sent == account.delivered + account.rejected + account.quarantined
    assert set(account.answers) == {250, 550}
    assert account.astray == ()
    assert account.changed == ()
    assert account.rejected >= 4  # the samples with EICAR
    assert account.quarantined >= 1


async def test_each_recipient_is_answered_by_postfix(
    mailbox: postfix.Postfix, config: Config
) -> None:
    good, bad = f"m1@{postfix.DOMAIN}", f"unknown@{postfix.DOMAIN}"

    def send(port: int) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", port) as client:
            return client.sendmail("", [good, bad, "a@elsewhere.example"], b"\r\nhello\r\n")

    async with main.Service(config) as service:
        refused = await asyncio.to_thread(send, service.gateway.port)

    assert {to: code for to, (code, _) in refused.items()} == {bad: 550, "a@elsewhere.example": 554}
    assert b"No such user" in refused[bad][1]
    assert len(mailbox.delivered(1)) == 1


async def test_held_mail_is_released_into_the_mailbox(
    mailbox: postfix.Postfix, config: Config
) -> None:
    config = with_policy(config, infected=Action.QUARANTINE)
    infected = through.samples()[1]
    assert await through.through_gateway(config, [infected], 1) == [250]
    quarantine = main.quarantine(config)
    (held,) = quarantine.list()
    relay = Relay(Routes.of(config.smtp), "mx.example")

    refused = await quarantine.release(
        held.id,
        lambda envelope, message: relay.deliver(envelope, headers.released(held.id) + message),
    )

    relay.close()
    assert refused == {}
    (mail,) = mailbox.delivered(1)
    assert f"\nX-Mailward-Released: {held.id}\n".encode() in mail
    assert quarantine.list() == []


@pytest.mark.skipif(
    shutil.which("smtp-source", path="/usr/sbin") is None, reason="needs Postfix's smtp-source"
)
async def test_postfix_own_client_is_understood(mailbox: postfix.Postfix, config: Config) -> None:
    async with main.Service(config) as service:
        source = await asyncio.create_subprocess_exec(
            *("/usr/sbin/smtp-source", "-s", "5", "-m", "50", "-l", "20000", "-d"),
            *("-f", "a@example.org", "-t", f"m1@{postfix.DOMAIN}"),
            f"127.0.0.1:{service.gateway.port}",
        )
        assert await asyncio.wait_for(source.wait(), 60) == 0
    assert len(mailbox.delivered(50)) == 50
