"""RAR archives in several volumes, in one message."""

import random
import struct
import zlib

import pytest

from mailward.scan.containers import libarchive
from mailward.scan.part import Part
from mailward.scan.verdict import Reason, Unopened
from mailward.testing import EICAR, Attachment, message
from tests.scan.containers import archives
from tests.scan.containers.rar_archives import MAGIC, block, lz77
from tests.scan.test_unpack import unpack

pytestmark = pytest.mark.skipif(
    not libarchive.version(), reason="needs libarchive13, which is not installed"
)

PLAIN = b"in front of it " * 9 + EICAR + b" and behind it" * 9


def cut(packed: bytes, count: int) -> list[bytes]:
    size = -(-len(packed) // count)
    return [packed[at : at + size] for at in range(0, len(packed), size)]


def rar4(count: int, *, method: int = 0x33, flags: int = 0x10) -> list[bytes]:
    """Solid, or not; with a file that is whole in the last volume."""
    packed = PLAIN if method == 0x30 else lz77([*PLAIN, "end"])
    volumes = []
    for number, piece in enumerate(cut(packed, count)):
        split = (1 if number else 0) | (2 if number + 1 < count else 0)
        fields = struct.pack("<LLBLL", len(piece), len(PLAIN), 2, zlib.crc32(PLAIN), 0x50000000)
        fields += struct.pack("<BBHL", 29, method, 5, 0x20) + b"a.com"
        one = MAGIC + block(0x73, 1 | (0x100 if not number else 0), bytes(6))
        volumes.append(one + block(0x74, 0x8000 | flags | split, fields) + piece + block(0x7B, 1))
    return volumes


def rar5(count: int) -> list[bytes]:
    volumes = []
    for number, piece in enumerate(cut(PLAIN, count)):
        sizes = archives._vint(4) + archives._vint(len(PLAIN)) + archives._vint(0o100644)
        file = sizes + struct.pack("<L", zlib.crc32(PLAIN)) + b"\0\1\5a.com"
        split = (8 if number else 0) | (16 if number + 1 < count else 0)
        main = b"\3" + archives._vint(number) if number else b"\1"
        one = b"Rar!\x1a\7\1\0" + archives._rar5_block(1, 0, main)
        one += archives._rar5_block(2, 2 | split, archives._vint(len(piece)) + file) + piece
        volumes.append(one + archives._rar5_block(5, 0, b"\1"))
    return volumes


def found(names: list[str], volumes: list[bytes]) -> tuple[dict[str, bytes], list[Reason]]:
    """Files of the archive by their paths, and what stayed shut."""
    files = [Attachment(name, data) for name, data in zip(names, volumes, strict=True)]
    everything = unpack(message(*files))
    inside = {
        one.path: one.data
        for one in everything
        if isinstance(one, Part) and one.path.endswith("a.com")
    }
    return inside, [one.reason for one in everything if isinstance(one, Unopened)]


NEW = ["A.part1.rar", "a.part2.rar", "a.part3.rar"]
OLD = ["a.rar", "a.r00", "a.r01"]


@pytest.mark.parametrize("names", [NEW, OLD])
@pytest.mark.parametrize(
    "volumes", [rar4(3), rar4(3, method=0x30, flags=0), rar5(3)], ids=["solid", "stored", "rar5"]
)
def test_volumes_that_are_all_there_are_one_archive(names: list[str], volumes: list[bytes]) -> None:
    for order in ([0, 1, 2], [2, 0, 1]):
        inside, shut = found([names[n] for n in order], [volumes[n] for n in order])
        assert list(inside.values()) == [PLAIN]
        assert [path.split("/")[-2] for path in inside] == [f"joined:{names[0]}"]
        assert not shut


@pytest.mark.parametrize(
    "volumes", [rar4(4), rar4(4, method=0x30, flags=0), rar5(4)], ids=["rar4", "stored", "rar5"]
)
@pytest.mark.parametrize("kept", [[0], [1], [1, 2, 3], [0, 2, 3], [0, 1, 2], [0, 1, 1, 2, 3]])
def test_volumes_of_which_others_are_missing_are_unscannable(
    volumes: list[bytes], kept: list[int]
) -> None:
    names = [f"a.part{number + 1}.rar" for number in kept]
    _, shut = found(names, [volumes[number] for number in kept])
    assert shut


def test_volumes_that_lack_the_last_are_read_as_far_as_they_go() -> None:
    volumes = rar4(4)[:3]
    inside, shut = found([f"a.part{number}.rar" for number in (1, 2, 3)], volumes)
    [data] = inside.values()
    assert EICAR in data
    assert shut


def test_an_archive_that_is_no_volume_is_opened_by_itself() -> None:
    whole = archives.rar5("a.com", EICAR)
    inside, shut = found(["a.part1.rar", "a.part2.rar"], [whole, whole])
    assert list(inside.values()) == [EICAR] * 2
    assert not shut


@pytest.mark.parametrize("volumes", [rar4(3), rar5(3)], ids=["rar4", "rar5"])
def test_damage_anywhere_is_survived(volumes: list[bytes]) -> None:
    numbers = random.Random(0)
    for _ in range(150):
        damaged = [bytearray(volume) for volume in volumes]
        one = numbers.choice(damaged)
        one[numbers.randrange(7, len(one))] = numbers.randrange(256)
        if numbers.randrange(3) == 0:
            del one[numbers.randrange(len(one)) :]
        found(NEW, [bytes(volume) for volume in damaged])
