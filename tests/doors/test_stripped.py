"""Parts cut out of mail on its way: what arrives, what is held, when all of it is held instead."""

from collections.abc import AsyncIterator, Mapping
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest

from mailward.definitions.model import Version
from mailward.doors.milter import MilterDoor
from mailward.doors.smtp import Gateway
from mailward.doors.testing import SET, FakeHop
from mailward.protect.held import Held
from mailward.protect.quarantine import Quarantine
from mailward.protect.stamp import Stamps, Vouched
from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import File, Risk, Verdict
from mailward.settings.doors import MilterSettings, SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.settings.scan import ScanSettings
from mailward.testing import Attachment, message
from tests.doors.milter_client import Server

BAD = Attachment("bad.exe", b"VIRUS")
GOOD = Attachment("good.bin", bytes(range(256)))
STRIP: dict[str, Any] = {"infected": "strip"}


class PartScanner:
    """Finds VIRUS in the part that it is in, and in the whole message where that is not encoded."""

    def __init__(self) -> None:
        self.scanned: list[bytes] = []

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        self.scanned.append(bytes(data))
        seen = parts(bytes(data), role=role, name=name, budget=Budget(ScanSettings()))
        found = [part for part in seen if isinstance(part, Part)]
        return Verdict(
            risks=tuple(Risk("Fake.Virus", "f", p.path, SET) for p in found if b"VIRUS" in p.data),
            files=tuple(File(p.path, p.name, "", 1) for p in found if p.name),
            parts=len(found),
            set=SET,
        )

    def sets(self) -> Mapping[str, int]:
        return {SET: 1}


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "quarantine", QuarantineSettings())


@pytest.fixture
def stamps(tmp_path: Path) -> Stamps:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    return Stamps(path)


async def send(
    hop: FakeHop, quarantine: Quarantine, mail: bytes, stamps: Stamps | None = None, **rules: Any
) -> tuple[int, PartScanner]:
    scanner = PartScanner()
    smtp = SmtpSettings(listen="127.0.0.1:0", next_hop=hop.address)
    chosen = PolicySettings.model_validate(rules)
    gateway = Gateway(smtp, chosen, scanner, quarantine, stamps=stamps)
    await gateway.start()
    try:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
            await client.mail("a@example.org", options=["BODY=8BITMIME"])
            await client.rcpt("b@example.net")
            try:
                return (await client.data(mail)).code, scanner
            except aiosmtplib.SMTPResponseException as e:
                return e.code, scanner
    finally:
        await gateway.stop(1.0)


async def test_what_is_left_arrives_and_the_whole_is_held_under_the_name_in_the_note(
    hop: FakeHop, quarantine: Quarantine
) -> None:
    mail = message(BAD, GOOD)

    code, scanner = await send(hop, quarantine, mail, **STRIP)

    (held,) = quarantine.list()
    content = hop.messages[0].content
    arrived = BytesParser(policy=policy.SMTP).parsebytes(content)
    texts = [part.get_content() for part in arrived.iter_parts()]
    assert code == 250
    assert f"held as {held.id}." in texts[1]
    assert "it contains Fake.Virus" in texts[1]
    assert "Name: bad.exe" in texts[1]
    assert texts[2] == bytes(range(256))
    assert arrived["X-Mailward-Verdict"] == "clean"
    assert arrived["X-Mailward-Stripped"] == held.id
    assert quarantine.message(held.id).endswith(mail)
    assert len(scanner.scanned) == 2  # what is left was scanned as well


async def test_a_rule_about_names_cuts_what_it_names(hop: FakeHop, quarantine: Quarantine) -> None:
    rule = {"name": "no programs", "action": "strip", "when": {"file_name": ["*.exe"]}}

    await send(hop, quarantine, message(Attachment("a.exe", b"x"), GOOD), rules=[rule])

    assert b"files of this kind are not accepted here" in hop.messages[0].content
    assert b"good.bin" in hop.messages[0].content


@pytest.mark.parametrize(
    "mail",
    [
        b"Subject: VIRUS\r\n\r\nhello\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\nVIRUS\r\n--a\r\n\r\nVIRUS\r\n--a--\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nVIRUS\r\n",
    ],
    ids=["in the header", "outside of parts too", "no end"],
)
async def test_what_cannot_be_cut_out_is_held_whole(
    hop: FakeHop, quarantine: Quarantine, mail: bytes
) -> None:
    code, _ = await send(hop, quarantine, mail, **STRIP)

    (held,) = quarantine.list()
    assert isinstance(held, Held)
    assert (code, hop.messages) == (250, [])
    assert "cannot be cut out" in held.decision.reason


@pytest.mark.parametrize("answer", ["451 4.3.0 later", "554 5.7.1 no", ""])
async def test_nothing_is_held_when_the_next_hop_does_not_take_what_is_left(
    hop: FakeHop, quarantine: Quarantine, answer: str
) -> None:
    hop.answers = {".": answer}

    code, _ = await send(hop, quarantine, message(BAD), **STRIP)

    assert code == int(answer[:3] or 451)
    assert quarantine.list() == []


async def test_a_milter_replaces_the_body(tmp_path: Path, quarantine: Quarantine) -> None:
    path = str(tmp_path / "milter.sock")
    settings = PolicySettings.model_validate(STRIP)
    door = MilterDoor(MilterSettings(listen=(path,)), settings, PartScanner(), quarantine)
    await door.start()
    try:
        async with await Server.connect(path) as server:
            await server.negotiate()
            server.client()
            whole = await server.message(b"Content-Type: application/zip\n\nVIRUS\n")
            parted = await server.message(message(BAD, GOOD).replace(b"\r\n", b"\n"))
    finally:
        await door.stop(1.0)

    (replaced,) = [p for p in whole.asked if p[:1] == b"b"]
    assert b"held as" in replaced
    assert b"m\0\0\0\1content-type\0 text/plain; charset=us-ascii\0" in whole.asked
    (replaced,) = [p for p in parted.asked if p[:1] == b"b"]
    assert b"Fake.Virus" in replaced
    assert b"good.bin" in replaced
    assert not [p for p in parted.asked if p[:1] == b"m"]
    assert (whole.answer, parted.answer) == (b"c", b"c")
    assert len(quarantine.list()) == 2


# --- stamps -------------------------------------------------------------------------------------


async def test_what_one_mailward_has_scanned_the_next_does_not(
    hop: FakeHop, quarantine: Quarantine, stamps: Stamps
) -> None:
    await send(hop, quarantine, message(GOOD), stamps)

    code, second = await send(hop, quarantine, hop.messages[0].content, stamps)

    assert (code, second.scanned) == (250, [])
    arrived = BytesParser(policy=policy.SMTP).parsebytes(hop.messages[1].content)
    assert (arrived["X-Mailward-Verdict"], arrived["X-Mailward-Set"]) == ("clean", SET)
    assert len(arrived.get_all("X-Mailward-Scan", [])) == 1


@pytest.mark.parametrize("older", [True, False])
async def test_a_stamp_of_an_older_set_or_another_key_is_no_reason_not_to_scan(
    hop: FakeHop, quarantine: Quarantine, stamps: Stamps, tmp_path: Path, older: bool
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"o" * 32)
    other.chmod(0o600)
    forger = stamps if older else Stamps(other)
    mail = message(BAD)
    version = Version.parse("20251123.007" if older else SET)

    code, scanner = await send(
        hop, quarantine, forger.make(mail, Vouched.CLEAN, version) + mail, stamps
    )

    assert code == 550
    assert len(scanner.scanned) == 1


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"file_name": ["*.bin"]}, 550),
        ({"content_type": ["*"]}, 550),
        ({"ambiguous": False}, 550),
        ({"ambiguous": True}, 250),
        ({"own_password": True}, 250),
    ],
)
async def test_a_rule_that_asks_what_a_scan_alone_tells_is_asked_all_the_same(
    hop: FakeHop, quarantine: Quarantine, stamps: Stamps, when: dict[str, Any], expected: int
) -> None:
    rule = {"name": "asks", "action": "reject", "when": when}
    mail = message(GOOD)
    stamped = stamps.make(mail, Vouched.CLEAN, Version.parse(SET)) + mail

    code, scanner = await send(hop, quarantine, stamped, stamps, rules=[rule])

    assert (code, len(scanner.scanned)) == (expected, 1)


async def test_what_was_released_is_not_caught_again(
    hop: FakeHop, quarantine: Quarantine, stamps: Stamps
) -> None:
    mail = message(BAD)
    stamped = stamps.make(mail, Vouched.RELEASED, Version.parse(SET)) + mail

    code, scanner = await send(hop, quarantine, stamped, stamps)

    assert (code, scanner.scanned, len(hop.messages)) == (250, [], 1)
