"""ZOO archives: what they hold is found, damage is survived and said."""

import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailward.scan.containers import libarchive
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.mime import uu
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.ace_archives import text
from tests.scan.containers.archives import _crc16 as crc16

Unpack = Callable[..., list[Found]]

FILES = {"a.com": EICAR, "words.txt": text(90_000), "one.bin": b"x"}


def lzw(data: bytes) -> bytes:
    """As zoo packs: codes of 9 to 13 bits, the lowest first, and a clear one before it is full."""
    value = width_sum = 0
    bits, table = 9, dict[bytes, int]()

    def put(code: int) -> None:
        nonlocal value, width_sum
        value |= code << width_sum
        width_sum += bits

    put(256)
    word, made = b"", 258
    out = bytearray()
    for byte in data:
        longer = word + bytes([byte])
        if len(longer) == 1 or longer in table:
            word = longer
            continue
        put(table[word] if len(word) > 1 else word[0])
        # The reader makes a code one later, so its width grows one later too.
        if made == 1 << bits and bits < 13:
            bits += 1
        table[longer] = made
        made += 1
        if made == 8000:
            put(256)
            table, made, bits = {}, 258, 9
        word = bytes([byte])
        if width_sum > 4096:
            whole = width_sum // 8
            out += (value & (1 << 8 * whole) - 1).to_bytes(whole, "little")
            value >>= 8 * whole
            width_sum -= 8 * whole
    if word:
        put(table[word] if len(word) > 1 else word[0])
        if made == 1 << bits and bits < 13:
            bits += 1
    put(257)
    return bytes(out) + value.to_bytes(-(-width_sum // 8), "little")


def zoo(files: Mapping[str, bytes | tuple[bytes, bytes]], method: int = 1) -> bytes:
    """``files``: content, or content and what it is packed to."""
    head = b"ZOO 2.10 Archive.\x1a\0\0"
    out = head + struct.pack(
        "<4slLBBBLHB", b"\xdc\xa7\xc4\xfd", 42, -42 & 0xFFFFFFFF, 2, 0, 1, 0, 0, 0
    )
    for name, content in files.items():
        plain, stored = content if isinstance(content, tuple) else (content, None)
        if stored is None:
            stored = plain if method == 0 else lzw(plain)
        check = crc16(plain) if len(plain) < 1 << 20 else 0  # which takes long
        raw = name.encode() + b"\0"
        behind = struct.pack("<HBHBB", 2 + len(raw), 127, 0, len(raw), 0) + raw
        size = 51 + len(behind) + 5
        data_at = len(out) + size
        out += struct.pack(
            "<4sBBLLHHHLLBBBBLH13s", b"\xdc\xa7\xc4\xfd", 2, method, data_at + len(stored), data_at,
            0x5821, 0, check, len(plain), len(stored), 2, 1, 0, 0, 0, 0, b"SHORT.NAM",
        )  # fmt: skip
        out += behind + bytes(5) + stored
    return out + struct.pack("<4sBBLL", b"\xdc\xa7\xc4\xfd", 2, 0, 0, 0).ljust(56, b"\0")


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


def shut(found: list[Found]) -> list[Shut]:
    return [one for one in found if isinstance(one, Shut)]


@pytest.mark.parametrize("method", [0, 1])
def test_the_files_are_found(unpack: Unpack, method: int) -> None:
    found = unpack(zoo(FILES, method))
    assert files(found) == FILES
    assert not shut(found)


@pytest.mark.real
@pytest.mark.parametrize("method", [0, 1])
def test_unar_reads_what_these_tests_make(tmp_path: Path, method: int) -> None:
    if shutil.which("unar") is None:
        pytest.skip("needs unar, which is not installed")
    (tmp_path / "made.zoo").write_bytes(zoo(FILES, method))
    command = ["unar", "-q", "-D", "-o", str(tmp_path), str(tmp_path / "made.zoo")]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


@pytest.mark.shared
@pytest.mark.skipif(not libarchive.version(), reason="needs libarchive13, not installed")
def test_what_is_packed_as_lha_packs_is_opened(unpack: Unpack, shared: Path) -> None:
    folder = shared / "containers/libarchive/libarchive/test"
    lines = (folder / "test_read_format_lha_header0.lzh.uu").read_bytes()
    [(_, archive)] = uu.decode(lines)
    at = archive.index(b"-lh5-")
    packed_bytes, size = struct.unpack_from("<LL", archive, at + 5)
    start = at - 2 + 2 + archive[at - 2]
    found = files(unpack(archive))
    plain = next(data for data in found.values() if len(data) == size)
    made = zoo({"a.txt": (plain, archive[start : start + packed_bytes])}, method=2)
    opened = unpack(made)
    assert files(opened) == {"a.txt": plain}
    assert not shut(opened)


@pytest.mark.parametrize("method", [0, 1])
def test_an_archive_that_is_cut_says_so(unpack: Unpack, method: int) -> None:
    whole = zoo({"a.com": EICAR}, method)
    for end in range(24, len(whole)):
        found = unpack(whole[:end])
        assert EICAR in files(found).values() or shut(found), end


@pytest.mark.parametrize("method", [0, 1, 2])
def test_damage_anywhere_is_survived(unpack: Unpack, method: int) -> None:
    whole = zoo({"a.com": EICAR, "words": text(300)}, method)
    numbers = random.Random(0)
    for at in range(24, len(whole)):
        damaged = bytearray(whole)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_list_that_leads_back_to_itself_ends(unpack: Unpack) -> None:
    whole = bytearray(zoo({"a.com": EICAR}, 0))
    struct.pack_into("<L", whole, 42 + 6, 42)
    found = unpack(bytes(whole))
    assert list(files(found).values()) == [EICAR]
    assert [one.reason for one in shut(found)] == [Reason.MALFORMED]


def test_files_over_a_limit_are_cut(unpack: Unpack) -> None:
    for method in (0, 1):
        found = unpack(zoo({"a": bytes(200_000)}, method), max_part_bytes=50_000)
        assert len(files(found)["a"]) == 50_000
        assert [one.reason for one in shut(found)] == [Reason.LIMIT]


def test_bombs_are_stopped(unpack: Unpack) -> None:
    value, at, bits = 256, 9, 9
    for number, code in enumerate([0, *range(258, 8192), *[8191] * 3000]):
        value |= code << at
        at += bits
        bits = min(13, max(9, (258 + number).bit_length()))
    bomb = value.to_bytes(at // 8 + 1, "little")
    found = unpack(zoo({"a": (bytes(50_000_000), bomb)}))
    assert 10_000_000 < len(files(found)["a"]) < 13_000_000
    assert [one.reason for one in shut(found)] == [Reason.LIMIT]
