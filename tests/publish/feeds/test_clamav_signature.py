"""Who made a container."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mailward.publish.feeds.clamav_container import read_container
from mailward.publish.feeds.clamav_signature import CLAMAV, signs_members, signs_payload

MD5 = hashlib.md5(b"payload").hexdigest()


def test_a_payload_signature_holds_for_its_payload_alone(signer: Any) -> None:
    signature = signer.payload(MD5)
    assert signs_payload(MD5, signature, signer.keys.payload)
    assert not signs_payload(hashlib.md5(b"other").hexdigest(), signature, signer.keys.payload)
    assert not signs_payload(MD5, signature, CLAMAV.payload)


def test_bits_beyond_the_md5_cannot_be_chosen(signer: Any) -> None:
    # ClamAV compares the lowest 128 bits and would take this.
    assert not signs_payload(MD5, signer.raw((1 << 200) + int(MD5, 16)), signer.keys.payload)


def test_a_signature_is_below_the_modulus(signer: Any) -> None:
    key = signer.keys.payload
    number = sum(
        b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/".index(digit) << 6 * at
        for at, digit in enumerate(signer.payload(MD5))
    )
    assert key.open(number) == int(MD5, 16)
    assert key.open(number + key.modulus) is None


def test_a_list_signature_holds_for_its_list_alone(signer: Any) -> None:
    signature = signer.members(b"listed\n")
    assert signs_members(b"listed\n", signature, signer.keys.members)
    assert not signs_members(b"listed", signature, signer.keys.members)
    assert not signs_members(b"listed\n", signature, CLAMAV.members)


def test_a_shorter_salt_is_no_signature(signer: Any) -> None:
    signature = signer.members(b"listed\n", salt_bytes=20)
    assert not signs_members(b"listed\n", signature, signer.keys.members)


@pytest.mark.parametrize("signature", [b"", b"a", b"X" * 170, b"?" * 170, b"a" * 100_000, b"\xff"])
def test_what_is_no_signature_is_refused(signature: bytes) -> None:
    assert not signs_payload(MD5, signature, CLAMAV.payload)
    assert not signs_members(b"listed", signature, CLAMAV.members)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["bytecode-2015.cvd", "bytecode-2024-02.cvd"])
def test_clamavs_own_containers_are_signed_by_clamav(shared: Path, name: str) -> None:
    raw = (shared / "definitions/clamav" / name).read_bytes()
    fields = raw[:512].strip().split(b":")
    assert signs_payload(fields[5].decode(), fields[6], CLAMAV.payload)
    container = read_container(raw, ".cvd", name)
    assert container.signed
    # The list's signature is enough by itself: that is what freshclam makes of it.
    fields[5] = fields[6] = b"X"
    assert read_container(b":".join(fields).ljust(512) + raw[512:], ".cld", name).signed
