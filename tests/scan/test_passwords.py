"""Encrypted archives whose password is in the message that carries them."""

import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.part import Part, Role
from mailward.scan.passwords import CHEAP, DEAR, Passwords, plain_text
from mailward.scan.unpack import parts
from mailward.scan.verdict import OwnPassword, Reason, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, encrypted_zip, message
from tests.scan.containers import archives
from tests.scan.containers.archives import Builder

LOCKED = encrypted_zip(Attachment("eicar.com", EICAR))  # its password is "secret"


def mail(archive: bytes, text: str, subject: str = "Invoice", kind: str = "plain") -> bytes:
    whole = message(Attachment("a.bin", archive))
    boundary = whole.partition(b'boundary="')[2].partition(b'"')[0]
    part = f"Content-Type: text/{kind}; charset=utf-8\r\n\r\n{text}\r\n".encode()
    first = b"--" + boundary + b"\r\n"
    head, _, rest = whole.partition(first)
    head = b"Subject: " + subject.encode() + b"\r\n" + head.replace(b"Subject:", b"X-Subject:")
    return head + first + part + first + rest


def looked_into(data: bytes) -> tuple[list[bytes], list[OwnPassword], list[Unopened]]:
    budget = Budget(ScanSettings())
    found = list(parts(data, role=Role.MESSAGE, name="", budget=budget))
    return (
        [part.data for part in found if isinstance(part, Part)],
        [own for own in found if isinstance(own, OwnPassword)],
        [shut for shut in found if isinstance(shut, Unopened)],
    )


@pytest.mark.parametrize(
    "text",
    [
        "The password is secret.",
        "Passwort: secret",
        "pwd=secret",
        "Please open it with «secret» and reply.",
        "PIN\r\n\r\n  secret\r\n",
        "just secret",
        "Le mot de passe est : secret, merci.",
        "<secret>",
    ],
)
def test_a_password_in_the_text_opens_the_archive(text: str) -> None:
    opened, [own], shut = looked_into(mail(LOCKED, text))
    assert EICAR in opened
    assert own.part.endswith("a.bin/eicar.com")
    assert not shut


def test_a_password_in_the_subject_opens_it() -> None:
    opened, _, shut = looked_into(mail(LOCKED, "hello", subject="=?utf-8?q?your_secret?="))
    assert EICAR in opened
    assert not shut


def test_a_password_in_html_opens_it() -> None:
    text = "<p>Your password&#58;<br><b>secret</b></p>"
    opened, _, _ = looked_into(mail(LOCKED, text, kind="html"))
    assert EICAR in opened


def test_another_password_leaves_it_shut() -> None:
    opened, own, [shut] = looked_into(mail(LOCKED, "The password is hidden."))
    assert EICAR not in opened
    assert not own
    assert shut.reason is Reason.ENCRYPTED


@pytest.mark.real
@pytest.mark.parametrize("build", [
    archives.seven_zip("-tzip", "-psecret", "-mem=ZipCrypto"),
    archives.seven_zip("-tzip", "-psecret", "-mem=AES128"),
    archives.seven_zip("-tzip", "-psecret", "-mem=AES256", "-mm=LZMA"),
    archives.seven_zip("-t7z", "-psecret"),
    archives.seven_zip("-t7z", "-psecret", "-mhe=on"),
    archives.seven_zip("-t7z", "-psecret", "-m0=BCJ", "-m1=LZMA"),
    archives.seven_zip("-t7z", "-psecret", "-m0=Copy"),
], ids=["ZipCrypto", "AES128", "AES256", "7z", "7z-names", "7z-program", "7z-stored"])  # fmt: skip
def test_archives_that_seven_zip_encrypts(build: Builder) -> None:
    content = EICAR + bytes(range(256)) * 300
    opened, [_], shut = looked_into(mail(build("eicar.com", content), "Password: secret"))
    assert content in opened
    assert not shut
    _, own, [locked] = looked_into(mail(build("eicar.com", content), "Password: other"))
    assert not own
    assert locked.reason is Reason.ENCRYPTED


@pytest.mark.skipif(not libarchive.version(), reason="needs libarchive13, which is not installed")
def test_an_encrypted_rar() -> None:
    archive = archives.rar5_encrypted("eicar.com", EICAR)
    opened, [_], shut = looked_into(mail(archive, "Password: secret"))
    assert EICAR in opened
    assert not shut
    opened, own, shut = looked_into(mail(archive, "Password: other"))
    assert not own
    assert Reason.ENCRYPTED in {one.reason for one in shut}


@pytest.mark.parametrize("size", [0, 7, 8, 16, 31, 32, 33, 64, 100])
def test_encrypted_headers_of_a_rar_that_are_cut_are_survived(size: int) -> None:
    archive = archives.rar5_names_encrypted(bytes(size))
    _, _, shut = looked_into(mail(archive, "Password: secret"))
    assert shut
    _, _, shut = looked_into(mail(archive, "Password: other"))
    assert {one.reason for one in shut} == {Reason.ENCRYPTED}


def test_the_text_is_not_looked_at_when_nothing_is_encrypted() -> None:
    asked: list[str] = []

    def texts() -> list[str]:
        asked.append("")
        return ["password secret"]

    passwords = Passwords(texts)
    assert not asked
    assert next(passwords.candidates()) == "secret"
    assert len(asked) == 1


def test_the_number_of_tries_is_bounded_by_what_they_cost() -> None:
    text = " ".join(f"word{number}" for number in range(100_000))
    passwords = Passwords(lambda: [text] * 1000)
    assert len(list(passwords.candidates(CHEAP))) < 500
    dear = sum(len(list(passwords.candidates(DEAR))) for _ in range(100))
    assert dear < 150
    assert list(passwords.candidates(DEAR)) == []


def test_what_is_tried_whatever_the_text_says_is_bounded_too() -> None:
    passwords = Passwords()
    tries = [list(passwords.candidates(1000, "always")) for _ in range(4)]
    assert [each[:1] for each in tries] == [["always"], [], [], []]


def test_what_has_worked_is_tried_first() -> None:
    passwords = Passwords(lambda: ["password: one two three"])
    passwords.worked("three")
    assert next(passwords.candidates()) == "three"


@pytest.mark.parametrize(
    "text", ["<" * 300_000, "'" * 300_000, "password" * 40_000, "\0" * 9999, ""]
)
def test_hostile_text_is_survived(text: str) -> None:
    candidates = list(Passwords(lambda: [plain_text(text)]).candidates())
    assert len(candidates) < 500
