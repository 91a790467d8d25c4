"""TLS on both sides with programs that are not ours: swaks in front, Postfix behind."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.doors.test_tls import certificate
from tests.e2e import postfix

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _programs() -> None:
    if reason := postfix.why_not():
        pytest.skip(reason)
    if shutil.which("swaks") is None or os.system("perl -MNet::SSLeay -e 1") != 0:
        pytest.skip("needs swaks and Perl's Net::SSLeay, which are not installed")


async def test_swaks_and_postfix_speak_tls_with_the_gateway(tmp_path: Path) -> None:
    ours, theirs = certificate(tmp_path / "ours.pem"), certificate(tmp_path / "theirs.pem")
    more = (
        f"smtpd_tls_cert_file = {theirs}\nsmtpd_tls_key_file = {theirs}\n"
        "smtpd_tls_security_level = encrypt\n"
        "smtpd_tls_received_header = yes\n"
    )
    with postfix.running(more) as mailbox:
        gateway = Gateway(
            SmtpSettings(
                listen="127.0.0.1:0",
                next_hop=f"127.0.0.1:{mailbox.port}",
                hostname="mx.example",
                tls_certificate=ours,
                tls_required=True,
                next_hop_tls="verify",
                next_hop_ca_file=theirs,
            ),
            PolicySettings(),
            FakeScanner(),
            Quarantine(tmp_path / "quarantine", QuarantineSettings()),
        )
        await gateway.start()
        to = f"m1@{postfix.DOMAIN}"
        swaks = await asyncio.create_subprocess_exec(
            *("swaks", "--server", "127.0.0.1", "--port", str(gateway.port), "--tls"),
            *("--tls-verify", "--tls-ca-path", str(ours)),
            *("--from", "a@example.org", "--to", to, "--h-Subject", "hello"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        told, _ = await asyncio.wait_for(swaks.communicate(), 60)
        await gateway.stop(1.0)
        assert swaks.returncode == 0, told.decode()
        (mail,) = mailbox.delivered(1)
    assert b"(using TLSv1.3" in mail  # Postfix's own word
    assert b"by mx.example with ESMTPS id" in mail
