"""SCO's compress, KWAJ's LZH, InstallShield 3, zip's reduce and PKWARE's library."""

import random
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR

Unpack = Callable[..., list[Found]]
Token = int | tuple[int, int]
"""A byte, or a distance and how many bytes are repeated."""

PERIODIC = b"abcdefgh" * 20


def periodic_tokens(plain: bytes) -> list[Token]:
    """Of what has eight bytes again and again: 8 literals, then repetitions of 16."""
    count, rest = divmod(len(plain) - 8, 16)
    return [*plain[:8], *[(8, 16)] * count, *plain[len(plain) - rest :]]


def high_first(fields: Sequence[tuple[int, int]]) -> bytes:
    """Values and their widths."""
    bits = "".join(f"{value:0{width}b}" if width else "" for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def low_first(fields: Sequence[tuple[int, int]]) -> bytes:
    whole = at = 0
    for value, width in fields:
        whole |= value << at
        at += width
    return whole.to_bytes(-(-at // 8), "little")


def sco(*blocks: Sequence[Token]) -> bytes:
    """Each block with a code whose symbols have as many bits all."""
    fields: list[tuple[int, int]] = []
    for tokens in blocks:
        symbols = [t if isinstance(t, int) else 253 + t[1] for t in tokens]
        used = set(symbols)
        while len(used) & len(used) - 1 or len(used) < 2:
            used.add(min(set(range(256)) - used))
        width = len(used).bit_length() - 1
        fields += [(len(tokens), 16)]
        lengths = [1 if symbol in (0, width + 2) else 0 for symbol in range(width + 3)]
        fields += [(len(lengths), 5)]
        for number, length in enumerate(lengths):
            fields += [(length, 3), (0, 2)] if number == 2 else [(length, 3)]
        last = max(used)
        fields += [(last + 1, 9), *((int(symbol in used), 1) for symbol in range(last + 1))]
        distances = {t[0] for t in tokens if not isinstance(t, int)} or {8}
        [distance] = distances
        power = (distance - 1).bit_length()
        fields += [(0, 4), (power, 4)]
        codes = {symbol: code for code, symbol in enumerate(sorted(used))}
        for token, symbol in zip(tokens, symbols, strict=True):
            fields.append((codes[symbol], width))
            if not isinstance(token, int):
                fields.append((distance - 1 - (1 << power - 1), power - 1))
    return b"\x1f\xa0" + high_first([*fields, (0, 16)])


def kwaj_lzh(tokens: Sequence[Token], kind: int = 0, *, size: int | None = None) -> bytes:
    """All symbols of a code have as many bits; ``kind``: how that is told."""
    sizes = (16, 16, 32, 64, 256)
    fields = [(kind, 4)] * 5 + [(0, 4)]
    for count in sizes if kind else ():
        width = count.bit_length() - 1
        again = {1: (0, 1), 2: (1, 2), 3: (width, 4)}[kind]
        fields += [(width, 4)] + [again] * (count - 1)
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if not isinstance(token, int):
            fields += [(token[1] - 2, 4), (token[0] >> 6, 6), (token[0] & 63, 6)]
            at += 1
            continue
        run = 1
        while run < 32 and at + run < len(tokens) and isinstance(tokens[at + run], int):
            run += 1
        fields += [(0, 4), (run - 1, 5)]
        fields += [(one, 8) for one in tokens[at : at + run] if isinstance(one, int)]
        at += run
    flags = b"" if size is None else struct.pack("<L", size)
    head = struct.pack("<HHH", 3, 14 + len(flags), 1 if flags else 0)
    return b"KWAJ\x88\xf0\x27\xd1" + head + flags + high_first(fields)


def imploded(plain: bytes) -> bytes:
    """Literals, and no end."""
    return b"\0\6" + low_first([(byte << 1, 9) for byte in plain])


AIAIAIAIAIAIA = bytes.fromhex("00048224258f807f")
"""The example in ``blast.c``."""


def installshield(files: dict[str, tuple[bytes, bytes, int]], *, split: int = 0) -> bytes:
    """Names with folders; content, packed content, attributes."""
    body, entries = b"", dict[str, list[bytes]]()
    for path, (plain, packed, attributes) in files.items():
        folder, _, name = path.rpartition("\\")
        raw = name.encode()
        fields = (split, len(plain), len(packed), 255 + len(body), 31 + len(raw), attributes)
        entry = struct.pack("<B2xLLL8xHBBxBB", *fields, split, split, len(raw)) + raw + b"\0"
        entries.setdefault(folder, []).append(entry)
        body += packed
    listing = b""
    for folder, own in entries.items():
        raw = folder.encode()
        listing += struct.pack("<HHH", len(own), 6 + len(raw) + 5, len(raw)) + raw + bytes(5)
    listing += b"".join(entry for own in entries.values() for entry in own)
    head = bytes.fromhex("135d658c3a010200").ljust(41, b"\0")
    head += struct.pack("<L4xH", 255 + len(body), len(entries))
    return head.ljust(255, b"\0") + body + listing


SHIELD = installshield(
    {
        "a.com": (EICAR, imploded(EICAR), 0x20),
        "sub\\b.txt": (b"AIAIAIAIAIAIA", AIAIAIAIAIAIA, 0x20),
        "sub\\c.txt": (b"stored", b"stored", 0x30),
    }
)


def reduced(values: Sequence[int], followers: dict[int, bytes] | None = None) -> bytes:
    """Bytes, by those that follow often where there are some."""
    followers = followers or {}
    fields: list[tuple[int, int]] = []
    for byte in range(255, -1, -1):
        some = followers.get(byte, b"")
        fields += [(len(some), 6), *((one, 8) for one in some)]
    last = 0
    for value in values:
        some = followers.get(last, b"")
        if some and value in some:
            fields += [(0, 1), (some.index(value), max(1, (len(some) - 1).bit_length()))]
        else:
            fields += [(1, 1), (value, 8)] if some else [(value, 8)]
        last = value
    return low_first(fields)


def member(method: int, packed: bytes, size: int, crc: int = 0) -> bytes:
    told = struct.pack("<5H3L", 63, 0, method, 0, 33, crc, len(packed), size)
    local = b"PK\3\4" + told + struct.pack("<HH", 5, 0) + b"a.txt" + packed
    central = b"PK\1\2\x3f\0" + told + struct.pack("<HHHHHLL", 5, 0, 0, 0, 0, 0, 0) + b"a.txt"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


# Factor 2: a length of up to 63 and two bits of distance in one byte, then eight more of it.
REPEATED = [*b"abcdefgh", 0x90, 63, 86, 7]
"""63 + 86 + 3 bytes from 8 back."""
MARKED = [*EICAR, 0x90, 0]
FOLLOWERS = {ord("X"): b"5-", ord("5"): b"O", ord("D"): b"-ABC", 0x90: b"\0"}

SAMPLES: dict[str, tuple[bytes, bytes]] = {
    "SCO": (sco([*EICAR]), EICAR),
    "SCO, repetitions and blocks": (
        sco([*EICAR], periodic_tokens(PERIODIC), [*b"end"]),
        EICAR + PERIODIC + b"end",
    ),
    "KWAJ": (kwaj_lzh([*EICAR], size=len(EICAR)), EICAR),
    "KWAJ without a size": (kwaj_lzh([*EICAR, (68, 17)]), EICAR + EICAR[:17]),
    "KWAJ, lengths in runs": (kwaj_lzh(periodic_tokens(PERIODIC), 1), PERIODIC),
    "KWAJ, lengths by steps": (kwaj_lzh(periodic_tokens(PERIODIC), 2), PERIODIC),
    "KWAJ, lengths as they are": (kwaj_lzh(periodic_tokens(PERIODIC), 3), PERIODIC),
    "zip by PKWARE's library": (member(10, imploded(EICAR), len(EICAR)), EICAR),
    "zip by PKWARE's library, its example": (member(10, AIAIAIAIAIAIA, 13), b"AI" * 6 + b"A"),
    "zip, reduced": (member(3, reduced(REPEATED), 160), PERIODIC),
    "zip, reduced, followers": (
        member(2, reduced(MARKED, FOLLOWERS), len(EICAR) + 1),
        EICAR + b"\x90",
    ),
}


@pytest.mark.parametrize(("packed", "plain"), SAMPLES.values(), ids=SAMPLES)
def test_what_is_inside_is_read(unpack: Unpack, packed: bytes, plain: bytes) -> None:
    [piece] = unpack(packed)
    assert isinstance(piece, Piece)
    assert piece.data == plain


def test_files_of_installshield_3_have_their_names(unpack: Unpack) -> None:
    found = [(one.name, one.data) for one in unpack(SHIELD) if isinstance(one, Piece)]
    texts = [("sub\\b.txt", b"AIAIAIAIAIAIA"), ("sub\\c.txt", b"stored")]
    assert found == [("a.com", EICAR), *texts]
    assert len(unpack(SHIELD)) == 3


def test_a_file_of_installshield_3_that_goes_on_elsewhere_is_told(unpack: Unpack) -> None:
    found = unpack(installshield({"a": (EICAR, imploded(EICAR), 0)}, split=1))
    assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.UNSUPPORTED]


WHOLE = {name: packed for name, (packed, _) in SAMPLES.items()} | {"InstallShield": SHIELD}
ENDLESS = ("KWAJ without", "KWAJ, lengths")
"""That these are cut cannot be seen: they have neither end nor size."""


@pytest.mark.parametrize("name", WHOLE)
def test_truncated_anywhere_is_survived_and_said(unpack: Unpack, name: str) -> None:
    whole = WHOLE[name]
    for keep in range(8, len(whole) - 4, 7):
        found = unpack(whole[:keep])
        if not name.startswith(ENDLESS):
            assert any(isinstance(one, Shut) for one in found), keep


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE)
def test_any_damage_is_survived(unpack: Unpack, whole: bytes) -> None:
    numbers = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(2, len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize(
    "start",
    [b"\x1f\xa0", b"KWAJ\x88\xf0\x27\xd1\3\0\x0e\0\0\0", bytes.fromhex("135d658c3a010200")],
    ids=["SCO", "KWAJ", "InstallShield"],
)
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_survived(unpack: Unpack, start: bytes, filler: bytes) -> None:
    for size in (len(start), 200_000):
        assert unpack(start.ljust(size, filler))


def test_what_is_over_a_limit_is_cut_and_said(unpack: Unpack) -> None:
    long = b"abcdefgh" * 4000
    packed = {
        "SCO": sco(periodic_tokens(long)),
        "KWAJ": kwaj_lzh(periodic_tokens(long)),
        "InstallShield": installshield({"a": (long, imploded(long), 0)}),
        "library": member(10, imploded(long), len(long)),
        "reduced": member(5, reduced(long), len(long)),
    }
    for name, whole in packed.items():
        found = unpack(whole, max_part_bytes=10_000)
        assert [one.reason for one in found if isinstance(one, Shut)] == [Reason.LIMIT], name
        assert [one.data for one in found if isinstance(one, Piece)] == [long[:10_000]], name


@pytest.mark.real
@pytest.mark.parametrize("name", ["SCO", "SCO, repetitions and blocks"])
def test_gzip_reads_the_same_of_sco(tmp_path: Path, name: str) -> None:
    whole, plain = SAMPLES[name]
    (tmp_path / "a.Z").write_bytes(whole)
    done = subprocess.run(["gzip", "-dc", "a.Z"], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == plain
