"""Apple Archives, and the blocks that they and installers of macOS are packed in."""

import lzma
import random
import struct
import zlib
from collections.abc import Callable

import lz4.block
import lzfse
import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import archives

Unpack = Callable[..., list[Found]]


def entry(kind: bytes, path: str, content: bytes = b"", attributes: bytes = b"") -> bytes:
    name = path.encode()
    fields = b"TYP1" + kind + b"PATP" + struct.pack("<H", len(name)) + name
    fields += b"UID2" + b"\xf5\1" + b"MTMT" + bytes(12) + b"SH2H" + bytes(32)
    if attributes:
        fields += b"XATA" + struct.pack("<H", len(attributes))
    if kind == b"F":
        fields += b"DATB" + struct.pack("<L", len(content))
    return b"AA01" + struct.pack("<H", 6 + len(fields)) + fields + attributes + content


ARCHIVE = entry(b"D", "") + entry(b"F", "in/a.com", EICAR, b"attribute") + entry(b"F", "b", b"two")


def lz4_apple(plain: bytes) -> bytes:
    packed: bytes = lz4.block.compress(plain, store_size=False)
    return b"bv41" + struct.pack("<LL", len(plain), len(packed)) + packed + b"bv4$"


PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"x": lzma.compress,
    b"e": lzfse.compress,
    b"z": lambda plain: zlib.compress(plain)[2:-4],
    b"4": lz4_apple,
    b"-": bytes,
}


def blocks(plain: bytes, how: bytes = b"x", size: int = 1000) -> bytes:
    out = b"pbz" + how + struct.pack(">Q", size)
    for at in range(0, len(plain), size):
        block = plain[at : at + size]
        packed = PACK[how](block)
        packed = packed if len(packed) < len(block) else block
        out += struct.pack(">QQ", len(block), len(packed)) + packed
    return out


TEXT = EICAR + b"tomorrow and tomorrow " * 300


def test_files_of_an_archive(unpack: Unpack) -> None:
    found = [(one.name, one.data) for one in unpack(ARCHIVE) if isinstance(one, Piece)]
    assert found == [("in/a.com:XAT", b"attribute"), ("in/a.com", EICAR), ("b", b"two")]
    assert len(unpack(ARCHIVE)) == 3


@pytest.mark.parametrize("how", PACK)
def test_blocks_are_put_together(unpack: Unpack, how: bytes) -> None:
    [piece] = unpack(blocks(TEXT, how), "a.aar")
    assert isinstance(piece, Piece)
    assert piece.data == TEXT


def test_a_payload_of_an_installer_is_a_cpio_archive(unpack: Unpack) -> None:
    [payload] = unpack(blocks(archives.cpio("a.com", EICAR)), "Payload")
    assert isinstance(payload, Piece)
    assert EICAR in [one.data for one in unpack(payload.data) if isinstance(one, Piece)]


def test_a_file_of_lzfse(unpack: Unpack) -> None:
    [piece] = unpack(lzfse.compress(TEXT), "a.txt.lzfse")
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("a.txt", TEXT)


WHOLE = {how.decode(): blocks(TEXT, how) for how in PACK} | {"archive": ARCHIVE}


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_truncated_anywhere_is_unscannable(unpack: Unpack, whole: bytes) -> None:
    for keep in range(20, len(whole), 61):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_any_damage_is_survived(unpack: Unpack, whole: bytes) -> None:
    numbers = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(4, len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize("start", [b"pbzx\0\0\0\0", b"AA01", b"bvx2"])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_unscannable(
    unpack: Unpack, start: bytes, filler: bytes
) -> None:
    found = unpack(start.ljust(100_000, filler))
    assert any(isinstance(one, Shut) for one in found)


@pytest.mark.parametrize("how", PACK)
def test_what_is_over_a_limit_is_cut_and_said(unpack: Unpack, how: bytes) -> None:
    piece, shut = unpack(blocks(TEXT, how), max_part_bytes=2500)
    assert isinstance(piece, Piece)
    assert piece.data == TEXT[:2500]
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT
