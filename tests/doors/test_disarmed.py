"""Active content taken out of mail on its way: what arrives, what is held, what is stripped."""

from collections.abc import AsyncIterator, Mapping
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from mailward.definitions.model import ShardKind
from mailward.doors.milter import MilterDoor
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop
from mailward.protect.held import Held
from mailward.protect.quarantine import Quarantine
from mailward.scan.engine import Source
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet, prepare
from mailward.scan.scanner import Scanner
from mailward.scan.verdict import Verdict
from mailward.settings.doors import MilterSettings, SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.settings.scan import ScanSettings
from mailward.testing import Attachment, FakeEngine, inert_executable, message, zipped
from tests.doors.milter_client import Server
from tests.protect.test_disarm import PROJECT, document, pdf

MACROS = Attachment("figures.docm", document(others={"word/vbaProject.bin": PROJECT}))
PROGRAM = Attachment("run.exe", inert_executable())
_VIRUS = b"VI\x01RUS"
"""The note quotes what was found, and must not be found itself."""
GOOD = Attachment("good.bin", bytes(range(256)))
DISARM: dict[str, Any] = {"rules": [{"name": "disarmed", "action": "disarm"}]}


class RealScanner:
    """Scans with the fake engine, in this process."""

    def __init__(self, folder: Path) -> None:
        (folder / "shard").write_bytes(_VIRUS)
        source = Source("s", ShardKind.HASHES, folder / "shard")
        prepare([source], (FakeEngine(),), folder / "prepared")
        loaded = LoadedSet.load("20261123.001", folder / "prepared", (FakeEngine(),))
        self._scanner = Scanner(loaded, ScanSettings())
        self.scanned: list[bytes] = []

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        self.scanned.append(bytes(data))
        return self._scanner.scan(bytes(data), role=role, name=name)

    def sets(self) -> Mapping[str, int]:
        return {"20261123.001": 1}


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
def scanner(tmp_path: Path) -> RealScanner:
    return RealScanner(tmp_path)


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine", QuarantineSettings())


async def send(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner, mail: bytes, **rules: Any
) -> EmailMessage | None:
    smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=hop.address)
    chosen = PolicySettings.model_validate(rules or DISARM)
    gateway = Gateway(smtp, chosen, scanner, quarantine)
    await gateway.start()
    try:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
            await client.sendmail("a@example.org", ["b@example.net"], mail)
    finally:
        await gateway.stop(1.0)
    if not hop.messages:
        return None
    arrived = BytesParser(policy=policy.SMTP).parsebytes(hop.messages[0].content)
    assert isinstance(arrived, EmailMessage)
    return arrived


async def test_a_document_arrives_without_its_macros_and_the_whole_is_held(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner
) -> None:
    mail = message(MACROS, GOOD)

    arrived = await send(hop, quarantine, scanner, mail)

    (held,) = quarantine.list()
    assert arrived is not None
    _, document, good, note = arrived.iter_parts()
    assert document.get_filename() == "figures.docm"
    assert b"vbaProject" not in document.get_content()
    assert good.get_content() == bytes(range(256))
    assert "figures.docm: without macros" in note.get_content()
    assert f"held as {held.id}." in note.get_content()
    assert arrived["X-Mailward-Disarmed"] == held.id
    assert quarantine.message(held.id).endswith(mail)
    assert scanner.scanned[-1] in hop.messages[0].content  # what arrives is what was scanned


async def test_what_cannot_be_disarmed_is_stripped(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner
) -> None:
    archive = Attachment("a.zip", zipped(PROGRAM))
    virus = Attachment("v.txt", _VIRUS)

    arrived = await send(hop, quarantine, scanner, message(PROGRAM, archive, virus, MACROS))

    assert arrived is not None
    parts = list(arrived.iter_parts())
    assert [p.get_filename() for p in parts] == [None, None, None, None, "figures.docm", None]
    assert all("removed a part" in part.get_content() for part in parts[1:4])
    assert inert_executable() not in hop.messages[0].content
    assert len(quarantine.list()) == 1


async def test_mail_with_nothing_active_goes_through_as_it_is(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner
) -> None:
    mail = message(GOOD, Attachment("a.pdf", pdf("nothing")))

    arrived = await send(hop, quarantine, scanner, mail)

    assert arrived is not None
    assert hop.messages[0].content.endswith(mail)
    assert arrived["X-Mailward-Disarmed"] is None
    assert quarantine.list() == []


async def test_a_message_that_cannot_be_taken_apart_is_held_whole(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner
) -> None:
    mail = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n<script>x</script>\r\n"

    arrived = await send(hop, quarantine, scanner, mail)

    (held,) = quarantine.list()
    assert arrived is None
    assert isinstance(held, Held)
    assert "cannot be cut out" in held.decision.reason


async def test_a_broken_signature_is_mentioned(
    hop: FakeHop, quarantine: Quarantine, scanner: RealScanner
) -> None:
    mail = message(MACROS).replace(b"multipart/mixed", b"multipart/signed")

    await send(hop, quarantine, scanner, mail)

    assert b"signature of this message does not hold" in hop.messages[0].content


async def test_a_milter_replaces_body_and_type(
    tmp_path: Path, quarantine: Quarantine, scanner: RealScanner
) -> None:
    path = str(tmp_path / "milter.sock")
    door = MilterDoor(
        MilterSettings(listen=(path,)), PolicySettings.model_validate(DISARM), scanner, quarantine
    )
    page = b"MIME-Version: 1.0\nContent-Type: text/html\n\n<p>hi</p><script>evil()</script>\n"
    await door.start()
    try:
        async with await Server.connect(path) as server:
            await server.negotiate()
            server.client()
            wrapped = await server.message(page)
            mixed = await server.message(message(MACROS).replace(b"\r\n", b"\n"))
    finally:
        await door.stop(1.0)

    (body,) = [p for p in wrapped.asked if p[:1] == b"b"]
    (type_,) = [p for p in wrapped.asked if p[:1] == b"m"]
    assert b"evil" not in body
    assert b"content-type\0" in type_
    assert b"multipart/mixed" in type_
    (body,) = [p for p in mixed.asked if p[:1] == b"b"]
    assert b"without macros" in body
    assert not [p for p in mixed.asked if p[:1] == b"m"]
