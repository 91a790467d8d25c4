"""Disk images with FAT and NTFS, bare, behind a partition table, in a VHD; and damaged ones."""

import bz2
import lzma
import plistlib
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import lzfse
import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.disks import SECTOR, fat12, partitioned

Unpack = Callable[..., list[Found]]

BIG = bytes(range(256)) * 400


def footer(size: int, kind: int, header_at: int = 0) -> bytes:
    head = struct.pack(
        ">8sLLQLLLLQQL", b"conectix", 2, 0x10000, header_at, 0, 0, 0, 0, size, size, 0
    )
    return (head[:60] + struct.pack(">L", kind)).ljust(SECTOR, b"\0")


def fixed_vhd(image: bytes) -> bytes:
    return image + footer(len(image), 2)


def dynamic_vhd(image: bytes, block: int = 4096) -> bytes:
    """Blocks of zeros are left out."""
    blocks = [image[at : at + block].ljust(block, b"\0") for at in range(0, len(image), block)]
    at = SECTOR + 1024 + -(-4 * len(blocks) // SECTOR) * SECTOR
    table, body = b"", b""
    for content in blocks:
        if any(content):
            table += ((at + len(body)) // SECTOR).to_bytes(4, "big")
            body += b"\xff" * SECTOR + content
        else:
            table += b"\xff\xff\xff\xff"
    head = struct.pack(">8sQQLLL", b"cxsparse", 1 << 64 - 1 & 0xFFFFFFFFFFFFFFFF, SECTOR + 1024,
                       0x10000, len(blocks), block)  # fmt: skip
    end = footer(len(image), 3, SECTOR)
    padded = table.ljust(at - SECTOR - 1024, b"\xff")
    return end + head.ljust(1024, b"\0") + padded + body + end


WRAPPINGS = {
    "bare": lambda image: image,
    "partition": partitioned,
    "fixed VHD": lambda image: fixed_vhd(partitioned(image)),
    "dynamic VHD": lambda image: dynamic_vhd(partitioned(image)),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_a_file_in_a_disk_image(unpack: Unpack, wrap: Callable[[bytes], bytes]) -> None:
    [piece] = unpack(wrap(fat12()))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("EICAR.COM", EICAR)


def test_a_file_of_several_clusters(unpack: Unpack) -> None:
    content = BIG[:5000]
    [piece] = unpack(fat12(content=content))
    assert isinstance(piece, Piece)
    assert piece.data == content


def test_an_image_without_anything_known_is_unscannable(unpack: Unpack) -> None:
    [shut] = unpack(fixed_vhd(b"\1" * 5000))
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.UNSUPPORTED


def test_a_partition_that_is_not_known_is_unscannable(unpack: Unpack) -> None:
    [shut] = unpack(partitioned(b"\1" * 5120))
    assert isinstance(shut, Shut)
    assert (shut.reason, shut.label) == (Reason.UNSUPPORTED, "partition 1")


def test_a_chain_that_leads_to_itself_ends(unpack: Unpack) -> None:
    image = bytearray(fat12(content=BIG[:2000]))
    image[SECTOR + 3 : SECTOR + 6] = bytes([2, 0x20, 0])  # cluster 2 is followed by 2
    piece = unpack(bytes(image))[0]
    assert isinstance(piece, Piece)
    assert len(piece.data) == 2000


def test_a_disk_of_terabytes_costs_nothing(unpack: Unpack) -> None:
    whole = bytearray(dynamic_vhd(partitioned(fat12())))
    for at in (48, len(whole) - SECTOR + 48):
        whole[at : at + 8] = (1 << 45).to_bytes(8, "big")
    [piece] = unpack(bytes(whole))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
def test_any_damage_is_survived(unpack: Unpack, wrap: Callable[[bytes], bytes]) -> None:
    whole = wrap(fat12(content=BIG[:3000]))
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(min(len(damaged), 9000))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.fixture(scope="session")
def ntfs(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    for program in ("mkntfs", "ntfscp"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            pytest.skip(f"needs {program} (Debian: ntfs-3g), which is not installed")
    folder: Path = tmp_path_factory.mktemp("ntfs")
    image = folder / "image"
    image.write_bytes(bytes(2 * 1024 * 1024))
    (folder / "big").write_bytes(BIG)
    (folder / "small").write_bytes(EICAR)
    subprocess.run(
        ["/usr/sbin/mkntfs", "-F", "-q", "-Q", str(image)], check=True, capture_output=True
    )
    for name in ("big", "small"):
        command = ["/usr/sbin/ntfscp", str(image), str(folder / name), f"{name}.exe"]
        subprocess.run(command, check=True, capture_output=True)
    return image.read_bytes()


@pytest.mark.real
def test_files_in_ntfs_within_their_record_and_outside(unpack: Unpack, ntfs: bytes) -> None:
    pieces = {piece.name: piece.data for piece in unpack(ntfs) if isinstance(piece, Piece)}
    assert pieces == {"big.exe": BIG, "small.exe": EICAR}


@pytest.mark.real
def test_any_damage_to_ntfs_is_survived(unpack: Unpack, ntfs: bytes) -> None:
    numbers = random.Random(0)
    places = [at for at in range(0, len(ntfs), 512) if ntfs[at : at + 4] == b"FILE"] + [0]
    for _ in range(150):
        damaged = bytearray(ntfs)
        for _ in range(3):
            damaged[numbers.choice(places) + numbers.randrange(512)] = numbers.randrange(256)
        unpack(bytes(damaged))


def dmg(image: bytes, kind: int = 0x80000005) -> bytes:
    """One partition in one piece."""
    packers: dict[int, Callable[[bytes], bytes]] = {
        1: bytes,
        0x80000005: zlib.compress,
        0x80000006: bz2.compress,
        0x80000007: lzfse.compress,
        0x80000008: lzma.compress,
        0x80000004: lambda plain: b"".join(
            bytes([0x80 | len(piece) - 1]) + piece
            for piece in (plain[at : at + 128] for at in range(0, len(plain), 128))
        ),
    }
    packed = packers[kind](image)
    chunk = struct.pack(">LLQQQQ", kind, 0, 0, len(image) // SECTOR, 0, len(packed))
    end = struct.pack(">LLQQQQ", 0xFFFFFFFF, 0, 0, 0, 0, 0)
    table = b"mish".ljust(204, b"\0") + chunk + end
    plist = plistlib.dumps({"resource-fork": {"blkx": [{"Name": "disk", "Data": table}]}})
    trailer = b"koly".ljust(0xD8, b"\0") + struct.pack(">QQ", len(packed), len(plist))
    return packed + plist + trailer.ljust(512, b"\0")


@pytest.mark.parametrize("kind", [1, 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008])
def test_a_file_in_a_macos_image(unpack: Unpack, kind: int) -> None:
    [piece] = unpack(dmg(fat12(content=BIG[:3000]), kind))
    assert isinstance(piece, Piece)
    assert piece.data == BIG[:3000]


@pytest.mark.parametrize("kind", [1, 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008])
def test_what_is_in_a_macos_image_is_put_together(unpack: Unpack, kind: int) -> None:
    image = b"no file system " + BIG[: 3 * 512 - 15]
    [piece] = unpack(dmg(image, kind))
    assert isinstance(piece, Piece)
    assert piece.data == image


def test_a_piece_of_a_macos_image_that_is_damaged_is_told(unpack: Unpack) -> None:
    whole = bytearray(dmg(fat12(content=BIG[:3000])))
    whole[60:80] = bytes(20)
    assert any(isinstance(one, Shut) for one in unpack(bytes(whole)))


@pytest.mark.parametrize("image", [b"encrcdsa" + bytes(600), bytes(600) + b"cdsaencr"])
def test_an_encrypted_macos_image_is_named(unpack: Unpack, image: bytes) -> None:
    [shut] = unpack(image)
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.ENCRYPTED


def test_a_macos_file_system_is_said_not_to_be_taken_apart(unpack: Unpack) -> None:
    image = bytes(1024) + b"BD".ljust(512, b"\0") + EICAR.ljust(512, b"\0")
    piece, shut = unpack(dmg(image))
    assert isinstance(piece, Piece)
    assert EICAR in piece.data
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.UNSUPPORTED


def test_a_macos_image_that_is_a_bomb_is_stopped(unpack: Unpack) -> None:
    found = unpack(dmg(bytes(64 * 1024 * 1024)))
    assert [shut.reason for shut in found if isinstance(shut, Shut)] == [Reason.LIMIT]


@pytest.mark.parametrize("kind", [1, 0x80000004, 0x80000005, 0x80000007])
def test_any_damage_to_a_macos_image_is_survived(unpack: Unpack, kind: int) -> None:
    whole = dmg(fat12(), kind)
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))
