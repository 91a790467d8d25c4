"""Disk images that refer to themselves, to nothing, or to each other."""

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import archives

Unpack = Callable[..., list[Found]]

SECTOR = 2048


def record(name: bytes, extent: int, size: int, flags: int = 0) -> bytes:
    fixed = bytes([0]) + extent.to_bytes(4, "little") + extent.to_bytes(4, "big")
    fixed += size.to_bytes(4, "little") + size.to_bytes(4, "big") + bytes(7) + bytes([flags])
    fixed += bytes(2) + b"\1\0\0\1" + bytes([len(name)]) + name + bytes(1 - len(name) % 2)
    return bytes([len(fixed) + 1]) + fixed


def image(*records: bytes, root_extent: int = 18, content: bytes = EICAR) -> bytes:
    """The root in sector 18, contents in 19."""
    root = record(b"\0", root_extent, SECTOR, 2)
    descriptor = (b"\1CD001\1".ljust(156, b"\0") + root).ljust(SECTOR, b"\0")
    end = b"\xffCD001\1".ljust(SECTOR, b"\0")
    folder = record(b"\0", 18, SECTOR, 2) + record(b"\1", 18, SECTOR, 2) + b"".join(records)
    return bytes(16 * SECTOR) + descriptor + end + folder.ljust(SECTOR, b"\0") + content


def test_a_file(unpack: Unpack) -> None:
    [piece] = unpack(image(record(b"EICAR.COM;1", 19, len(EICAR))))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("EICAR.COM", EICAR)


def raw(whole: bytes, size: int = 2352, start: int = 16) -> bytes:
    """In sectors as they are on a disk."""
    mark = (b"\0" + b"\xff" * 10 + b"\0").ljust(start, b"\2")
    cut = (whole[at : at + SECTOR].ljust(SECTOR, b"\0") for at in range(0, len(whole), SECTOR))
    return b"".join((mark + sector).ljust(size, b"\7") for sector in cut)


@pytest.mark.parametrize(("size", "start"), [(2352, 16), (2352, 24), (2448, 16), (2448, 24)])
def test_a_file_in_raw_sectors(unpack: Unpack, size: int, start: int) -> None:
    content = random.Random(0).randbytes(5000) + EICAR
    whole = raw(image(record(b"EICAR.COM;1", 19, len(content)), content=content), size, start)
    [piece] = unpack(whole)
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("EICAR.COM", content)
    for keep in (17 * size, 19 * size + 500, len(whole) - 2000):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep


def test_a_file_in_two_extents(unpack: Unpack) -> None:
    content = bytes(SECTOR) + EICAR
    [piece] = unpack(
        image(record(b"A", 19, SECTOR, 0x80), record(b"A", 20, len(EICAR)), content=content)
    )
    assert isinstance(piece, Piece)
    assert piece.data == content


def test_a_folder_that_is_in_itself_ends(unpack: Unpack) -> None:
    found = unpack(image(record(b"LOOP", 18, SECTOR, 2), record(b"A", 19, len(EICAR))))
    assert len(found) == 1


def test_a_file_of_gigabytes_costs_nothing_and_is_said(unpack: Unpack) -> None:
    piece, shut = unpack(image(record(b"A", 19, 0xFFFFFFFF)), max_part_bytes=10_000)
    assert isinstance(piece, Piece)
    assert piece.data == EICAR
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.MALFORMED


def test_the_same_place_many_times_is_one_file(unpack: Unpack) -> None:
    records = [record(b"%d" % number, 19, len(EICAR)) for number in range(40)]
    assert len(unpack(image(*records))) == 1


def test_a_root_that_is_not_there_is_said(unpack: Unpack) -> None:
    assert any(isinstance(one, Shut) for one in unpack(image(root_extent=10_000)))


def test_any_damage_is_survived(unpack: Unpack) -> None:
    whole = image(record(b"DIR", 18, SECTOR, 2), record(b"EICAR.COM;1", 19, len(EICAR)))
    numbers = random.Random(0)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[numbers.randrange(16 * SECTOR + 100, len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.fixture(scope="module")
def udf() -> bytes:
    """Without its ISO 9660 half."""
    whole = bytearray(archives.MADE["iso-udf"]("eicar.com", EICAR * 40))
    whole[16 * SECTOR : 18 * SECTOR] = bytes(2 * SECTOR)
    whole[16 * SECTOR + 1 : 16 * SECTOR + 6] = b"BEA01"
    return bytes(whole)


@pytest.mark.real
def test_udf_alone(unpack: Unpack, udf: bytes) -> None:
    [piece] = unpack(udf)
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("eicar.com", EICAR * 40)


@pytest.mark.real
def test_any_damage_to_udf_is_survived(unpack: Unpack, udf: bytes) -> None:
    numbers = random.Random(0)
    used = [at for at in range(17 * SECTOR, len(udf)) if udf[at]]
    for _ in range(400):
        damaged = bytearray(udf)
        for _ in range(4):
            damaged[numbers.choice(used)] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.real
def test_udf_that_is_cut_says_so(unpack: Unpack, udf: bytes) -> None:
    for end in range(20 * SECTOR, len(udf), SECTOR):
        found = unpack(udf[:end])
        whole = any(isinstance(one, Piece) and one.data == EICAR * 40 for one in found)
        assert whole or any(isinstance(one, Shut) for one in found), end // SECTOR


def in_metadata_partition(whole: bytes, *, damaged: bool = False) -> bytes:
    """As UDF 2.50 has it: what was block 0 and the root's entry are in a file, back to front."""
    image = bytearray(whole)
    volume = next(
        at for at in range(32 * SECTOR, len(image), SECTOR) if image[at : at + 2] == b"\6\0"
    )
    start = struct.unpack_from("<L", image, partition(image) + 188)[0]
    file_set = struct.unpack_from("<L", image, volume + 252)[0]
    root = struct.unpack_from("<L", image, (start + file_set) * SECTOR + 404)[0]
    listing_at = (start + root) * SECTOR + 180
    listing = struct.unpack_from("<L", image, listing_at)[0]
    image[listing_at : listing_at + 4] = struct.pack("<L", 2)
    name = b"*UDF Metadata Partition"
    place = len(image) // SECTOR - start
    row = struct.pack("<BB3x23s8xHHLL", 2, 64, name, 1, 0, 9999 if damaged else place, place)
    image[volume + 268 : volume + 272] = struct.pack("<L", 2)
    image[volume + 446 : volume + 446 + 64] = row.ljust(64, b"\0")
    image[volume + 248 : volume + 260] = struct.pack("<LLHH", SECTOR, 1, 1, 0)
    at = (start + file_set) * SECTOR + 400
    image[at : at + 12] = struct.pack("<LLHH", SECTOR, 0, 1, 0)
    extents = b"".join(struct.pack("<LL", SECTOR, block) for block in (root, file_set, listing))
    entry = struct.pack("<H", 261).ljust(56, b"\0") + struct.pack("<Q", 3 * SECTOR)
    entry = entry.ljust(168, b"\0") + struct.pack("<LL", 0, len(extents)) + extents
    return bytes(image) + entry.ljust(SECTOR, b"\0")


def partition(image: bytes | bytearray) -> int:
    return next(
        at for at in range(32 * SECTOR, len(image), SECTOR) if image[at : at + 2] == b"\5\0"
    )


@pytest.mark.real
@pytest.mark.parametrize("damaged", [False, True])
def test_a_metadata_partition(unpack: Unpack, udf: bytes, damaged: bool) -> None:
    """Also by its copy."""
    found = unpack(in_metadata_partition(udf, damaged=damaged))
    assert [one.data for one in found if isinstance(one, Piece)] == [EICAR * 40]


@pytest.mark.real
def test_any_damage_to_a_metadata_partition_is_survived(unpack: Unpack, udf: bytes) -> None:
    numbers = random.Random(0)
    whole = in_metadata_partition(udf)
    used = [at for at in range(17 * SECTOR, len(whole)) if whole[at]]
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[numbers.choice(used)] = numbers.randrange(256)
        unpack(bytes(damaged))


def zisofs(plain: bytes, bits: int = 15) -> bytes:
    blocks = [
        zlib.compress(block) if any(block) else b""
        for block in (plain[at : at + (1 << bits)] for at in range(0, len(plain), 1 << bits))
    ]
    first = 16 + 4 * (len(blocks) + 1)
    ends = [first + sum(map(len, blocks[:number])) for number in range(len(blocks) + 1)]
    head = b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07" + struct.pack("<LBBH", len(plain), 4, bits, 0)
    return head + struct.pack(f"<{len(ends)}L", *ends) + b"".join(blocks)


PLAIN = random.Random(0).randbytes(40_000) + bytes(70_000) + EICAR


def test_a_file_that_was_packed_for_an_image(unpack: Unpack) -> None:
    assert unpack(zisofs(PLAIN), "a.exe") == [Piece(PLAIN, Role.MEMBER, "a.exe")]
    assert unpack(zisofs(b"")) == [Piece(b"", Role.MEMBER)]


def test_a_packed_file_that_is_truncated_or_damaged_is_told(unpack: Unpack) -> None:
    whole = zisofs(PLAIN)
    for keep in (8, 20, 40, len(whole) // 2, len(whole) - 1):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep
    numbers = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[numbers.randrange(8, 80)] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_packed_file_that_is_a_bomb_is_stopped(unpack: Unpack) -> None:
    found = unpack(zisofs(b"a" * (1 << 20)), max_part_bytes=1 << 16)
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.LIMIT]
    assert [len(one.data) for one in found if isinstance(one, Piece)] == [1 << 16]
