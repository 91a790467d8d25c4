"""Between two real Postfixes, as a before-queue filter: XFORWARD in and out; swaks' XCLIENT."""

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeScanner
from mailward.protect.events import Event
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from tests.e2e import postfix

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _programs() -> None:
    if reason := postfix.why_not():
        pytest.skip(reason)
    if shutil.which("swaks") is None:
        pytest.skip("needs swaks, which is not installed")


def gateway_to(mailbox: postfix.Postfix, folder: Path, events: list[Event]) -> Gateway:
    smtp = SmtpSettings(
        listen="127.0.0.1:0",
        next_hop=f"127.0.0.1:{mailbox.port}",
        hostname="mx.example",
        xforward=("127.0.0.1",),
        xclient=("127.0.0.1",),
    )
    quarantine = Quarantine(folder / "quarantine", QuarantineSettings())
    return Gateway(smtp, PolicySettings(), FakeScanner(), quarantine, events.append)


async def swaks(port: int, body: str = "hello", **xclient: str) -> tuple[int, str]:
    """Exit code, and what it says."""
    options = [word for name, value in xclient.items() for word in (f"--xclient-{name}", value)]
    process = await asyncio.create_subprocess_exec(
        *("swaks", "--server", "127.0.0.1", "--port", str(port), "--helo", "swaks.example"),
        *("--from", "a@example.org", "--to", f"m1@{postfix.DOMAIN}", "--body", body, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


async def test_the_client_of_the_first_postfix_is_known_to_all_three(tmp_path: Path) -> None:
    events: list[Event] = []
    trusting = "smtpd_authorized_xforward_hosts = 127.0.0.0/8\n"
    with postfix.running(trusting) as mailbox:
        gateway = gateway_to(mailbox, tmp_path, events)
        await gateway.start()
        more = (
            f"smtpd_proxy_filter = 127.0.0.1:{gateway.port}\n"
            "smtpd_proxy_options = speed_adjust\n"
            "smtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
            "smtpd_client_port_logging = no\n"
        )
        with postfix.running(more) as front:
            client = {"addr": "192.0.2.7", "name": "spike.example"}
            code, said = await swaks(front.port, **client)
            assert code == 0, said
            refused, text = await swaks(front.port, "VIRUS", **client)
            (mail,) = mailbox.delivered(1)
        await gateway.stop(1.0)
        log = mailbox.log()

    assert refused != 0
    assert "550 5.7.1 Message refused: it contains malware (Fake.Virus)" in text
    assert [(event.client, event.helo) for event in events] == [("192.0.2.7", "swaks.example")] * 2
    assert b"Received: from swaks.example ([192.0.2.7])\n\tby mx.example" in mail
    assert re.search(rb"Received: from swaks\.example .*\[192\.0\.2\.7\]\)?\n\tby mailbox", mail)
    assert re.search(r"orig_client=\S*\[192\.0\.2\.7\]", log)


async def test_swaks_gives_itself_out_as_another_client(tmp_path: Path) -> None:
    events: list[Event] = []
    with postfix.running() as mailbox:
        gateway = gateway_to(mailbox, tmp_path, events)
        await gateway.start()
        client = {"addr": "2001:db8::7", "helo": "spike.example", "login": "ann@example.org"}
        code, said = await swaks(gateway.port, **client)
        assert code == 0, said
        (mail,) = mailbox.delivered(1)
        await gateway.stop(1.0)

    (event,) = events
    assert (event.client, event.helo, event.login) == (
        "2001:db8::7",
        "spike.example",
        "ann@example.org",
    )
    assert b"Received: from spike.example ([IPv6:2001:db8::7])" in mail
