"""Hangul documents: what they pack is found, whatever is done to them."""

import base64
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mailward.scan.part import Part
from mailward.scan.verdict import Reason, Unopened
from mailward.testing import EICAR
from tests.scan.documents import build

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., list[Part | Unopened]]


def deflated(plain: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush()


def hwp5(streams: dict[str, bytes], flags: int = 1) -> bytes:
    head = b"HWP Document File".ljust(32, b"\0") + struct.pack("<LL", 0x05000300, flags)
    return build.compound_file({"FileHeader": head.ljust(256, b"\0"), **streams})


def hwp3(body: bytes, *, packed: bool = True, password: int = 0, info: bytes = b"info") -> bytes:
    head = b"HWP Document File V3.00 \x1a\1\2\3\4\5".ljust(30 + 96, b"\0")
    head += struct.pack("<H", password) + bytes(26) + bytes([packed, 0])
    head += struct.pack("<H", len(info)) + bytes(1008)
    return head + info + (deflated(body) if packed else body)


def hwpml(content: bytes, packed: bytes = b"false") -> bytes:
    raw = base64.encodebytes(content)
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<HWPML Version="2.8"><TAIL><BINDATASTORAGE>'
        b'<BINDATA Compress="' + packed + b'" Encoding="Base64" Id="1">' + raw + b"</BINDATA>"
        b"</BINDATASTORAGE></TAIL></HWPML>"
    )


def scrambled(plain: bytes) -> bytes:
    """For distribution, with a seed that masks by one number for nine bytes, and so on."""
    seed, key = 0x1234567, bytes(range(16))
    record = bytearray(struct.pack("<L", seed) + b"r" * (seed & 0xF) + key).ljust(256, b"s")
    state, masks = seed, b""
    while len(masks) < 256:
        state = (state * 214013 + 2531011) % 2**32
        mask = state >> 16 & 0xFF
        state = (state * 214013 + 2531011) % 2**32
        masks += bytes([mask]) * ((state >> 16 & 0xF) + 1)
    record[4:] = bytes(a ^ b for a, b in zip(record[4:], masks[4:], strict=False))
    packed = deflated(plain)
    packed += bytes(-len(packed) % 16)
    cipher = Cipher(algorithms.AES(key), modes.ECB())
    return struct.pack("<L", 256 << 20 | 28) + record + cipher.encryptor().update(packed)


PACKED_5 = hwp5(
    {
        "DocInfo": deflated(b"information"),
        "BodyText/Section0": deflated(b"a text in a section"),
        "BinData/BIN0001.eps": deflated(EICAR),
        "Scripts/DefaultJScript": deflated(b"function OnDocument_New() {}"),
    }
)
DOCUMENTS = {
    "5": PACKED_5,
    "5, for distribution": hwp5({"ViewText/Section0": scrambled(b"a text, " + EICAR)}, flags=5),
    "3": hwp3(b"a body, " + EICAR),
    "3, plain": hwp3(b"a body, " + EICAR, packed=False),
    "HWPML": hwpml(EICAR),
    "HWPML, packed": hwpml(deflated(EICAR), b"true"),
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_is_inside_is_found(files: Files, document: bytes) -> None:
    assert any(content.endswith(EICAR) for path, content in files(document).items() if path != "a")


def test_texts_and_scripts_are_unpacked(files: Files) -> None:
    found = files(PACKED_5).values()
    assert b"a text in a section" in found
    assert b"function OnDocument_New() {}" in found


def test_files_that_are_not_packed_are_no_trouble(scan: Scan) -> None:
    found = scan(hwp5({"BinData/BIN0001.jpg": b"\xff\xd8\xff\xe0 a picture"}, flags=0))
    assert not [one for one in found if isinstance(one, Unopened)]


@pytest.mark.parametrize(
    "document",
    [
        hwp5({"BodyText/Section0": b"x" * 100}, flags=2),
        hwp3(b"body", password=7),
    ],
    ids=["5", "3"],
)
def test_encrypted_ones_are_told(scan: Scan, document: bytes) -> None:
    found = [one for one in scan(document) if isinstance(one, Unopened)]
    assert [one.reason for one in found] == [Reason.ENCRYPTED]


@pytest.mark.parametrize(
    "document",
    [
        hwp5({"BodyText/Section0": b"\xff" * 100}),
        hwp5({"ViewText/Section0": b"\xff" * 100}, flags=5),
        hwp5({"ViewText/Section0": scrambled(EICAR)[:270]}, flags=5),
        hwp3(b"body" * 100)[:-10],
        hwp3(b"")[:500],
        hwpml(b"\xff" * 100, b"true"),
    ],
    ids=["5", "5, for distribution", "5, cut", "3, cut", "3, cut early", "HWPML"],
)
def test_damaged_ones_are_told(scan: Scan, document: bytes) -> None:
    found = [one for one in scan(document) if isinstance(one, Unopened)]
    assert Reason.MALFORMED in [one.reason for one in found]


@pytest.mark.shared
def test_a_real_document_for_distribution(files: Files, shared: Path) -> None:
    [path] = shared.glob("clean/**/test-documents/testHWP-v5-dist.hwp")
    found = files(path.read_bytes())
    [text] = [content for name, content in found.items() if "ViewText/Section0 unpacked" in name]
    assert len(text) == 4959
    assert any(
        "function OnDocument" in one.decode("utf-16-le", "replace") for one in found.values()
    )


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_any_damage_is_survived(scan: Scan, document: bytes) -> None:
    numbers = random.Random(0)
    for _ in range(40):
        damaged = bytearray(document)
        for _ in range(3):
            damaged[numbers.randrange(8, len(damaged))] = numbers.randrange(256)
        scan(bytes(damaged))


def test_bombs_are_stopped(scan: Scan) -> None:
    zeros = deflated(bytes(64 << 20))
    for document in (hwp5({"BinData/a": zeros}), hwpml(zeros, b"true")):
        found = [one.reason for one in scan(document) if isinstance(one, Unopened)]
        assert Reason.LIMIT in found
