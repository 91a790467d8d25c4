"""Solid RAR up to 4: what is in it is found, damage is survived and said."""

import lzma
import random
from collections.abc import Callable

import pytest

from mailward.scan.containers import rar_filters
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import rar_archives
from tests.scan.containers.ace_archives import text
from tests.scan.containers.rar_archives import (
    FILES,
    FILTERED,
    LZ77,
    PPMD,
    PPMD_FULL,
    SOLID,
    Token,
    archive,
    lz77,
    member,
    with_filter,
)

Unpack = Callable[..., list[Found]]


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


def shut(found: list[Found]) -> list[Reason]:
    return [one.reason for one in found if isinstance(one, Shut)]


@pytest.mark.parametrize("whole", [LZ77, PPMD], ids=["lz77", "ppmd"])
def test_files_that_go_on_from_each_other_are_found(unpack: Unpack, whole: bytes) -> None:
    found = unpack(whole)
    assert files(found) == FILES
    assert not shut(found)


@pytest.mark.parametrize("name", FILTERED)
def test_what_was_done_before_packing_is_undone(unpack: Unpack, name: str) -> None:
    whole, plain = FILTERED[name]
    found = unpack(whole)
    assert files(found) == {name: plain, "eicar.com": EICAR}
    assert not shut(found)


def test_a_match_leads_into_the_file_before(unpack: Unpack) -> None:
    first = member("words", EICAR, lz77([*EICAR, "goes on"]))
    at = len(EICAR)
    again: list[Token] = [(at, 8) for _ in range(at // 8)]
    rest = lz77([*again, *EICAR[at // 8 * 8 :], "end"], begins=False)
    third = member("third", EICAR, lz77([*EICAR, "end"]), flags=SOLID)
    found = unpack(archive(first, member("eicar.com", EICAR, rest, flags=SOLID), third))
    assert files(found) == {"words": EICAR, "eicar.com": EICAR, "third": EICAR}
    assert not shut(found)


def test_a_solid_file_in_an_archive_that_does_not_say_so(unpack: Unpack) -> None:
    first = member("a", EICAR, lz77([*EICAR, "end"]))
    second = member("b", EICAR, lz77([*EICAR, "end"]), flags=SOLID)
    assert files(unpack(archive(first, second, flags=0))) == {"a": EICAR, "b": EICAR}


def test_a_model_that_is_full_begins_anew(unpack: Unpack) -> None:
    found = unpack(PPMD_FULL)
    assert files(found) == {"near": rar_archives.near()}
    assert not shut(found)


def test_stored_files_folders_and_names_are_read(unpack: Unpack) -> None:
    packed = member("a", EICAR, lz77([*EICAR, "goes on"]))
    stored = member("in\\folder", b"stored", b"stored", method=0x30, flags=SOLID)
    folder = member("folder", b"", b"", method=0x30, flags=0xE0)
    coded = b"ab\0\x04\x50" + b"\x30\x31" + b"\x41"  # high byte, kinds, two letters by it, one more
    name = "ab\0" + coded[3:].decode("latin-1")
    wide = member(name, b"w", b"w", method=0x30, flags=0x200)
    again = member(
        "again", EICAR, lz77([(len(EICAR), 9), *EICAR[9:], "end"], begins=False), flags=SOLID
    )
    found = unpack(archive(packed, folder, stored, wide, again))
    assert files(found) == {
        "a": EICAR, "in/folder": b"stored", "\u0430\u0431A": b"w", "again": EICAR,
    }  # fmt: skip
    assert not shut(found)


def test_what_is_encrypted_or_in_another_volume_stays_shut(unpack: Unpack) -> None:
    packed = lz77([*EICAR, "end"])
    first = member("a", EICAR, packed)
    before = member("b", EICAR, packed, flags=1 | SOLID)
    assert shut(unpack(archive(first, before))) == [Reason.UNSUPPORTED]
    goes_on = member("b", EICAR, packed, flags=2 | SOLID)
    found = unpack(archive(first, goes_on))
    assert files(found)["b"] == EICAR
    assert shut(found) == [Reason.UNSUPPORTED]
    unknown = member("b", EICAR, packed, version=99, flags=SOLID)
    assert shut(unpack(archive(first, unknown))) == [Reason.UNSUPPORTED]


def test_a_program_that_is_not_known_is_told(unpack: Unpack) -> None:
    """The data is read as it is packed."""
    packed = lz77([with_filter(b"\1\2\3", len(EICAR)), *EICAR, "end"])
    found = unpack(archive(member("eicar.com", EICAR, packed, flags=SOLID)))
    assert files(found) == {"eicar.com": EICAR}
    assert shut(found) == [Reason.UNSUPPORTED]


def test_branches_of_itanium_are_made_relative() -> None:
    """What xz makes absolute in the same way."""
    choose = random.Random(0)
    plain = b""
    for _ in range(200):
        bundle = choose.randrange(16, 32)
        for slot in range(3):
            is_branch = choose.randrange(2)
            value = (
                5 << 37 | choose.randrange(2000) << 13 if is_branch else choose.randrange(1 << 36)
            )
            bundle |= value << 5 + 41 * slot
        plain += bundle.to_bytes(16, "little")
    plain += bytes(32)
    last = {"id": lzma.FILTER_LZMA2}
    packed = lzma.compress(
        plain, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_IA64, "start_offset": 0x40}, last]
    )
    absolute = lzma.decompress(packed, lzma.FORMAT_RAW, filters=[last])
    assert absolute != plain
    assert rar_filters._KNOWN[120, 0x3769893F](bytearray(absolute), [0] * 7, 0x40) == plain


def test_what_no_filter_can_be_is_damage(unpack: Unpack) -> None:
    for bits in (
        with_filter(b"\1", 0x50000),
        with_filter(b"", 5),
        "100000001" + "11111111" * 60,
    ):
        found = unpack(archive(member("a", EICAR, lz77([*EICAR[:9], bits, *EICAR]), flags=SOLID)))
        assert files(found)["a"].startswith(EICAR[:9])
        assert shut(found) == [Reason.MALFORMED]


def test_a_checksum_that_is_wrong_is_told_and_the_next_file_goes_on(unpack: Unpack) -> None:
    first = member("a", b"other" + bytes(len(EICAR) - 5), lz77([*EICAR, "goes on"]))
    second = member("b", EICAR, lz77([(len(EICAR), 9), *EICAR[9:]], begins=False), flags=SOLID)
    found = unpack(archive(first, second))
    assert files(found) == {"a": EICAR, "b": EICAR}
    assert shut(found) == [Reason.MALFORMED]


@pytest.mark.parametrize("whole", [LZ77, PPMD], ids=["lz77", "ppmd"])
def test_an_archive_that_is_cut_says_so(unpack: Unpack, whole: bytes) -> None:
    for end in range(20, len(whole) - 7, 11):
        found = unpack(whole[:end])
        assert files(found) == FILES or shut(found), end


@pytest.mark.parametrize(
    "whole", [LZ77, PPMD, *(one for one, _ in FILTERED.values())],
    ids=["lz77", "ppmd", *FILTERED],
)  # fmt: skip
def test_damage_anywhere_is_survived(unpack: Unpack, whole: bytes) -> None:
    numbers = random.Random(0)
    right = files(unpack(whole))
    for at in range(7, len(whole) - 7, len(whole) // 40):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << numbers.randrange(8)
        found = unpack(bytes(damaged))
        assert list(files(found).values()) == list(right.values()) or shut(found), at


def test_bombs_are_stopped(unpack: Unpack) -> None:
    packed = lz77([0, (1, 258), *["100000010"] * 45_000])
    assert len(packed) < 51_000
    bomb = archive(member("bomb", bytes(11_610_259), packed), member("b", b"", b"", flags=SOLID))
    found = unpack(bomb, max_ratio=100)
    assert len(files(found)["bomb"]) < 11_000_000
    assert shut(found) == [Reason.LIMIT] * 2  # of it, and of what goes on from it
    found = unpack(bomb, max_part_bytes=1_000_000)
    assert len(files(found)["bomb"]) == 1_000_000
    assert shut(found) == [Reason.LIMIT] * 2


def test_what_is_behind_a_limit_is_told_or_read_if_it_goes_on_from_nothing(unpack: Unpack) -> None:
    first = member("a", text(900), lz77(text(900)))
    second = member("b", EICAR, lz77(EICAR, begins=False), flags=SOLID)
    third = member("c", EICAR, lz77(EICAR))
    found = unpack(archive(first, second, third), max_part_bytes=800)
    assert files(found) == {"a": text(800)}
    assert shut(found) == [Reason.LIMIT, Reason.LIMIT]
    found = unpack(archive(first, third, second), max_part_bytes=800)
    assert files(found)["c"] == EICAR


def test_thousands_of_codes_that_are_hardly_used_are_damage(unpack: Unpack) -> None:
    codes = rar_archives.Bits()
    rar_archives.codes(codes)
    block = lz77([b"a"[0], "1000000001"]) + codes.bytes()
    found = unpack(archive(member("a", bytes(100_000), block * 3000, flags=SOLID)))
    assert shut(found) == [Reason.MALFORMED]


def test_a_model_that_takes_too_much_memory_is_damage(unpack: Unpack) -> None:
    packed = bytes([0x80 | 0x20 | 5, 255]) + bytes(50)
    found = unpack(archive(member("a", bytes(50), packed, flags=SOLID)))
    assert shut(found) == [Reason.MALFORMED]


def test_a_file_goes_on_from_no_model(unpack: Unpack) -> None:
    found = unpack(archive(member("a", bytes(50), b"\x85" + bytes(50), flags=SOLID)))
    assert shut(found) == [Reason.MALFORMED]


@pytest.mark.parametrize("size", [7, 12, 19, 20, 40])
def test_an_archive_without_a_file_is_told(unpack: Unpack, size: int) -> None:
    assert set(shut(unpack(archive()[:size]))) == {Reason.MALFORMED}
