"""Files of lzop: damage and limits; what is whole is tried with the other formats."""

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import lzop
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR

Unpack = Callable[..., list[Found]]

END = b"\x11\0\0"


def made(*blocks: tuple[int, bytes], method: int = 1, flags: int = 0, extra: bytes = b"") -> bytes:
    """``blocks``: plain size, and what it is packed to."""
    head = struct.pack(">HHHBBL", 0x1040, 0x20A0, 0x0940, method, 5, flags) + extra
    head += struct.pack(">LLLB", 0o100644, 0, 0, 5) + b"a.com"
    out = b"\x89LZO\0\r\n\x1a\n" + head + struct.pack(">L", zlib.adler32(head))
    for size, packed in blocks:
        out += struct.pack(">LL", size, len(packed)) + packed
    return out + bytes(4)


def literals(data: bytes) -> bytes:
    return bytes([17 + len(data)]) + data + END


def test_files_behind_each_other_are_found(unpack: Unpack) -> None:
    stored = made((len(EICAR), EICAR))
    found = unpack(stored + stored)
    assert [piece.data for piece in found if isinstance(piece, Piece)] == [EICAR, EICAR]


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (literals(b"abcd"), b"abcd"),
        (literals(b"abcd")[:-3] + b"\x2e\x0c\0" + END, b"abcd" * 5),
        (literals(b"abcd")[:-3] + b"\x20\x01\x0c\0" + END, b"abcd" + b"abcd" * 8 + b"ab"),
        (b"\1" + b"abcd" + b"\x6c\0" + END, b"abcd" + b"abcd"),
    ],
    ids=["literals", "match", "long", "short"],
)
def test_matches_of_each_kind(packed: bytes, plain: bytes) -> None:
    out = bytearray()
    lzop.unpack(memoryview(packed), out, 1000, Budget(ScanSettings()))
    assert bytes(out) == plain


@pytest.mark.parametrize(
    "packed",
    [b"", b"\x20", b"\x15a", literals(b"abcd")[:-3] + b"\x2e\x1c\0" + END, b"\0" * 50],
    ids=["empty", "run", "cut", "outside", "zeros"],
)
def test_damage_is_said(unpack: Unpack, packed: bytes) -> None:
    found = unpack(made((1000, packed)))
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.MALFORMED]


def test_a_length_without_an_end_is_damage() -> None:
    packed = b"\x15abcd" + b"\x20" + bytes(2_000_000)
    with pytest.raises(lzop.DamagedError):
        lzop.unpack(memoryview(packed), bytearray(), 1 << 30, Budget(ScanSettings()))


def test_what_is_not_known_stays_shut(unpack: Unpack) -> None:
    for data in (made(method=9), made(flags=0x800, extra=struct.pack(">L", 99))):
        found = unpack(data)
        assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.UNSUPPORTED]


def test_bombs_and_large_files_are_cut(unpack: Unpack) -> None:
    match = b"\x20" + b"\0" * 60_000 + b"\x01\0\0"
    bomb = made((15_300_000, b"\x15abcd" + match + END))
    found = unpack(bomb)
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.LIMIT]
    found = unpack(bomb, max_part_bytes=50_000)
    assert [len(one.data) for one in found if isinstance(one, Piece)] == [50_000]
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.LIMIT]


def test_damage_anywhere_is_survived(unpack: Unpack) -> None:
    whole = made((20, literals(b"abcd")[:-3] + b"\x2e\x0c\0" + END), (5, b"12345"), flags=1)
    numbers = random.Random(0)
    for at in range(9, len(whole)):
        damaged = bytearray(whole)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))
        unpack(whole[:at])
