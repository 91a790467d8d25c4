"""Postfix's LMTP server for tests, smtp-sink, as the next hop."""

import asyncio
import os
import shutil
from pathlib import Path

import aiosmtplib
import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.e2e.postfix import free_port

pytestmark = pytest.mark.real

SMTP_SINK = "/usr/sbin/smtp-sink"


async def test_a_real_lmtp_server_gets_the_message_for_all(tmp_path: Path) -> None:
    if shutil.which(SMTP_SINK) is None:
        pytest.skip("needs smtp-sink, which is part of Postfix")
    port = free_port()
    user = ("-u", "root") if os.geteuid() == 0 else ()  # it wants to be told
    sink = await asyncio.create_subprocess_exec(
        *(SMTP_SINK, *user, "-L", "-8", "-d", f"{tmp_path}/taken.", f"127.0.0.1:{port}", "10"),
    )
    smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=f"lmtp:127.0.0.1:{port}")
    quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
    gateway = Gateway(smtp, PolicySettings(), FakeScanner(), quarantine)
    await gateway.start()
    try:
        while sink.returncode is None:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.02)
        recipients = [f"m{number}@example.net" for number in range(3)]
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
            for _ in range(2):
                refused, _ = await client.sendmail("a@example.org", recipients, b"\r\nhello\r\n")
                assert refused == {}
    finally:
        await gateway.stop(1.0)
        sink.terminate()
        await sink.wait()
    taken = [path.read_text() for path in tmp_path.glob("taken.*")]
    assert len(taken) == 2
    assert all(text.count("X-Rcpt-Args: ") == 3 for text in taken)
    assert all("X-Mailward-Verdict: clean" in text for text in taken)
    assert quarantine.list() == []
