"""NTFS, byte by byte: files compressed by it or by Windows, spread over records; and damaged."""

import random
import struct
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.test_wim import packed, xpress

Unpack = Callable[..., list[Found]]
Members = Callable[..., list[tuple[str, bytes]]]

SECTOR, RECORD = 512, 1024
UNIT = 16 * SECTOR
TABLE_AT, RECORDS = 4, 40
DATA_AT = TABLE_AT + RECORDS * 2
CONTENT = random.Random(0).randbytes(UNIT) + b"words and " * 3000 + bytes(2 * UNIT) + EICAR


def resident(kind: int, content: bytes, name: str = "") -> bytes:
    raw = name.encode("utf-16-le")
    at = (24 + len(raw) + 7) & ~7
    size = (at + len(content) + 7) & ~7
    head = struct.pack("<LLBBHHHLHH", kind, size, 0, len(name), 24, 0, 0, len(content), at, 0)
    return ((head + raw).ljust(at, b"\0") + content).ljust(size, b"\0")


def outside(
    runs: list[tuple[int, int]], size: int, *, name: str = "", flags: int = 0, first: int = 0
) -> bytes:
    """Data elsewhere; runs are first sector (-1: none) and how many."""
    raw = name.encode("utf-16-le")
    at = (64 + len(raw) + 7) & ~7
    packed_runs, before = b"", 0
    for start, count in runs:
        packed_runs += bytes([0x04 if start < 0 else 0x44]) + struct.pack("<L", count)
        if start >= 0:
            packed_runs += struct.pack("<l", start - before)
            before = start
    total = (at + len(packed_runs) + 8) & ~7
    head = struct.pack("<LLBBHHH", 0x80, total, 1, len(name), 64, flags, 0)
    clusters = sum(count for _, count in runs)
    head += struct.pack("<QQHH4xQQQ", first, first + clusters - 1, at, 4 if flags else 0,
                        clusters * SECTOR, size, size)  # fmt: skip
    return ((head + raw).ljust(at, b"\0") + packed_runs).ljust(total, b"\0")


def called(name: str) -> bytes:
    return resident(0x30, bytes(64) + bytes([len(name), 1]) + name.encode("utf-16-le"))


def record(*attributes: bytes, base: int = 0) -> bytes:
    head = struct.pack("<4sHHQHHHHLLQ", b"FILE", 48, 3, 0, 1, 1, 56, 1, 0, RECORD, base)
    raw = (head.ljust(56, b"\0") + b"".join(attributes) + b"\xff" * 4).ljust(RECORD, b"\0")
    ends = raw[510:512] + raw[1022:1024]
    return raw[:48] + b"\1\0" + ends + raw[54:510] + b"\1\0" + raw[512:1022] + b"\1\0"


def ntfs(records: dict[int, bytes], data: bytes) -> bytes:
    """Clusters are sectors; the table is in sector 4, data from ``DATA_AT`` on."""
    boot = b"\xeb\x52\x90NTFS    " + struct.pack("<HB", SECTOR, 1)
    boot = boot.ljust(40, b"\0") + struct.pack("<QQQb", 1 << 20, TABLE_AT, 0, -10)
    own = record(outside([(TABLE_AT, RECORDS * 2)], RECORDS * RECORD))
    table = b"".join({0: own, **records}.get(n, bytes(RECORD)) for n in range(RECORDS))
    front = boot.ljust(510, b"\0") + b"\x55\xaa"
    whole = front.ljust(TABLE_AT * SECTOR, b"\0") + table + data
    return whole.ljust(-(-len(whole) // SECTOR) * SECTOR, b"\0")


def lznt1(plain: bytes) -> bytes:
    """Chunks whose second half is what repeats the ten bytes before it, if it does."""
    out = b""
    for at in range(0, len(plain), 4096):
        chunk = plain[at : at + 4096]
        body, done = b"", 0
        while done < len(chunk):
            flags, tokens = 0, b""
            for bit in range(8):
                piece = chunk[done : done + 10]
                if done >= 10 and len(piece) == 10 and piece == chunk[done - 10 : done]:
                    bits = 12 - max(0, (done - 1).bit_length() - 4)
                    tokens += struct.pack("<H", 9 << bits | 7)
                    flags |= 1 << bit
                    done += 10
                elif piece:
                    tokens += piece[:1]
                    done += 1
            body += bytes([flags]) + tokens
        if len(body) < len(chunk):
            out += struct.pack("<H", 0xB000 | len(body) - 1) + body
        else:
            out += struct.pack("<H", 0x3000 | len(chunk) - 1) + chunk
    return out


def compressed(content: bytes = CONTENT, *, flags: int = 1) -> bytes:
    """Units that are plain, packed, and none at all."""
    runs, data = [], b""
    for at in range(0, len(content), UNIT):
        unit = content[at : at + UNIT]
        start = DATA_AT + len(data) // SECTOR
        small = lznt1(unit)
        if not any(unit):
            runs.append((-1, 16))
        elif len(small) > UNIT - SECTOR:
            runs.append((start, 16))
            data += unit.ljust(UNIT, b"\0")
        else:
            count = -(-(len(small) + 2) // SECTOR)
            runs += [(start, count), (-1, 16 - count)]
            data += small.ljust(count * SECTOR, b"\0")
    return ntfs({24: record(called("packed.exe"), outside(runs, len(content), flags=flags))}, data)


def compact(
    content: bytes = CONTENT, *, how: int = 0, provider: int = 2, stream: str = "WofCompressedData"
) -> bytes:
    """As Windows' ``compact /exe`` has it: chunks of 4 KiB by XPRESS."""
    small = packed(content, xpress, 4096)
    reparse = struct.pack("<LHHLLLL", 0x80000017, 16, 0, 1, provider, 1, how)
    file = record(
        called("compact.exe"),
        outside([(-1, -(-len(content) // SECTOR))], len(content), flags=0x8000),
        outside([(DATA_AT, -(-len(small) // SECTOR))], len(small), name=stream),
        resident(0xC0, reparse),
    )
    return ntfs({25: file}, small)


def spread(content: bytes = CONTENT) -> bytes:
    """Half of the data is told by another record."""
    sectors = -(-len(content) // SECTOR)
    half = sectors // 2
    entry = struct.pack("<LHBBQQH", 0x80, 32, 0, 26, 0, 0, 0).ljust(32, b"\0")
    entries = entry[:16] + struct.pack("<Q", 1 << 48 | 26) + entry[24:]
    entries += entry[:8] + struct.pack("<QQ", half, 1 << 48 | 27) + entry[24:]
    first = outside([(DATA_AT, half)], len(content))
    second = outside([(DATA_AT + half, sectors - half)], 0, first=half)
    return ntfs(
        {
            26: record(resident(0x20, entries), called("spread.exe"), first),
            27: record(second, base=1 << 48 | 26),
        },
        content,
    )


DISKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "compressed": (compressed, "packed.exe"),
    "compact": (compact, "compact.exe"),
    "spread": (spread, "spread.exe"),
}


@pytest.mark.parametrize(("made", "name"), DISKS.values(), ids=DISKS)
def test_a_file_is_whole(unpack: Unpack, made: Callable[[], bytes], name: str) -> None:
    [piece] = unpack(made())
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == (name, CONTENT)


@pytest.mark.parametrize(
    "disk",
    [compact(how=9), compact(provider=1), compact(stream="other"), compressed(flags=2)],
    ids=["method", "in a Windows image", "no stream", "by something else"],
)
def test_a_file_that_is_packed_otherwise_is_told(unpack: Unpack, disk: bytes) -> None:
    reasons = [one.reason for one in unpack(disk) if isinstance(one, Shut)]
    assert reasons == [Reason.UNSUPPORTED]


@pytest.mark.parametrize(("made", "name"), DISKS.values(), ids=DISKS)
def test_a_truncated_disk_is_unscannable(
    unpack: Unpack, made: Callable[[], bytes], name: str
) -> None:
    whole = made()
    for keep in (2100, 30_000, DATA_AT * SECTOR + 2000):
        assert any(isinstance(one, Shut) for one in unpack(whole[:keep])), keep


@pytest.mark.parametrize(("made", "name"), DISKS.values(), ids=DISKS)
def test_any_damage_is_survived(unpack: Unpack, made: Callable[[], bytes], name: str) -> None:
    whole = made()
    places = [*range(512), *range((TABLE_AT + 48) * SECTOR, (TABLE_AT + 56) * SECTOR)]
    places += range(DATA_AT * SECTOR, min(len(whole), DATA_AT * SECTOR + 30_000))
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.choice(places)] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_file_of_exabytes_costs_nothing(unpack: Unpack) -> None:
    disk = ntfs({24: record(called("a"), outside([(-1, 0xFFFFFFFF)] * 3, 1 << 60, flags=1))}, b"")
    found = unpack(disk, max_part_bytes=1 << 20)
    [piece] = found
    assert isinstance(piece, Piece)
    assert len(piece.data) == (1 << 20) + 1  # cut, and told, by who reads on


def test_records_that_list_each_other_end(unpack: Unpack) -> None:
    entry = struct.pack("<LHBBQQH", 0x80, 32, 0, 26, 0, 27, 0).ljust(32, b"\0")
    other = entry[:16] + struct.pack("<Q", 26) + entry[24:]
    disk = ntfs(
        {26: record(resident(0x20, entry * 9)), 27: record(resident(0x20, other), base=26)}, b""
    )
    assert unpack(disk) == []
