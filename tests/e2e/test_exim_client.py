"""Exim as a client: it uses BDAT when it is offered, and ends its half of the connection early."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.e2e import exim

pytestmark = pytest.mark.real


@pytest.mark.parametrize("chunking", [True, False], ids=["BDAT", "DATA"])
async def test_exim_is_understood(chunking: bool, tmp_path: Path) -> None:
    if reason := exim.why_not():
        pytest.skip(reason)
    body = b"".join(b".%d hello\r\n" % number for number in range(20_000))
    message, to = b"Subject: hello\r\n\r\n" + body, ("b@example.net", "c@example.net")
    quarantine = Quarantine(tmp_path, QuarantineSettings())
    with tempfile.TemporaryDirectory(prefix="mailward-exim-") as name:  # where its user can go
        async with FakeHop() as hop:
            smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=hop.address)
            gateway = Gateway(smtp, PolicySettings(), FakeScanner(), quarantine)
            await gateway.start()
            log = await asyncio.to_thread(
                lambda: exim.send(Path(name), gateway.port, message, *to, chunking=chunking)
            )
            await gateway.stop(1.0)
    assert len(hop.messages) == 1, log
    assert hop.messages[0].content.endswith(b"\r\n\r\n" + body)
    assert len(hop.messages[0].recipients) == 2
    assert log.count(" => ") + log.count(" -> ") == 2
    assert log.count(" K ") == (2 if chunking else 0)  # Exim's sign for CHUNKING
