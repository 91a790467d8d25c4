"""Encrypted archives whose password is in the message that carries them."""

import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.part import Part, Role
from mailward.scan.passwords import CHEAP, Passwords, Said, plain_text
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

    def texts() -> list[Said]:
        asked.append("")
        return [Said("password secret")]

    passwords = Passwords(texts)
    assert not asked
    assert next(passwords.candidates()) == "secret"
    assert len(asked) == 1


def test_the_number_of_tries_is_bounded_by_what_they_cost() -> None:
    text = " ".join(f"word{number}" for number in range(100_000))
    passwords = Passwords(lambda: [Said(text)] * 1000)
    assert 100 < len(list(passwords.candidates(CHEAP))) < 500
    dear = sum(len(list(passwords.candidates(50))) for _ in range(100))
    assert dear < 10
    assert list(passwords.candidates(50)) == []
    assert passwords.ran_out


def test_what_nothing_calls_a_password_leaves_room_for_what_is_called_so() -> None:
    guessed = " ".join(f"word{number}" for number in range(1000))
    passwords = Passwords(lambda: [Said(guessed)])
    assert 5 < len(list(passwords.candidates(50))) < 10
    told = " ".join(f"password: word{number}" for number in range(1000))
    passwords = Passwords(lambda: [Said(told)])
    assert 20 < len(list(passwords.candidates(50))) < 30


def test_what_is_tried_whatever_the_text_says_is_bounded_too() -> None:
    passwords = Passwords()
    tries = [list(passwords.candidates(1000, "always")) for _ in range(4)]
    assert [each[:1] for each in tries] == [["always"], [], [], []]


def test_what_has_worked_is_tried_first() -> None:
    passwords = Passwords(lambda: [Said("password: one two three")])
    passwords.worked("three")
    assert next(passwords.candidates()) == "three"


@pytest.mark.parametrize(
    "text",
    [
        "<" * 300_000,
        "'" * 300_000,
        "password" * 40_000,
        "\0" * 9999,
        "",
        "<style" * 50_000,
        "password " * 30_000,
        "password: " * 30_000,
    ],
)
def test_hostile_text_is_survived(text: str) -> None:
    candidates = list(Passwords(lambda: [Said(plain_text(text))]).candidates())
    assert len(candidates) < 500


NOISE = " ".join(f"Position {number} of invoice {number * 37}." for number in range(300))
"""A long text, in which whatever is not called a password is tried late or never."""


@pytest.mark.parametrize(
    "text",
    [
        "Password: Xq7!z",
        "The password for the attached file is Xq7!z.",
        "Archivpasswort lautet: \u201eXq7!z\u201c",
        "Le mot de passe du fichier joint : Xq7!z, merci.",
        "\u5bc6\u7801\uff1aXq7!z\u3002\u8c22\u8c22",
        "\u5bc6\u7801\u662fXq7!z\uff0c\u8bf7\u67e5\u6536",
        "\ube44\ubc00\ubc88\ud638\ub294 Xq7!z \uc785\ub2c8\ub2e4",
        "\u043f\u0430\u0440\u043e\u043b\u044c \u043a \u0430\u0440\u0445\u0438\u0432\u0443 - Xq7!z",
        "PW = Xq7!z",
    ],
)  # fmt: skip
def test_what_is_called_a_password_is_among_the_first_tries(text: str) -> None:
    passwords = Passwords(lambda: [Said(NOISE), Said(text), Said(NOISE)])
    dear = list(passwords.candidates(50))
    assert "Xq7!z" in dear[:6]


def test_a_password_of_several_words_is_tried() -> None:
    passwords = Passwords(lambda: [Said("Password: open it now\r\nRegards")])
    assert "open it now" in list(passwords.candidates(50))


def test_words_that_only_hold_a_keyword_name_no_password() -> None:
    passwords = Passwords(lambda: [Said("spinning keyboards decode compass")])
    assert next(passwords.candidates()) == "infected"


def test_numbers_of_an_attachments_name_are_tried_early() -> None:
    passwords = Passwords(lambda: [Said(NOISE), Said("Invoice_48371.zip", is_name=True)])
    assert "48371" in list(passwords.candidates(50))


def test_well_known_passwords_are_tried_when_the_mail_names_none() -> None:
    dear = list(Passwords(lambda: [Said(NOISE)]).candidates(50))
    assert dear[:3] == ["infected", "1234", "123456"]
    assert "password" in list(Passwords(lambda: [Said(NOISE)]).candidates())


def test_styles_and_scripts_of_a_page_give_no_passwords() -> None:
    page = "<style>a{color:#fff00;b:c}</style><p>Hello</p><script>var x1='y2';</script> you"
    assert plain_text(page).split() == ["Hello", "you"]


def test_what_did_not_open_the_same_thing_is_not_paid_twice() -> None:
    passwords = Passwords(lambda: [Said("password: one")])
    first = list(passwords.candidates(40, of=b"salt"))
    assert "one" in first
    assert list(passwords.candidates(40, of=b"salt")) == []
    passwords.worked("one")
    assert list(passwords.candidates(40, of=b"salt")) == ["one"]


def test_a_part_that_stays_shut_says_that_not_every_word_was_tried() -> None:
    _, _, [shut] = looked_into(mail(LOCKED, " ".join(f"code{n}" for n in range(900))))
    assert shut.reason is Reason.ENCRYPTED
    assert "likeliest" in shut.detail
