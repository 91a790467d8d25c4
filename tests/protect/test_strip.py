"""Parts cut out of messages: what stays is untouched, what is doubtful is left to others."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.protect.strip import at_fault, without
from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, forwarded, message

VIRUS = Risk("Test.Virus", "fake", "message/2:a.zip/b.exe", "1")


def note(label: str, signed: bool) -> str:
    return f"part {label} was removed{', which breaks its signature' if signed else ''}"


def parsed(content: bytes) -> EmailMessage:
    mail = BytesParser(policy=policy.SMTP).parsebytes(content)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def test_a_note_takes_the_place_of_the_part_and_the_rest_stays_byte_for_byte() -> None:
    mail = message(Attachment("e.com", EICAR), Attachment("kept.bin", bytes(range(256))))

    cut = without(mail, ["2"], note)

    assert cut is not None
    assert EICAR not in cut
    before, after = parsed(mail), parsed(cut)
    assert [p.get_content_type() for p in after.iter_parts()][1] == "text/plain"
    kept = [list(m.iter_parts())[2].as_bytes() for m in (before, after)]
    assert kept[0] == kept[1]
    assert list(after.iter_parts())[1].get_content() == "part 2 was removed"
    assert after.items() == before.items()


def test_a_message_that_is_one_part_becomes_the_note() -> None:
    mail = (
        b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: application/zip;\r\n\tname=a.zip\r\nContent-Transfer-Encoding: base64\r\n"
        b"X-After: kept\r\n\r\nUEsDBA==\r\n"
    )

    cut = without(mail, ["1"], note)

    assert cut is not None
    assert parsed(cut).get_content_type() == "text/plain"
    assert parsed(cut).get_content() == "part 1 was removed\r\n"
    assert cut.startswith(b"From: a@example.org\r\nSubject: x\r\nX-After: kept\r\n")


def test_inner_parts_can_be_cut_alone() -> None:
    inner = b"\r\n--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    mail = (
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
        b"Content-Type: multipart/alternative; boundary=b\r\n"
        + inner
        + b"--a\r\n\r\nthree\r\n--a--"
        b"\r\n"
    )

    cut = without(mail, ["1.2"], note)

    assert cut is not None
    assert cut.replace(b"part 1.2 was removed", b"two").replace(
        b"Content-Type: text/plain; charset=us-ascii\r\n\r\ntwo", b"\r\ntwo"
    ) == mail  # fmt: skip


def test_a_forwarded_message_goes_as_a_whole() -> None:
    mail = forwarded(message(Attachment("e.com", EICAR)))
    labels = at_fault(Verdict(risks=(Risk("T", "f", "message/2/2:e.com", "1"),)))

    assert labels == frozenset(["2"])
    assert EICAR not in (without(mail, labels, note) or EICAR)


def test_signed_parts_are_said_to_be() -> None:
    mail = (
        b"Content-Type: multipart/signed; boundary=a\r\n\r\n--a\r\n\r\ntext\r\n--a\r\n"
        b"Content-Type: application/pkcs7-signature\r\n\r\nxx\r\n--a--\r\n"
    )

    assert b"breaks its signature" in (without(mail, ["1"], note) or b"")


def test_which_parts_are_at_fault() -> None:
    locked = Unopened("message/3.1:x.zip/y", Reason.ENCRYPTED)
    encoded = Risk("T", "f", "message/4.utf-8", "1")
    whole = Risk("T", "f", "message", "1")

    assert at_fault(Verdict(risks=(VIRUS, encoded), unopened=(locked,))) == frozenset(
        ["2", "3.1", "4"]
    )
    assert at_fault(Verdict(risks=(VIRUS, whole))) == frozenset(["2"])
    assert at_fault(Verdict(), ["message/5:a.exe"]) == frozenset(["5"])


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"no header",
        b"Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\nContent-Type: multipart/mixed; boundary=b"
        b"\r\n\r\n--a\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n--a--\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--abc\r\n\r\n--a--\r\n",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r--a\r\n\r\n--a--\r\n",
    ],
    ids=["empty", "none", "no boundary", "unclosed", "two", "prefix", "bare CR"],
)
def test_where_clients_disagree_nothing_is_cut(mail: bytes) -> None:
    assert without(mail, ["2"], note) is None


def test_a_part_that_is_not_there_is_not_cut() -> None:
    assert without(message(), ["7"], note) is None
    assert without(message(), [], note) is None


@given(st.binary(max_size=300), st.sets(st.sampled_from(["1", "2", "1.1"]), max_size=2))
def test_nothing_raises_on_hostile_mail(content: bytes, labels: set[str]) -> None:
    without(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + content, labels, note)
    without(content, labels, note)


@pytest.mark.shared
def test_in_real_mail_every_part_can_be_cut_and_nothing_of_it_is_left() -> None:
    folder = Path(__file__).parents[2].parent / "shared/data/mail/phishing/email"
    if not folder.is_dir():
        pytest.skip("needs the collection of real mail beside the project")
    cut_at_all = 0
    paths = sorted(folder.glob("*.eml"))[:200]
    for path in paths:
        mail = path.read_bytes()
        mail = mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        labels = {p.path for p in _parts(mail) if p.role in (Role.ATTACHMENT, Role.BODY)}
        fault = at_fault(Verdict(), labels)
        cut = without(mail, fault, note) if fault else None
        if cut is None:
            continue
        cut_at_all += 1
        texts = [p.data for p in _parts(cut) if p.role is not Role.MESSAGE]
        assert all(b"was removed" in text for text in texts if text.strip()), path.name
    assert cut_at_all > len(paths) * 0.8


def _parts(mail: bytes) -> list[Part]:
    budget = Budget(ScanSettings())
    found = parts(mail, role=Role.MESSAGE, name="", budget=budget)
    return [part for part in found if isinstance(part, Part)]
