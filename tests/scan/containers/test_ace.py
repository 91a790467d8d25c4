"""ACE archives: what they hold is found, damage is survived and said."""

import io
import random
from collections.abc import Callable

import acefile
import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import ace as ace_archive
from mailward.scan.contents import Found, Piece, Shut, Unlocked
from mailward.scan.passwords import Passwords, Said
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.containers import ace_archives, installers
from tests.scan.containers.ace_archives import ace, packed, text, tokens

Unpack = Callable[..., list[Found]]

FILES = {"a.com": EICAR, "words.txt": text(5000), "one.bin": b"x", "many.txt": text(90_000, 1)}
CODE = bytes(random.Random(0).choices(b"\xe8\xe9\0\1\xff\x90", k=3000)) + bytes(8)
WAVE = bytes(n % 7 * 9 + n // 20 & 0xFF for n in range(2999))


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


def shut(found: list[Found]) -> list[Shut]:
    return [one for one in found if isinstance(one, Shut)]


def theirs(archive: bytes, password: bytes | None = None) -> dict[str, bytes]:
    with acefile.open(io.BytesIO(archive)) as opened:
        return {member.filename: opened.read(member, pwd=password) for member in opened}


@pytest.mark.parametrize("solid", [False, True])
@pytest.mark.parametrize("method", [0, 1, 2])
def test_the_files_are_found_as_acefile_finds_them(
    unpack: Unpack, method: int, solid: bool
) -> None:
    archive = ace(FILES, method=method, solid=solid)
    assert theirs(archive) == FILES
    found = unpack(archive)
    assert files(found) == FILES
    assert not shut(found)


@pytest.mark.parametrize(
    ("plain", "symbols"),
    [
        (WAVE, ace_archives.with_planes(WAVE, 3)),
        (CODE, ace_archives.with_calls(CODE, long=True)),
        (CODE, ace_archives.with_calls(CODE, long=False)),
    ],
    ids=["planes", "calls", "calls-16"],
)
def test_what_was_done_before_packing_is_undone(
    unpack: Unpack, plain: bytes, symbols: list[ace_archives.Token]
) -> None:
    archive = ace({"a.bin": (plain, packed(symbols))}, method=2)
    assert theirs(archive) == {"a.bin": plain}
    found = unpack(archive)
    assert files(found) == {"a.bin": plain}
    assert not shut(found)


@pytest.mark.parametrize("mode", [ace_archives.SOUND, ace_archives.PICTURE, 9])
def test_sounds_and_pictures_stay_shut(unpack: Unpack, mode: int) -> None:
    symbols: list[ace_archives.Token] = [*tokens(b"begins"), ("mode", mode, ()), 1, 2, 3]
    found = unpack(ace({"a.wav": (b"begins" + bytes(50), packed(symbols))}, method=2))
    assert files(found)["a.wav"] == b"begins"
    assert [one.reason for one in shut(found)] == [Reason.UNSUPPORTED]


def test_an_archive_behind_a_program_is_found(unpack: Unpack) -> None:
    archive = ace(FILES)
    assert archive in files(unpack(installers.program(archive))).values()
    assert unpack(installers.program(b"something about **ACE** archives" + bytes(50))) == []


def test_encrypted_files_and_those_in_several_volumes_stay_shut(unpack: Unpack) -> None:
    assert [one.reason for one in shut(unpack(ace(FILES, flags=1 << 14)))] == (
        [Reason.ENCRYPTED] * 4
    )
    assert [one.reason for one in shut(unpack(ace(FILES, flags=1 << 13)))] == (
        [Reason.UNSUPPORTED] * 4
    )


def unlock(data: bytes, named: str) -> list[Found]:
    budget = Budget(ScanSettings())
    budget.passwords = Passwords(lambda: [Said(f"password: {named}\n")])
    return list(ace_archive.read(data, "", budget))


@pytest.mark.parametrize("named", ["Xq7!z", "P\xe4ssw\xf6rt", "x" * 55])
@pytest.mark.parametrize("solid", [False, True])
@pytest.mark.parametrize("method", [0, 1, 2])
def test_a_password_in_the_text_opens_what_acefile_opens(
    method: int, solid: bool, named: str
) -> None:
    password = named.encode("cp1252")
    archive = ace(FILES, method=method, solid=solid, password=password)
    assert theirs(archive, password) == FILES
    found = unlock(archive, named)
    assert files(found) == FILES
    assert [one.name for one in found if isinstance(one, Unlocked)] == list(FILES)
    assert not shut(found)


@pytest.mark.parametrize("method", [0, 1, 2])
def test_another_password_leaves_it_shut(method: int) -> None:
    found = unlock(ace(FILES, method=method, password=b"Xq7!z"), "another")
    assert [one.reason for one in shut(found)] == [Reason.ENCRYPTED] * 4
    assert not files(found)


def test_damage_to_what_is_encrypted_is_survived() -> None:
    whole = ace({"a.com": EICAR, "b.txt": text(400)}, password=b"Xq7!z")
    numbers = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[numbers.randrange(len(whole))] = numbers.randrange(256)
        unlock(bytes(damaged), "Xq7!z")
        unlock(whole[: numbers.randrange(len(whole))], "Xq7!z")


@pytest.mark.parametrize("method", [0, 1, 2])
def test_an_archive_that_is_cut_says_so(unpack: Unpack, method: int) -> None:
    whole = ace({"a.com": EICAR}, method=method)
    for end in range(14, len(whole)):
        found = unpack(whole[:end])
        assert files(found).get("a.com") == EICAR or shut(found), end


def test_damage_anywhere_is_survived(unpack: Unpack) -> None:
    numbers = random.Random(0)
    plain = text(400)
    for symbols in (tokens(plain), ace_archives.with_planes(plain, 4)):
        whole = packed(symbols)
        for at in range(len(whole)):
            damaged = bytearray(whole)
            damaged[at] = numbers.randrange(256)
            found = unpack(ace({"a": (plain, bytes(damaged))}, method=2))
            assert files(found).get("a") == plain or shut(found)


def test_bombs_are_stopped(unpack: Unpack) -> None:
    zeros: list[ace_archives.Token] = [0, *[(1, 200)] * 60_000]
    bomb = packed(zeros)
    found = unpack(ace({"bomb": (bytes(12_000_001), bomb)}))
    assert len(files(found)["bomb"]) < 11_800_000
    assert [one.reason for one in shut(found)] == [Reason.LIMIT]
    piece, limit = unpack(ace({"bomb": (bytes(12_000_001), bomb)}), max_part_bytes=1_000_000)
    assert isinstance(piece, Piece)
    assert len(piece.data) == 1_000_000
    assert isinstance(limit, Shut)


def test_thousands_of_codes_that_are_hardly_used_are_damage(unpack: Unpack) -> None:
    one = packed([0]).ljust(16, b"\0")
    found = unpack(ace({"a": (bytes(100_000), one * 20_000)}, method=1))
    assert Reason.MALFORMED in {each.reason for each in shut(found)}
