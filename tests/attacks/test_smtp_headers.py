"""Nobody outside can speak in Mailward's name, or show the scanner another message."""

import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path

import aiosmtplib
import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

ATTACHED = (
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n'
    b"Content-Disposition: attachment; filename=a.exe\r\n\r\nMZ\r\n--b--\r\n"
)


@pytest.fixture
def scanner() -> FakeScanner:
    return FakeScanner()


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def gateway(hop: FakeHop, scanner: FakeScanner, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = SmtpSettings(listen="127.0.0.1:0", next_hop=hop.address)
    quarantine = Quarantine(tmp_path, QuarantineSettings())
    gateway = Gateway(settings, PolicySettings(), scanner, quarantine)
    await gateway.start()
    yield gateway
    await gateway.stop(1.0)


async def send(gateway: Gateway, message: bytes) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port, start_tls=False) as client:
        await client.sendmail("a@example.org", ["b@example.net"], message)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b" X-Mailward-Verdict: infected\r\n",
        b"\tfolded into what stands before\r\n",
        b"X-Mailward-Verdict: infected\r\n",
        b"x-mailward-VERDICT : infected\r\n folded\r\n",
        b"X-Mailward-Verdict\r\n",
        b"Subject: x\r\nX-Mailward-Tag: none\r\n\tX-Mailward-Verdict: infected\r\n",
        b"no header field\r\nX-Mailward-Verdict: infected\r\n",
        b"From someone Mon Nov 23\r\nX-Mailward-Verdict: infected\r\n",
    ],
)
async def test_what_is_scanned_is_what_is_delivered_and_the_verdict_is_ours(
    gateway: Gateway, hop: FakeHop, scanner: FakeScanner, start: bytes
) -> None:
    await send(gateway, start + ATTACHED)

    delivered = hop.messages[0].content
    ours = b"X-Mailward-Verdict: clean\r\nX-Mailward-Set: 20261123.007\r\n"
    assert delivered == ours + scanner.scanned[0]
    read = message_from_bytes(delivered, policy=SMTP)
    assert read.get_all("X-Mailward-Verdict") == ["clean"]
    assert read.get_all("X-Mailward-Tag") is None
    scanned = message_from_bytes(scanner.scanned[0], policy=SMTP)
    assert [p.get_filename() for p in read.walk()] == [p.get_filename() for p in scanned.walk()]


async def test_names_of_risks_come_from_definitions_and_add_no_header_or_reply(
    gateway: Gateway, scanner: FakeScanner
) -> None:
    with pytest.raises(aiosmtplib.SMTPDataError) as caught:
        await send(gateway, b"\r\nVIRUS\r\n")

    assert caught.value.code == 550
    assert caught.value.message == "5.7.1 Message refused: it contains malware (Fake.Virus)"
    await asyncio.sleep(0)
