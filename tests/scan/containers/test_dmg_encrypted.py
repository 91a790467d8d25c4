"""Encrypted macOS disk images: made here as they are described, since macOS alone makes them."""

import hashlib
import hmac
import random
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.passwords import Passwords, Said
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR

Open = Callable[..., list[Found]]

BLOCK, START = 512, 1024
SALT, IV = bytes(range(20)), bytes(range(8))


def encrypted(
    plain: bytes, password: str = "infected", *, rounds: int = 1000, bits: int = 128, kind: int = 1
) -> bytes:
    """With one key, which a password opens."""
    key, other = b"k" * (bits // 8), b"h" * 20
    keys = key + other + b"CKIE\0"
    keys += bytes([8 - len(keys) % 8]) * (8 - len(keys) % 8)
    by_password = hashlib.pbkdf2_hmac("sha1", password.encode(), SALT, rounds, 24)
    wrapped = Cipher(TripleDES(by_password), modes.CBC(IV)).encryptor().update(keys)
    item = struct.pack(">LLLL32sL32s", 0x67, 0, rounds, 20, SALT, 8, IV)
    item += struct.pack(">LLLLL", 192, 0x11, 7, 6, len(wrapped)) + wrapped
    head = struct.pack(">8s7L", b"encrcdsa", 2, 16, 5, 0x80000001, bits, 0x5B, 160)
    head += bytes(16) + struct.pack(">LQQL", BLOCK, len(plain), START, 1)
    head += struct.pack(">LQQ", kind, len(head) + 20, len(item)) + item
    out = bytearray(head.ljust(START, b"\0"))
    for number in range(-(-len(plain) // BLOCK)):
        block = plain[number * BLOCK : (number + 1) * BLOCK].ljust(BLOCK, b"\0")
        iv = hmac.digest(other, struct.pack(">L", number), "sha1")[:16]
        out += Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(block)
    return bytes(out)


@pytest.fixture
def opened() -> Open:
    def opened(data: bytes, text: str = "", **limits: float) -> list[Found]:
        budget = Budget(ScanSettings.model_validate(limits))
        budget.passwords = Passwords(lambda: [Said(text)])
        return list(containers.unpack(data, "a.dmg", "", budget) or ())

    return opened


PLAIN = b"no file system, " + EICAR + bytes(3000)


@pytest.mark.parametrize("bits", [128, 256])
def test_it_is_opened_with_a_password_of_the_message(opened: Open, bits: int) -> None:
    image = encrypted(PLAIN, "Open-Sesame", bits=bits)
    assert opened(image, "the password is Open-Sesame.") == [
        Unlocked(),
        Piece(PLAIN, Role.MEMBER, "a.dmg"),
    ]


def test_without_its_password_it_is_encrypted(opened: Open) -> None:
    for image in (encrypted(PLAIN, "unknown"), encrypted(PLAIN, kind=2)):
        [shut] = opened(image)
        assert isinstance(shut, Shut)
        assert shut.reason is Reason.ENCRYPTED


def test_so_many_rounds_that_no_password_is_tried(opened: Open) -> None:
    image = bytearray(encrypted(PLAIN))
    at = image.index(struct.pack(">LLL", 0x67, 0, 1000)) + 8
    image[at : at + 4] = b"\xff" * 4
    [shut] = opened(bytes(image))
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.ENCRYPTED


def test_what_is_over_a_limit_is_cut_and_said(opened: Open) -> None:
    _, piece, shut = opened(encrypted(PLAIN), max_part_bytes=2000)
    assert isinstance(piece, Piece)
    assert piece.data == PLAIN[:2000]
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


def test_truncated_anywhere_is_unscannable(opened: Open) -> None:
    whole = encrypted(PLAIN)
    for keep in (8, 60, 80, 120, 200, 300, START, START + 700):
        assert any(isinstance(one, Shut) for one in opened(whole[:keep])), keep


def test_any_damage_is_survived(opened: Open) -> None:
    whole = encrypted(PLAIN[:100], rounds=2)
    numbers = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        at = numbers.choice([at for at in range(8, 300) if at not in range(104, 107)])
        damaged[at] = numbers.randrange(256)
        opened(bytes(damaged))
