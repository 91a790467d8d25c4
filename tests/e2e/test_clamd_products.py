"""Products that speak to clamd, unchanged, with Mailward behind them."""

import asyncio
import io
import json
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import clamd as python_client
import pytest

from mailward import testing
from mailward.config import Config
from mailward.doors.testing import FakeHop
from tests.e2e import amavis, clamd, exim, postfix, service
from tests.e2e.postfix import free_port

pytestmark = pytest.mark.real

_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that the users of other programs can reach."""
    with tempfile.TemporaryDirectory(prefix="mailward-products-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def door(
    place: Path, starter: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, int]]:
    """Mailward with its clamd door alone: a Unix socket, and a port."""
    folder = tmp_path_factory.mktemp("mailward")
    path, port = place / "clamd.sock", free_port()
    doors = {
        "SMTP__ENABLED": "false",
        "CLAMD__ENABLED": "true",
        "CLAMD__LISTEN": f'["{path}", "127.0.0.1:{port}"]',
        "CLAMD__SOCKET_MODE": "666",
    }
    with service.running(starter.state_dir, folder, str(path), **doors):
        yield path, port


def sample(name: str) -> bytes:
    return next(s.message for s in testing.samples() if s.name == name)


@contextmanager
def program(place: Path, answers: str, *command: str) -> Iterator[None]:
    """Run it in the foreground, as long as the test needs it."""
    name = Path(command[0]).name
    with (place / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                service.connect(answers).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    text = (place / f"{name}.log").read_text("utf-8", "replace")
                    raise TimeoutError(f"{name} does not answer:\n{text[-2000:]}") from None
                time.sleep(0.05)
        yield
    finally:
        process.terminate()  # killed, some leave processes of theirs behind
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_clamav_milter_refuses_through_postfix_what_mailward_finds(
    place: Path, door: tuple[Path, int]
) -> None:
    if reason := clamd.why_not("clamav-milter") or postfix.why_not():
        pytest.skip(reason)
    path = place / "clamav-milter.sock"
    conf = place / "clamav-milter.conf"
    conf.write_text(
        f"MilterSocket {path}\nMilterSocketMode 666\nForeground yes\nUser root\n"
        f"ClamdSocket unix:{door[0]}\nOnInfected Reject\nRejectMsg found %v\n"
        f"AddHeader Replace\nTemporaryDirectory {place}\n"
    )
    more = f"smtpd_milters = unix:{path}\nmilter_default_action = tempfail\n"
    command = ("/usr/sbin/clamav-milter", "-c", str(conf))
    with program(place, str(path), *command), postfix.running(more) as server:
        answers = []
        for name in ("EICAR in a zip", "encrypted archive", "clean"):
            with smtplib.SMTP("127.0.0.1", server.port) as client:
                client.ehlo("client.example")
                client.mail("a@example.org")
                client.rcpt(f"m1@{postfix.DOMAIN}")
                code, text = client.data(sample(name))
                answers.append((code, text.split()[-1] if code != 250 else b""))
        (mail,) = server.delivered(1)
    assert answers[0][0] == 550
    assert answers[0][1].startswith(b"Mailward.Test.EICAR")
    assert answers[1:] == [(550, b"Heuristics.Encrypted.Zip"), (250, b"")]
    assert b"\nX-Virus-Status: Clean\n" in mail


_RSPAMD = """
options {{
  filters = "";
  pidfile = "{place}/rspamd.pid";
  tempdir = "{place}";
  hs_cache_dir = "{place}";
  control_socket = "{place}/rspamd.ctl mode=0600";
  url_tld = "{place}/tld.dat";
  dns {{ nameserver = ["127.0.0.1:1"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
modules {{ path = "/usr/share/rspamd/plugins/antivirus.lua"; }}
antivirus {{
  clamav {{
    type = "clamav"; symbol = "CLAM_VIRUS"; servers = "{clamd}"; scan_mime_parts = false;
  }}
}}
"""


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_rspamd_antivirus_module_understands_every_verdict(
    over: str, place: Path, door: tuple[Path, int]
) -> None:
    if shutil.which("rspamd") is None or shutil.which("rspamc") is None:
        pytest.skip("needs Rspamd, which is not installed")
    port = free_port()
    (place / "tld.dat").write_text("org\nexample\n")  # the real list takes it minutes
    where = str(door[0]) if over == "unix" else f"127.0.0.1:{door[1]}"
    conf = place / "rspamd.conf"
    conf.write_text(_RSPAMD.format(place=place, port=port, clamd=where))

    def symbols(name: str) -> dict[str, list[str]]:
        done = subprocess.run(
            ["rspamc", "-h", f"127.0.0.1:{port}", "--json"],
            input=sample(name),
            capture_output=True,
            timeout=60,
            check=True,
        )
        found = json.loads(done.stdout)["symbols"]
        return {symbol: each["options"] for symbol, each in found.items()}

    with program(place, f"127.0.0.1:{port}", "/usr/bin/rspamd", "-f", "-i", "-c", str(conf)):
        infected, encrypted, clean = map(symbols, ("EICAR attached", "encrypted archive", "clean"))
    assert infected["CLAM_VIRUS"][0].startswith("Mailward.Test.EICAR")
    assert encrypted == {"CLAM_VIRUS_ENCRYPTED": ["File is encrypted: Heuristics.Encrypted.Zip"]}
    assert clean == {}


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_exim_refuses_what_mailward_finds(over: str, place: Path, door: tuple[Path, int]) -> None:
    if reason := exim.why_not():
        pytest.skip(reason)
    folder = place / f"exim-{over}"
    folder.mkdir()
    where = str(door[0]) if over == "unix" else f"127.0.0.1 {door[1]}"

    def answer(name: str) -> str:
        return exim.answer(folder, where, sample(name))

    assert answer("EICAR in a zip in a zip").startswith("550 malware: Mailward.Test.EICAR")
    assert answer("encrypted archive") == "550 malware: Heuristics.Encrypted.Zip"
    assert answer("clean").startswith("250 OK")


def test_exim_has_mail_tried_again_when_nobody_scans(place: Path) -> None:
    if reason := exim.why_not():
        pytest.skip(reason)
    folder = place / "exim-alone"
    folder.mkdir()
    assert exim.answer(folder, str(place / "nobody.sock"), sample("clean")).startswith("451 ")


async def test_amavis_refuses_what_mailward_finds_and_hands_on_the_rest(
    place: Path, door: tuple[Path, int]
) -> None:
    if reason := amavis.why_not():
        pytest.skip(reason)
    port = free_port()
    folder = place / "amavis"

    def answers() -> list[tuple[int, str]]:
        told = []
        for name in ("EICAR in a zip in a zip", "encrypted archive", "clean"):
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo("client.example")
                client.mail("a@example.org")
                client.rcpt("b@example.net")
                code, text = client.data(sample(name))
                told.append((code, text.decode()))
        return told

    async with FakeHop() as hop:
        command = amavis.command(folder, port, hop.port, str(door[0]))
        async with AsyncExitStack() as stack:
            running = program(place, f"127.0.0.1:{port}", *command)
            await asyncio.to_thread(stack.enter_context, running)
            told = await asyncio.to_thread(answers)
    log = (folder / "home/amavis.log").read_text()
    assert [code for code, _ in told] == [554, 554, 250], log
    assert "INFECTED: Mailward.Test.EICAR" in told[0][1]
    assert "INFECTED: Heuristics.Encrypted.Zip" in told[1][1]
    (taken,) = hop.messages
    assert taken.content.endswith(sample("clean").partition(b"\r\n\r\n")[2])
    assert "Mailward FAILED" not in log


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_the_python_client_is_content(over: str, door: tuple[Path, int], place: Path) -> None:
    made = (
        python_client.ClamdUnixSocket(str(door[0]))
        if over == "unix"
        else python_client.ClamdNetworkSocket("127.0.0.1", door[1])
    )
    assert made.ping() == "PONG"
    assert made.version().startswith("Mailward ")
    assert "STATE: VALID PRIMARY" in made.stats()
    assert made.reload() == "RELOADING"
    assert made.instream(io.BytesIO(sample("clean"))) == {"stream": ("OK", None)}
    status, name = made.instream(io.BytesIO(sample("EICAR attached")))["stream"]
    assert (status, name.removesuffix(".SHA256")) == ("FOUND", "Mailward.Test.EICAR")
    file = place / "clean.eml"
    file.write_bytes(sample("clean"))
    expected = ("OK", None) if over == "unix" else ("ERROR", "Access denied.")
    assert made.scan(str(file)) == {str(file): expected}
