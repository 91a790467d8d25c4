"""Encrypted RAR 2.9 to 4, of stored files; of packed ones as libarchive's own tests have them."""

import binascii
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive, rar4, rar4_blocks
from mailward.scan.contents import Found, Piece, Shut, Unlocked
from mailward.scan.passwords import Passwords, Said
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.containers import rar_archives

pytestmark = pytest.mark.skipif(
    not libarchive.version(), reason="needs libarchive13, which is not installed"
)

Unlock = Callable[..., list[Found]]

SALT = b"saltsalt"


@pytest.fixture
def unlock() -> Unlock:
    def unlock(data: bytes, text: str = "The password: secret") -> list[Found]:
        budget = Budget(ScanSettings())
        budget.passwords = Passwords(lambda: [Said(text)])
        return list(containers.unpack(data, "a.rar", "", budget) or ())

    return unlock


def encrypted(plain: bytes, password: str = "secret") -> bytes:
    key, vector = rar4._derived(password, SALT)
    padded = plain + bytes(-len(plain) % 16)
    return Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor().update(padded)


def block(kind: int, flags: int, fields: bytes = b"") -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head


def file(
    name: str, content: bytes, *, packed: bytes | None = None, method: int = 0x30, check: int = 0
) -> tuple[bytes, bytes]:
    """Header and encrypted data."""
    data = encrypted(content if packed is None else packed)
    check = check or zlib.crc32(content)
    fields = struct.pack("<LLBLL", len(data), len(content), 3, check, 0x50000000)
    fields += struct.pack("<BBHL", 29, method, len(name), 0o100644) + name.encode() + SALT
    return block(0x74, 0x8404, fields), data


def archive(*files: tuple[bytes, bytes]) -> bytes:
    body = b"".join(head + data for head, data in files)
    return rar4_blocks.MAGIC + block(0x73, 0, bytes(6)) + body + block(0x7B, 0x4000)


def with_hidden_names(*files: tuple[bytes, bytes]) -> bytes:
    body = b"".join(SALT + encrypted(head) + data for head, data in files)
    end = SALT + encrypted(block(0x7B, 0x4000))
    return rar4_blocks.MAGIC + block(0x73, 0x80, bytes(6)) + body + end


@pytest.mark.parametrize("make", [archive, with_hidden_names])
def test_a_password_of_the_mail_opens_it(unlock: Unlock, make: Callable[..., bytes]) -> None:
    found = unlock(make(file("eicar.com", EICAR), file("other", b"words" * 999)))
    assert found == [
        Unlocked("eicar.com"),
        Unlocked("other"),
        Piece(EICAR, found[2].role, "eicar.com"),  # type: ignore[union-attr]
        Piece(b"words" * 999, found[2].role, "other"),  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize("make", [archive, with_hidden_names])
def test_without_the_password_it_is_encrypted(unlock: Unlock, make: Callable[..., bytes]) -> None:
    found = unlock(make(file("eicar.com", EICAR)), "nothing")
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.ENCRYPTED]
    assert not any(isinstance(one, Piece) for one in found)


def test_a_checksum_that_does_not_fit_is_no_password(unlock: Unlock) -> None:
    found = unlock(archive(file("eicar.com", EICAR, check=1)))
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.ENCRYPTED]


def test_an_empty_file_needs_no_password(unlock: Unlock) -> None:
    found = unlock(archive(file("empty", b""), file("eicar.com", EICAR)))
    assert [one.name for one in found if isinstance(one, Piece)] == ["empty", "eicar.com"]
    assert [one.name for one in found if isinstance(one, Unlocked)] == ["eicar.com"]


@pytest.mark.parametrize("whole", [rar_archives.LOCKED, rar_archives.HIDDEN])
def test_a_password_of_the_mail_opens_a_solid_archive(unlock: Unlock, whole: bytes) -> None:
    """The first file is empty, and begins what the others go on with."""
    names = ["empty", "words.txt", "eicar.com"]
    found = unlock(whole)
    assert [one.name for one in found if isinstance(one, Unlocked)] == names
    pieces = {one.name: one.data for one in found if isinstance(one, Piece)}
    assert pieces == {name: rar_archives.FILES[name] for name in names}
    assert not any(isinstance(one, Shut) for one in found)


@pytest.mark.parametrize("whole", [rar_archives.LOCKED, rar_archives.HIDDEN])
def test_a_solid_archive_without_its_password_is_encrypted(unlock: Unlock, whole: bytes) -> None:
    found = unlock(whole, "password: other")
    assert {one.reason for one in found if isinstance(one, Shut)} == {Reason.ENCRYPTED}
    assert not any(one.data for one in found if isinstance(one, Piece))


def test_what_is_locked_behind_other_salts_does_not_cost_a_key_each(
    unlock: Unlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rar_archives.LOCKED
    at = whole.index(b"empty") - 32
    size = int.from_bytes(whole[at + 5 : at + 7], "little")
    head, data = whole[at : at + size], whole[at + size : at + size + 16]
    made = 0

    def derived(_password: str, _salt: bytes) -> tuple[bytes, bytes]:
        nonlocal made
        made += 1
        return bytes(16), bytes(16)

    monkeypatch.setattr(rar4, "_derived", derived)
    salts = (number.to_bytes(8, "big") for number in range(500))
    fields = (head[7:37] + salt + head[45:] for salt in salts)
    blocks = b"".join(block(0x74, 0x8404, one) + data for one in fields)
    found = unlock(whole[:at] + blocks + whole[at:])
    assert made <= 2
    assert Reason.ENCRYPTED in {one.reason for one in found if isinstance(one, Shut)}


def test_keys_are_not_made_for_ever(unlock: Unlock, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def derived(password: str, _salt: bytes) -> tuple[bytes, bytes]:
        made.append(password)
        return bytes(16), bytes(16)

    monkeypatch.setattr(rar4, "_derived", derived)
    text = " ".join(f"password: {number}" for number in range(5000))
    unlock(archive(*(file(str(n), b"a%d" % n) for n in range(50))), text)
    assert len(made) <= 60


@pytest.mark.parametrize("make", [archive, with_hidden_names])
def test_any_damage_is_survived(
    unlock: Unlock, monkeypatch: pytest.MonkeyPatch, make: Callable[..., bytes]
) -> None:
    whole = make(file("eicar.com", EICAR), file("other", b"words" * 99))
    derived = rar4._derived("secret", SALT)
    monkeypatch.setattr(rar4, "_derived", lambda *_: derived)
    numbers = random.Random(0)
    for keep in range(0, len(whole), 9):
        unlock(whole[:keep])
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(2):
            damaged[numbers.randrange(7, len(damaged))] = numbers.randrange(256)
        unlock(bytes(damaged))


def sample(shared: Path, name: str) -> bytes:
    path = shared / "containers/libarchive/libarchive/test" / f"{name}.uu"
    lines = path.read_bytes().splitlines()[1:]
    return b"".join(binascii.a2b_uu(line) for line in lines if line not in (b"end", b"`", b""))


@pytest.mark.shared
def test_what_rar_encrypted(unlock: Unlock, shared: Path) -> None:
    whole = sample(shared, "test_read_format_rar_encryption_data.rar")
    pieces = [one for one in unlock(whole, "password: 12345678") if isinstance(one, Piece)]
    assert [piece.name for piece in pieces] == ["foo.txt", "bar.txt"]
    assert all(piece.data for piece in pieces)


@pytest.mark.shared
def test_what_rar_packed_and_is_encrypted(unlock: Unlock, shared: Path) -> None:
    """Packed by RAR, encrypted here."""
    whole = sample(shared, "test_read_format_rar_compress_normal.rar")
    name = b"LibarchiveAddingTest.html"
    at = whole.index(name) - 32
    size, plain = struct.unpack_from("<LL", whole, at + 7)
    check = struct.unpack_from("<L", whole, at + 16)[0]
    start = at + struct.unpack_from("<H", whole, at + 5)[0]
    one = file(
        name.decode(), bytes(plain), packed=whole[start : start + size], method=whole[at + 25],
        check=check,
    )  # fmt: skip
    [content] = [one.data for one in unlock(archive(one)) if isinstance(one, Piece)]
    assert zlib.crc32(content) == check
    wrong = [one.reason for one in unlock(archive(one), "no") if isinstance(one, Shut)]
    assert wrong == [Reason.ENCRYPTED]


@pytest.mark.shared
def test_what_winrar_packed_and_encrypted(unlock: Unlock, shared: Path) -> None:
    [path] = (shared / "clean/tika").rglob("test-documents-enc.rar")
    found = unlock(path.read_bytes(), "password: ApacheTika")
    names = [one.name for one in found if isinstance(one, Piece)]
    assert [one.name for one in found if isinstance(one, Unlocked)] == names
    assert len(names) == 9
    assert not any(isinstance(one, Shut) for one in found)
