"""MacBinary: what is in the forks of a Macintosh file, which may be cut or be none."""

import binascii
import random
import struct
from collections.abc import Callable

import pytest

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR

Opened = Callable[[bytes], list[Found]]


def macbinary(name: bytes, content: bytes, resources: bytes, more: bytes = b"") -> bytes:
    head = struct.pack(">xB63s4s4sxxB", len(name), name, b"APPL", b"????", 0).ljust(83, b"\0")
    head += struct.pack(">LL", len(content), len(resources))
    head = (
        head.ljust(102, b"\0") + b"mBIN".ljust(18, b"\0") + struct.pack(">HBB", len(more), 130, 129)
    )
    head += struct.pack(">H", binascii.crc_hqx(head, 0)) + bytes(2)
    return head + b"".join(
        one.ljust(-(-len(one) // 128) * 128, b"\0") for one in (more, content, resources)
    )


@pytest.fixture
def opened() -> Opened:
    return lambda data: list(containers.unpack(data, "a", "", Budget(ScanSettings())) or ())


@pytest.mark.parametrize("more", [b"", b"another header"])
def test_both_forks_are_parts(opened: Opened, more: bytes) -> None:
    found = opened(macbinary(b"a program", EICAR, b"resources", more))
    assert [(one.name, one.data) for one in found if isinstance(one, Piece)] == [
        ("a program", EICAR),
        ("a program.rsrc", b"resources"),
    ]


def test_a_cut_fork_is_told(opened: Opened) -> None:
    for keep in (128, 150, 300):
        found = opened(macbinary(b"a", EICAR * 3, b"resources")[:keep])
        assert any(isinstance(one, Shut) for one in found), keep


def test_without_its_checksum_it_is_none(opened: Opened) -> None:
    whole = bytearray(macbinary(b"a", EICAR, b""))
    whole[125] ^= 1
    assert opened(bytes(whole)) == []


def test_any_damage_is_survived(opened: Opened) -> None:
    whole = macbinary(b"a", EICAR, b"resources")
    numbers = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[numbers.randrange(83, 122)] = numbers.randrange(256)
        damaged[124:126] = struct.pack(">H", binascii.crc_hqx(bytes(damaged[:124]), 0))
        opened(bytes(damaged))
