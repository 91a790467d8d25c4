"""RAR 1.5 and 2.0. No packer for them can be had: what is made here was unpacked by two others'
programs (unrar 6.2, The Unarchiver 1.10), whose checksums are kept."""

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.containers import rar_lz15
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers.ace_archives import text
from tests.scan.containers.rar15_packed import Writer
from tests.scan.containers.rar_archives import SOLID, Token20, archive, lz20, member, sound20

Unpack = Callable[..., list[Found]]

WORDS = text(9000)
MATCHES: list[Token20] = [
    *WORDS[:3000], (2999, 200), "codes", *b"abc", ("short", 0, 3), ("recent", 0, 9), "again",
    *WORDS, (8200, 30), ("recent", 0, 7), ("recent", 3, 8), ("recent", 2, 5), "again",
]  # fmt: skip
SOUNDS = {1: 0x1CE7887B, 2: 0xD563071E, 3: 0xF0B80BCB, 4: 0x60DD3ECA}


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


def shut(found: list[Found]) -> list[Reason]:
    return [one.reason for one in found if isinstance(one, Shut)]


def unpacked() -> bytes:
    """What the matches are."""
    out = bytearray()
    recent = [0, 0, 0, 0]
    length = 0
    for token in MATCHES:
        if isinstance(token, int):
            out.append(token)
            continue
        if token == "codes":
            continue
        match token:
            case "again":
                distance = recent[0]
            case "short", _, distance:
                length = 2
            case "recent", which, length:
                distance = recent[which]
                length += (distance >= 0x101) + (distance >= 0x2000) + (distance >= 0x40000)
            case int(distance), int(length):
                pass
            case _:
                raise AssertionError(token)
        recent = [distance, *recent[:3]]
        for _ in range(length):
            out.append(out[-distance])
    return bytes(out)


def test_matches_of_all_kinds_are_undone(unpack: Unpack) -> None:
    plain = unpacked()
    found = unpack(archive(member("a", plain, lz20(MATCHES), version=20), flags=0))
    assert files(found) == {"a": plain}
    assert not shut(found)


@pytest.mark.parametrize("channels", SOUNDS)
def test_sounds_of_some_channels_are_undone(unpack: Unpack, channels: int) -> None:
    packed = sound20(3000, channels)
    whole = archive(member("a", b"", packed, version=20, size=3000), flags=0)
    [sound] = files(unpack(whole)).values()
    assert zlib.crc32(sound) == SOUNDS[channels]
    assert len(sound) == 3000


def test_a_file_goes_on_with_the_codes_that_end_the_one_before(unpack: Unpack) -> None:
    first = member("a", EICAR, lz20([*EICAR, "codes"]), version=20)
    rest = lz20([(len(EICAR), 9), *EICAR[9:]], begins=False)
    found = unpack(archive(first, member("eicar.com", EICAR, rest, version=20, flags=SOLID)))
    assert files(found) == {"a": EICAR, "eicar.com": EICAR}
    assert not shut(found)


RAR_15 = {
    1: (3000, 0x1800C282, 0x3C903C9B),
    2: (3000, 0xE3C32D3A, 0x1755FB6A),
    3: (40_000, 0x9E42CD38, 0x64F62739),
    4: (60_000, 0x69E49633, 0x2F18E755),
    5: (20_000, 0x62254058, 0x0BAAEE82),
    6: (30_000, 0x3060F9D6, 0x0A54DC75),
}
"""Seed: size, checksums of what is packed and of what is not."""


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bytes, bytes]]:
    def pack(seed: int, size: int) -> tuple[bytes, bytes]:
        """Packed, and not."""
        monkeypatch.setattr(rar_lz15, "symbol", lambda bits, by: bits.symbol(by))
        writer = Writer(seed)
        packed = writer.packed(size)
        monkeypatch.undo()
        return packed, bytes(writer.window.data)

    return pack


@pytest.mark.parametrize("seed", RAR_15)
def test_ranks_that_move_are_followed(
    unpack: Unpack, pack: Callable[..., tuple[bytes, bytes]], seed: int
) -> None:
    size, packed_check, plain_check = RAR_15[seed]
    packed, plain = pack(seed, size)
    assert zlib.crc32(packed) == packed_check
    assert zlib.crc32(plain) == plain_check
    found = unpack(archive(member("a", plain, packed, version=15), flags=0))
    assert files(found) == {"a": plain}
    assert not shut(found)


def test_damage_of_what_ranks_pack_is_survived(
    unpack: Unpack, pack: Callable[..., tuple[bytes, bytes]]
) -> None:
    packed, plain = pack(1, 3000)
    numbers = random.Random(0)
    for at in range(0, len(packed), 5):
        damaged = bytearray(packed)
        damaged[at] = numbers.randrange(256)
        for data in (bytes(damaged), packed[:at]):
            found = unpack(archive(member("a", plain, data, version=15)))
            assert files(found)["a"] == plain or shut(found) == [Reason.MALFORMED]


def test_a_file_goes_on_from_the_one_before_if_the_archive_says_so(
    unpack: Unpack, pack: Callable[..., tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files themselves do not say it, before 2.0."""
    packed, plain = pack(1, 3000)
    monkeypatch.setattr(rar_lz15, "symbol", lambda bits, by: bits.symbol(by))
    writer = Writer(1)
    writer.packed(3000)
    writer.window.begin()
    writer.text.clear()
    more = writer.packed(len(plain) + 3000)
    monkeypatch.undo()
    second = bytes(writer.window.data[len(plain) :])
    members = (member("a", plain, packed, version=15), member("b", second, more, version=15))
    assert files(unpack(archive(*members))) == {"a": plain, "b": second}
    assert shut(unpack(archive(*members, flags=0))) == [Reason.MALFORMED]


def archive_14(*members: tuple[str, bytes, bytes, int], flags: int = 0) -> bytes:
    """Of RAR 1.4: name, content, what it is packed to, method."""
    out = b"RE~^" + struct.pack("<HB", 7, flags)
    for name, plain, packed, method in members:
        check = 0
        for byte in plain:
            check = check + byte & 0xFFFF
            check = (check << 1 | check >> 15) & 0xFFFF
        raw = name.encode()
        fields = (len(packed), len(plain), check, 21 + len(raw), 0x20, 0, 2, len(raw), method)
        out += struct.pack("<LLHH4xBBBBB", *fields) + raw + packed
    return out


def test_the_oldest_archives_are_read(
    unpack: Unpack, pack: Callable[..., tuple[bytes, bytes]]
) -> None:
    packed, plain = pack(1, 3000)
    found = unpack(archive_14(("a\\b", plain, packed, 3), ("eicar.com", EICAR, EICAR, 0)))
    assert files(found) == {"a/b": plain, "eicar.com": EICAR}
    assert not shut(found)


def test_damage_of_the_oldest_archives_is_told(
    unpack: Unpack, pack: Callable[..., tuple[bytes, bytes]]
) -> None:
    packed, plain = pack(1, 3000)
    whole = archive_14(("a", plain, packed, 3), ("eicar.com", EICAR, EICAR, 0))
    boundaries = {29 + len(packed)}
    for end in {*range(7, len(whole), 13)} - boundaries:
        assert shut(unpack(whole[:end])), end
    wrong = archive_14(("a", plain[:-1] + b"?", packed, 3))
    assert shut(unpack(wrong)) == [Reason.MALFORMED]
    assert unpack(b"RE~^ is how this text begins, and it is none") == []


PACKED = {
    "lz77": (20, lz20([*text(300), (99, 9), "codes", *text(100), "again"])),
    "sound": (20, sound20(300, 2)),
}


@pytest.mark.parametrize("kind", PACKED)
def test_damage_anywhere_is_survived(unpack: Unpack, kind: str) -> None:
    version, packed = PACKED[kind]
    numbers = random.Random(0)
    plain = files(unpack(archive(member("a", b"", packed, version=version, size=300))))["a"]
    for at in range(0, len(packed), 9):
        damaged = bytearray(packed)
        damaged[at] = numbers.randrange(256)
        for data in (bytes(damaged), packed[:at]):
            found = unpack(archive(member("a", plain, data, version=version)))
            assert files(found)["a"] == plain or shut(found) == [Reason.MALFORMED]


def test_bombs_are_stopped(unpack: Unpack) -> None:
    packed = lz20([0, (1, 258), *["again"] * 45_000])
    found = unpack(archive(member("a", bytes(11_610_259), packed, version=20)), max_ratio=100)
    assert len(files(found)["a"]) < 11_000_000
    assert shut(found) == [Reason.LIMIT]
