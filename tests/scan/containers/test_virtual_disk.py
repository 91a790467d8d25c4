"""Virtual disks (VHDX, VMDK, QCOW2, VDI) with a file system in them; and damaged ones."""

import random
import shutil
import struct
import subprocess
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from mailward.scan.containers.crc32c import crc32c
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.disks import SECTOR, fat12, partitioned

Unpack = Callable[..., list[Found]]

MIB = 1 << 20
IMAGE = partitioned(fat12())


def blocks(image: bytes, size: int) -> list[bytes]:
    return [image[at : at + size].ljust(size, b"\0") for at in range(0, len(image), size)]


def checked(block: bytes) -> bytes:
    return block[:4] + struct.pack("<L", crc32c(block)) + block[8:]


def region(name: str, at: int) -> bytes:
    return uuid.UUID(name).bytes_le + struct.pack("<QLL", at, MIB, 1)


def item(name: str, at: int, size: int) -> bytes:
    return uuid.UUID(name).bytes_le + struct.pack("<LLLL", at, size, 0, 0)


def vhdx(
    image: bytes, *, flags: int = 0, log: bytes = b"", sector: int = 512, table: bytes | None = None
) -> bytes:
    """Blocks of a MiB: metadata in the second, the table in the third, then the log, if any, then
    what is not zeros."""
    head = struct.pack("<4sLQ", b"head", 0, 1) + bytes(32)
    head += (LOG if log else bytes(16)) + struct.pack("<HHLQ", 0, 1, len(log), 3 * MIB)
    header = checked(head.ljust(4096, b"\0")).ljust(0x10000, b"\0")
    regions = struct.pack("<4sLLL", b"regi", 0, 2, 0)
    regions += region("8b7ca206-4790-4b9a-b8fe-575f050f886e", MIB)
    regions += region("2dc27766-f623-4200-9d64-115e9bfd4a08", 2 * MIB)
    front = b"vhdxfile".ljust(0x10000, b"\0") + 2 * header
    front += 2 * checked(regions.ljust(0x10000, b"\0"))
    metadata = struct.pack("<8sHH20x", b"metadata", 0, 3)
    metadata += item("caa16737-fa36-4d43-b3b6-33f0aa44e76b", 0x10000, 8)
    metadata += item("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 0x10008, 8)
    metadata += item("8141bf1d-a96f-4709-ba47-f233a8faab5f", 0x10010, 4)
    metadata = metadata.ljust(0x10000, b"\0") + struct.pack("<LLQL", MIB, flags, len(image), sector)
    places, body = b"", b""
    for content in blocks(image, MIB):
        used = any(content)
        places += struct.pack("<Q", 3 * MIB + len(log) + len(body) | 6 if used else 0)
        body += content if used else b""
    places = places if table is None else table
    whole = front.ljust(MIB, b"\0") + metadata.ljust(MIB, b"\0") + places.ljust(MIB, b"\0")
    return whole + log + body


LOG = bytes(range(16))


def entry(
    number: int, *, tail: int = 0, zeros: tuple[int, int] | None = None,
    sector: tuple[int, bytes] | None = None,
) -> bytes:  # fmt: skip
    """Of a log: zeros at a place, or a sector of the file."""
    descriptors, behind = b"", b""
    if zeros is not None:
        descriptors += struct.pack("<4s4xQQQ", b"zero", zeros[1], zeros[0], number)
    if sector is not None:
        at, content = sector
        content = content.ljust(4096, b"\0")
        descriptors += struct.pack("<4s4s8sQQ", b"desc", content[-4:], content[:8], at, number)
        behind = struct.pack("<4sL", b"data", 0) + content[8:-4] + struct.pack("<L", number)
    count, size = len(descriptors) // 32, 4096 + len(behind)
    head = struct.pack("<4sLLLQL4x16sQQ", b"loge", 0, size, tail, number, count, LOG, 0, 0)
    return checked((head + descriptors).ljust(4096, b"\0") + behind)


TABLE = struct.pack("<Q", 4 * MIB | 6)
TORN = entry(9)[:2000].ljust(8192, b"\0")
LOGS = {
    "one": entry(7, sector=(2 * MIB, TABLE)),
    "zeros and then another": entry(7, zeros=(2 * MIB, 4096))
    + entry(8, sector=(2 * MIB, TABLE)),
    "older ones, and one that was torn": entry(2, zeros=(0, 4 * MIB))
    + entry(7, tail=4096, sector=(2 * MIB, TABLE)) + TORN,
}  # fmt: skip


def vmdk(image: bytes, *, packed: bool = False, text: bytes = b"parentCID=ffffffff\n") -> bytes:
    """Grains of 8 sectors; the directory at sector 2, its one table at sector 3."""
    parts = blocks(image, 8 * SECTOR)
    places, body = b"", b""
    for number, content in enumerate(parts):
        place = 8 + len(body) // SECTOR if any(content) else 0
        places += struct.pack("<L", place)
        if place and packed:
            deflated = zlib.compress(content)
            grain = struct.pack("<QL", 8 * number, len(deflated)) + deflated
            body += grain.ljust(-(-len(grain) // SECTOR) * SECTOR, b"\0")
        elif place:
            body += content
    capacity = -(-len(image) // SECTOR)
    flags = 0x30001 if packed else 1
    directory = 0xFFFFFFFFFFFFFFFF if packed else 2
    fields = (1, 1, 512, 0, 2, 8, 0, b"\n \r\n", int(packed))
    head = struct.pack("<4sLLQQQQLQQQB4sH", b"KDMV", 3, flags, capacity, 8, fields[0], fields[1],
                       fields[2], fields[3], directory, *fields[5:])  # fmt: skip
    front = head.ljust(SECTOR, b"\0") + text.ljust(SECTOR, b"\0")
    front += struct.pack("<L", 3).ljust(SECTOR, b"\0") + places.ljust(5 * SECTOR, b"\0")
    whole = front + body
    if packed:
        at = head.index(struct.pack("<Q", directory))
        whole += (head[:at] + struct.pack("<Q", 2) + head[at + 8 :]).ljust(1024, b"\0")
    return whole


def qcow2(
    image: bytes, packing: str = "", *, behind: int = 0, crypt: int = 0, snapshots: int = 0
) -> bytes:
    """Clusters of 4 KiB: the first table in the second, the second table in the third."""
    size = 4096
    entries, body = b"", b""
    for content in blocks(image, size):
        at = 3 * size + len(body)
        if not any(content):
            entries += bytes(8)
        elif packing:
            packer = zlib.compressobj(9, zlib.DEFLATED, -12)
            deflated = packer.compress(content) + packer.flush()
            deflated = zstd.compress(content) if packing == "zstd" else deflated
            sectors = (at + len(deflated) - 1) // 512 - at // 512
            entries += struct.pack(">Q", 1 << 62 | sectors << 58 | at)
            body += deflated
        else:
            entries += struct.pack(">Q", 1 << 63 | at)
            body += content
    head = struct.pack(">4sLQLLQLLQQLLQ", b"QFI\xfb", 3, behind, 0, 12, len(image), crypt, 1, size,
                       0, 0, snapshots, 0)  # fmt: skip
    head += struct.pack(">QQQLLB7x", 8 if packing == "zstd" else 0, 0, 0, 4, 112, packing == "zstd")
    tables = struct.pack(">Q", 1 << 63 | 2 * size).ljust(size, b"\0") + entries.ljust(size, b"\0")
    return head.ljust(size, b"\0") + tables + body


def vdi(image: bytes, kind: int = 1) -> bytes:
    """Blocks of 4 KiB; the table at 512, the first block at 1024."""
    size, places, body = 4096, b"", b""
    parts = blocks(image, size)
    for content in parts:
        used = any(content)
        places += struct.pack("<L", len(body) // size if used else 0xFFFFFFFF)
        body += content if used else b""
    head = b"<<< disk >>>".ljust(64, b"\0") + struct.pack("<LLLL", 0xBEDA107F, 0x10001, 400, kind)
    head = head.ljust(0x154, b"\0") + struct.pack("<LL", 512, 1024)
    head = head.ljust(0x170, b"\0") + struct.pack("<QLLL", len(image), size, 0, len(parts))
    return head.ljust(512, b"\0") + places.ljust(512, b"\0") + body


DISKS: dict[str, Callable[[bytes], bytes]] = {
    "VHDX": vhdx,
    "VMDK": vmdk,
    "VMDK, packed": lambda image: vmdk(image, packed=True),
    "QCOW2": qcow2,
    "QCOW2, deflate": lambda image: qcow2(image, "deflate"),
    "QCOW2, zstd": lambda image: qcow2(image, "zstd"),
    "VDI": vdi,
}


@pytest.mark.parametrize("made", DISKS.values(), ids=DISKS)
def test_a_file_in_a_virtual_disk(unpack: Unpack, made: Callable[[bytes], bytes]) -> None:
    [piece] = unpack(made(IMAGE))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("EICAR.COM", EICAR)


@pytest.mark.parametrize(
    ("disk", "reason"),
    [
        (vhdx(IMAGE, flags=2), Reason.UNSUPPORTED),
        (vmdk(IMAGE, text=b"CID=1\nparentCID=12345678\n"), Reason.UNSUPPORTED),
        (b"# Disk DescriptorFile\nversion=1\n", Reason.UNSUPPORTED),
        (b"COWD" + bytes(2000), Reason.UNSUPPORTED),
        (qcow2(IMAGE, behind=200), Reason.UNSUPPORTED),
        (qcow2(IMAGE, crypt=2), Reason.ENCRYPTED),
        (b"QFI\xfb\0\0\0\1" + bytes(200), Reason.UNSUPPORTED),
        (vdi(IMAGE, kind=4), Reason.UNSUPPORTED),
    ],
    ids=["VHDX", "VMDK", "VMDK text", "ESX", "QCOW2", "encrypted QCOW2", "QCOW1", "VDI"],
)
def test_a_disk_that_is_not_all_there_is_unscannable(
    unpack: Unpack, disk: bytes, reason: Reason
) -> None:
    [shut] = unpack(disk)
    assert isinstance(shut, Shut)
    assert shut.reason is reason


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
def test_a_log_that_was_not_played_back_is(unpack: Unpack, log: bytes) -> None:
    disk = vhdx(IMAGE, log=log.ljust(MIB, b"\0"), table=b"")
    [piece] = unpack(disk)
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


def test_a_log_that_goes_round_the_ring_is_played_back(unpack: Unpack) -> None:
    last = entry(7, tail=MIB - 8192, sector=(2 * MIB, TABLE))
    row = entry(6, zeros=(2 * MIB, 8)).ljust(4096, b"\0") + last
    ring = row[8192:].ljust(MIB - 8192, b"\0") + row[:8192]
    [piece] = unpack(vhdx(IMAGE, log=ring, table=b""))
    assert isinstance(piece, Piece)


def test_a_disk_is_read_with_its_log_and_without(unpack: Unpack) -> None:
    """A program that knows no logs shows the file, one that does shows none."""
    log = entry(7, zeros=(2 * MIB, 4096)).ljust(MIB, b"\0")
    [piece] = unpack(vhdx(IMAGE, log=log))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


@pytest.mark.parametrize(
    "log",
    [
        b"\1" * MIB,
        entry(7, sector=(2 * MIB, TABLE))[:8000].ljust(MIB, b"\0"),
        entry(7, tail=4096).ljust(MIB, b"\0"),
        entry(7, sector=(1 << 62, b"")).ljust(MIB, b"\0"),
        entry(7, sector=(1, b"")).ljust(MIB, b"\0"),
        b"".join(entry(7 + n, zeros=(0, 1 << 60)) for n in range(20)).ljust(MIB, b"\0"),
        entry(7).ljust(MIB - 1, b"\0"),
    ],
    ids=["nothing", "torn", "no first", "far behind", "no sector", "zeros for ever", "no ring"],
)
def test_a_log_that_cannot_be_played_back_is_told(unpack: Unpack, log: bytes) -> None:
    found = unpack(vhdx(IMAGE, log=log))
    assert isinstance(found[0], Shut)
    assert (found[0].reason, "log" in found[0].detail) == (Reason.MALFORMED, True)


def test_any_damage_to_a_log_is_survived(unpack: Unpack) -> None:
    log = LOGS["older ones, and one that was torn"].ljust(MIB, b"\0")
    whole = vhdx(IMAGE, log=log, table=b"")
    numbers = random.Random(0)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[3 * MIB + numbers.randrange(160)] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_snapshots_are_told(unpack: Unpack) -> None:
    shut, piece = unpack(qcow2(IMAGE, snapshots=1))
    assert isinstance(shut, Shut)
    assert isinstance(piece, Piece)


def test_the_table_of_regions_whose_checksum_is_right_counts(unpack: Unpack) -> None:
    """Windows reads the second then; a decoy in the first must not hide a disk."""
    disk = bytearray(vhdx(IMAGE))
    disk[0x30000 + 16 : 0x30000 + 64] = bytes(48)
    [piece] = unpack(bytes(disk))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


def test_partitions_count_in_the_sectors_of_the_disk(unpack: Unpack) -> None:
    entry = struct.pack("<B3xB3xLL", 0x80, 1, 1, 100)
    record = b"\xfa".ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"
    [piece] = unpack(vhdx(record.ljust(4096, b"\0") + fat12(), sector=4096))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


@pytest.mark.parametrize("made", DISKS.values(), ids=DISKS)
def test_a_truncated_disk_is_unscannable(unpack: Unpack, made: Callable[[bytes], bytes]) -> None:
    whole = made(partitioned(fat12(content=random.Random(0).randbytes(16_000))))
    for keep in (80, 600, len(whole.rstrip(b"\0")) - 9000):
        reasons = [shut.reason for shut in unpack(whole[:keep]) if isinstance(shut, Shut)]
        assert reasons, keep


@pytest.mark.parametrize("made", DISKS.values(), ids=DISKS)
def test_any_damage_is_survived(unpack: Unpack, made: Callable[[bytes], bytes]) -> None:
    whole = made(IMAGE)
    places = [at for at in range(0, len(whole), 64) if any(whole[at : at + 64])]
    numbers = random.Random(0)
    for _ in range(20 if len(whole) > MIB else 150):
        damaged = bytearray(whole)
        for _ in range(3):
            at = numbers.choice(places) + numbers.randrange(64)
            damaged[min(at, len(damaged) - 1)] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize(
    "magic", [b"vhdxfile", b"KDMV", b"QFI\xfb", bytes(64) + b"\x7f\x10\xda\xbe"]
)
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_unscannable(
    unpack: Unpack, magic: bytes, filler: bytes
) -> None:
    for size in (len(magic), 100_000):
        found = unpack(magic.ljust(size, filler))
        assert all(isinstance(one, Shut) for one in found)
        assert found or (size, filler) == (100_000, b"\0")


def test_a_disk_of_petabytes_costs_nothing(unpack: Unpack) -> None:
    disk = bytearray(qcow2(IMAGE))
    disk[24:32] = (1 << 60).to_bytes(8, "big")
    [piece] = unpack(bytes(disk))
    assert isinstance(piece, Piece)


def test_logical_partitions_that_lead_to_each_other_end(unpack: Unpack) -> None:
    def table(*entries: tuple[int, int, int]) -> bytes:
        rows = b"".join(struct.pack("<B3xB3xLL", 0, *entry) for entry in entries)
        return b"\xfa".ljust(446, b"\0") + rows.ljust(64, b"\0") + b"\x55\xaa"

    image = fat12()
    disk = table((5, 1, 500)) + table((1, 2, len(image) // SECTOR), (5, 1, 10))
    disk += table((5, 0, 10)) + image
    [piece] = unpack(disk)
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


REAL = [
    ("vhdx", ""), ("vhdx", "subformat=fixed"), ("vpc", ""), ("vpc", "subformat=fixed"),
    ("vmdk", ""), ("vmdk", "subformat=streamOptimized"), ("qcow2", ""), ("qcow2", "-c"),
    ("qcow2", "compression_type=zstd,cluster_size=4096"), ("qcow2", "compat=0.10"), ("vdi", ""),
]  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize(("kind", "option"), REAL)
def test_disks_of_qemu(unpack: Unpack, tmp_path: Path, kind: str, option: str) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img (Debian: qemu-utils), which is not installed")
    content = random.Random(0).randbytes(20_000)
    image = partitioned(fat12(content=content)).ljust(3 * MIB, b"\0")
    (tmp_path / "raw").write_bytes(image)
    options = ["-c"] if option == "-c" or "zstd" in option else []
    options += ["-o", option] if "=" in option else []
    command = ["qemu-img", "convert", "-f", "raw", "-O", kind, *options, "raw", "disk"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    [piece] = unpack((tmp_path / "disk").read_bytes())
    assert isinstance(piece, Piece)
    assert piece.data == content


@pytest.mark.real
def test_qemu_plays_the_same_log_back(unpack: Unpack, tmp_path: Path) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("needs qemu-img (Debian: qemu-utils), which is not installed")

    def qemu_img(*arguments: str) -> None:
        subprocess.run(["qemu-img", *arguments], cwd=tmp_path, check=True, capture_output=True)

    image = IMAGE.ljust(3 * MIB, b"\0")
    (tmp_path / "raw").write_bytes(image)
    qemu_img("convert", "-f", "raw", "-O", "vhdx", "raw", "disk")
    disk = bytearray((tmp_path / "disk").read_bytes())
    name = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
    table_at = struct.unpack_from("<Q", disk, disk.index(name, 0x30000) + 16)[0]
    log = entry(7, zeros=(table_at, 8192))
    log += entry(8, sector=(table_at, bytes(disk[table_at : table_at + 4096])))
    disk[table_at : table_at + 4096] = bytes(4096)
    for at in (0x10000, 0x20000):
        log_at = struct.unpack_from("<Q", disk, at + 72)[0]
        disk[at + 4 : at + 8], disk[at + 48 : at + 64] = bytes(4), LOG
        disk[at : at + 4096] = checked(bytes(disk[at : at + 4096]))
        disk[log_at : log_at + len(log)] = log
    (tmp_path / "disk").write_bytes(disk)
    [piece] = unpack(bytes(disk))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR
    qemu_img("check", "-r", "all", "disk")
    qemu_img("convert", "-O", "raw", "disk", "played")
    assert (tmp_path / "played").read_bytes() == image
