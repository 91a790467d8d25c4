import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, message

INNER = message(Attachment("a.com", EICAR))
SIGNED = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
COMPRESSED = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x09"


def der(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes((tag, 0x84)) + struct.pack(">L", len(body)) + body


def ber(tag: int, *content: bytes) -> bytes:
    return bytes((tag, 0x80)) + b"".join(content) + b"\0\0"


def in_pieces(data: bytes) -> bytes:
    return ber(0x24, *(der(4, data[i : i + 100]) for i in range(0, len(data), 100)))


def scan(data: bytes) -> list[object]:
    budget = Budget(ScanSettings())
    return list(parts(data, role=Role.ATTACHMENT, name="smime.p7m", budget=budget))


def signed(make: Callable[..., bytes], octets: bytes) -> bytes:
    content = make(0x30, DATA, make(0xA0, octets))
    return make(0x30, SIGNED, make(0xA0, make(0x30, b"\2\1\1", der(0x31), content, der(0x31))))


@pytest.mark.parametrize(
    "data",
    [signed(der, der(4, INNER)), signed(ber, in_pieces(INNER)), signed(der, in_pieces(INNER)),
     signed(ber, ber(0x24, in_pieces(INNER)))],
    ids=["definite", "indefinite", "pieces", "pieces of pieces"],
)  # fmt: skip
def test_what_is_signed_is_read(data: bytes) -> None:
    assert any(isinstance(found, Part) and found.data == EICAR for found in scan(data))


def test_what_is_compressed_is_read() -> None:
    content = der(0x30, DATA, der(0xA0, der(4, zlib.compress(INNER))))
    data = der(0x30, COMPRESSED, der(0xA0, der(0x30, b"\2\1\0", der(0x30), content)))
    assert any(isinstance(found, Part) and found.data == EICAR for found in scan(data))


def test_a_signature_alone_holds_nothing() -> None:
    content = der(0x30, DATA)
    data = der(0x30, SIGNED, der(0xA0, der(0x30, b"\2\1\1", der(0x31), content, der(0x31))))
    assert len(scan(data)) == 1


@pytest.mark.parametrize("size", [16, 20, 30])
def test_a_torn_one_is_malformed(size: int) -> None:
    found = scan(signed(ber, in_pieces(INNER))[:size])
    assert any(isinstance(each, Unopened) for each in found)


def test_nesting_beyond_reason_is_malformed() -> None:
    data = b"\x30\x80" + SIGNED + b"\xa0\x80\x30\x80" + b"\x30\x80" * 5000
    assert any(isinstance(each, Unopened) for each in scan(data))


def test_the_forks_of_a_macintosh_file() -> None:
    head = b"\0\x05\x16\0\0\2\0\0" + bytes(16) + struct.pack(">H", 2)
    entries = struct.pack(">LLL", 3, 50, 5) + struct.pack(">LLL", 1, 55, len(EICAR))
    found = scan(head + entries + b"a.com" + EICAR)
    assert any(isinstance(p, Part) and (p.name, p.data) == ("a.com", EICAR) for p in found)
