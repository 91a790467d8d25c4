"""Stamps: what holds, what was forged, what was changed on the way."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.definitions.model import Version
from mailward.errors import ConfigError
from mailward.protect.stamp import Stamp, Stamps, Vouched
from mailward.testing import Attachment, message

SET = Version.parse("20261123.007")
MAIL = message(Attachment("a.bin", bytes(range(256))))


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Stamps:
    return made(tmp_path_factory.mktemp("keys"), b"k")


def made(folder: Path, key: bytes) -> Stamps:
    path = folder / "stamp.key"
    path.write_bytes(key * 32)
    path.chmod(0o600)
    return Stamps(path)


def stamped(stamps: Stamps, mail: bytes = MAIL, verdict: Vouched = Vouched.CLEAN) -> bytes:
    return stamps.make(mail, verdict, SET) + mail


@pytest.mark.parametrize("verdict", list(Vouched))
def test_a_stamp_holds_where_the_key_is_known(stamps: Stamps, verdict: Vouched) -> None:
    assert stamps.read(stamped(stamps, verdict=verdict)) == Stamp(verdict, SET)
    assert stamps.read(MAIL) is None


def test_another_key_vouches_for_nothing(stamps: Stamps, tmp_path: Path) -> None:
    assert made(tmp_path, b"x").read(stamped(stamps)) is None


def test_servers_on_the_way_may_add_fold_and_end_as_they_do(stamps: Stamps) -> None:
    mail = stamped(stamps).replace(b"Subject: ", b"Subject:\r\n ")
    mail = b"Received: from a\r\n\tby b; now\r\nX-Other: y\r\n" + mail + b"\r\n\r\n"

    assert stamps.read(mail) == Stamp(Vouched.CLEAN, SET)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: ", b"Subject: Re: "),
        (b"verdict=clean", b"verdict=released"),
        (b"set=20261123.007", b"set=20261124.007"),
        (b"multipart/mixed", b"multipart/alternative"),
        (b"From: ", b"From: eve@example.com\r\nFrom: "),
        (b"X-Mailward-Scan: ", b"X-Mailward-Scan: v=1\r\nX-Mailward-Scan: "),
        (b"mac=", b"mac=A"),
        (b"base64", b"7bit"),
        (b"\r\n\r\n", b"\r\nContent-Type: text/html\r\n\r\n"),
    ],
)
def test_what_was_changed_is_not_vouched_for(stamps: Stamps, old: bytes, new: bytes) -> None:
    mail = stamped(stamps)
    assert old in mail
    assert stamps.read(mail.replace(old, new, 1)) is None


def test_a_stamp_cannot_be_moved_to_another_message(stamps: Stamps) -> None:
    field = stamped(stamps)[: -len(MAIL)]

    assert stamps.read(field + message(Attachment("b.bin", b"other"))) is None


def test_one_in_the_body_is_no_stamp(stamps: Stamps) -> None:
    inner = stamped(stamps)

    assert stamps.read(b"Subject: x\r\n\r\n" + inner) is None


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_no_flipped_bit_and_no_nonsense_passes(
    stamps: Stamps, content: bytes, position: int
) -> None:
    assert stamps.read(b"X-Mailward-Scan: " + content + b"\r\n\r\n") is None
    mail = bytearray(stamped(stamps))
    at = position % len(mail)
    mail[at] ^= 0x11
    assert stamps.read(bytes(mail)) is None


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    made(tmp_path, b"k")
    (tmp_path / "stamp.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"stamp\.key_file.*chmod 600"):
        Stamps(tmp_path / "stamp.key")
