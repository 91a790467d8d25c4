"""Mailward as a milter of a real Sendmail."""

import asyncio
import smtplib
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mailward import main, testing
from mailward.config import Config
from mailward.doors.testing import FakeHop
from tests.e2e import sendmail, service
from tests.e2e.postfix import free_port

pytestmark = pytest.mark.real


def sample(name: str) -> bytes:
    return next(s.message for s in testing.samples() if s.name == name)


def send(port: int, *names: str) -> list[tuple[int, str]]:
    """The answers to the messages, in one session."""
    told = []
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo("client.example")
        for name in names:
            code, text = client.mail("sender@example.org")
            if code == 250:
                client.rcpt("m1@protected.example")
                code, text = client.data(sample(name))
            told.append((code, text.decode()))
    return told


async def test_sendmail_does_with_each_message_what_the_policy_says(
    starter: Config, tmp_path: Path
) -> None:
    if reason := sendmail.why_not():
        pytest.skip(reason)
    for entry in main.quarantine(starter).list():
        main.quarantine(starter).delete(entry.id)
    where = f"127.0.0.1:{free_port()}"
    doors = {
        "SMTP__ENABLED": "false",
        "MILTER__ENABLED": "true",
        "MILTER__LISTEN": f'["{where}"]',
    }
    host, _, port = where.partition(":")
    async with FakeHop() as hop, AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailward-sendmail-")))
        mailward = service.running(starter.state_dir, tmp_path, where, **doors)
        await asyncio.to_thread(stack.enter_context, mailward)
        server = sendmail.running(place, hop.port, f"inet:{port}@{host}")
        at = await asyncio.to_thread(stack.enter_context, server)
        names = ("clean", "EICAR in a zip", "program, called one", "encrypted archive")
        told = await asyncio.to_thread(send, at, *names)
        taken = [message.content for message in hop.messages]
    assert [code for code, _ in told] == [250, 550, 250, 250]
    assert "Message refused: it contains malware (Mailward.Test.EICAR" in told[1][1]
    assert len(main.quarantine(starter).list()) == 1
    clean, encrypted = taken
    assert b"X-Mailward-Verdict: clean\r\n" in clean
    assert clean.endswith(sample("clean").partition(b"\r\n\r\n")[2])
    assert b"\r\nX-Mailward-Tag: unscannable\r\n" in encrypted


async def test_when_mailward_is_gone_sendmail_lets_nothing_pass() -> None:
    if reason := sendmail.why_not():
        pytest.skip(reason)
    async with FakeHop() as hop, AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailward-sendmail-")))
        server = sendmail.running(place, hop.port, f"inet:{free_port()}@127.0.0.1")
        at = await asyncio.to_thread(stack.enter_context, server)
        try:
            ((code, _),) = await asyncio.to_thread(send, at, "clean")
        except smtplib.SMTPResponseException as e:
            code = e.smtp_code
        assert code // 100 == 4
    assert hop.messages == []
