"""InstallShield's programs and cabinets: what they hold is found, damage is survived and said."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from mailward.scan.budget import Budget, Spent
from mailward.scan.containers import installshield_cabinet
from mailward.scan.containers.installshield_cabinet import Cabinet
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.containers import installers

Unpack = Callable[..., list[Found]]
Members = Callable[..., list[tuple[str, bytes]]]

LARGE = random.Random(0).randbytes(3000) * 60
FILES = {"readme.txt": b"some text", "a.com": EICAR, "large.bin": LARGE}
Way = dict[str, Any]
WAYS: dict[str, Way] = {
    "5": {"version": 5},
    "5-flushed": {"version": 5, "flushed": True},
    "6": {"version": 6},
    "9-hidden": {"version": 9, "hidden": True},
    "18-wide": {"version": 18},
    "9-together": {"version": 9, "apart": False},
}
SETUPS = {
    "text": installers.shield_text(FILES),
    "text-wide": installers.shield_text(FILES, wide=True),
    "table": installers.shield_table(FILES),
    "table-by-file": installers.shield_table(FILES, flags=2),
    "table-plain": installers.shield_table(FILES, flags=0, packed=False),
    "table-not-packed": installers.shield_table(FILES, flags=6, packed=False),
    "stream": installers.shield_table(FILES, stream=1),
    "stream-4": installers.shield_table(FILES, stream=4),
}


def set_of(made: dict[str, bytes], **limits: float) -> list[Found]:
    budget = Budget(ScanSettings.model_validate(limits))
    return list(installshield_cabinet.read_set([Cabinet(n, d) for n, d in made.items()], budget))


def pieces(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_files_of_cabinets_are_found(way: Way) -> None:
    found = set_of(installers.shield_cabinets(FILES, **way))
    assert pieces(found) == FILES
    assert len(found) == len(FILES)


@pytest.mark.parametrize("version", [5, 9])
def test_a_file_goes_on_in_the_next_volume(version: int) -> None:
    found = set_of(installers.shield_cabinets({"a.bin": LARGE}, version=version, split_at=1000))
    assert pieces(found) == {"a.bin": LARGE}
    assert len(found) == 1


def test_a_cabinet_whose_list_is_elsewhere_is_never_silently_clean(unpack: Unpack) -> None:
    made = installers.shield_cabinets(FILES)
    [shut] = unpack(made["data1.cab"])
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.UNSUPPORTED
    [shut] = unpack(made["data1.hdr"])
    assert isinstance(shut, Shut)
    assert "3 files" in shut.detail


def test_a_cabinet_with_everything_in_it_is_opened(members: Members) -> None:
    made = installers.shield_cabinets(FILES, apart=False)
    assert dict(members(made["data1.cab"], "data1.cab")) == FILES


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_the_files_behind_a_setup_program_are_found(unpack: Unpack, setup: bytes) -> None:
    found = unpack(setup)
    assert pieces(found) == FILES
    assert len(found) == len(FILES)


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_what_is_behind_the_files_is_a_part_too(unpack: Unpack, setup: bytes) -> None:
    found = unpack(setup + EICAR)
    assert (found[-1], len(found)) == (Piece(EICAR, Role.MEMBER, label="behind"), 4)


@pytest.mark.parametrize("build", [installers.shield_text, installers.shield_table])
def test_cabinets_in_a_setup_program_are_put_together(
    unpack: Unpack, build: Callable[[dict[str, bytes]], bytes]
) -> None:
    made = installers.shield_cabinets({"a.com": EICAR, "b.bin": LARGE}, split_at=0)
    found = unpack(build({**made, "setup.ini": b"[Startup]"}))
    assert pieces(found)["a.com"] == EICAR
    assert pieces(found)["b.bin"] == LARGE
    assert not [shut for shut in found if isinstance(shut, Shut)]


def test_cabinets_anywhere_in_a_program_are_put_together(unpack: Unpack) -> None:
    made = installers.shield_cabinets(FILES)
    found = unpack(installers.together(made, ["data1.cab", "data1.hdr"]))
    assert pieces(found) == FILES


def test_a_program_that_only_names_the_formats_is_no_installer(unpack: Unpack) -> None:
    words = b"ISc(\0\0InstallShield\0ISSetupStream\0" + bytes(100)
    assert unpack(installers.program(section=words)) == []


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
def test_a_setup_program_that_is_cut_says_so(unpack: Unpack, setup: bytes) -> None:
    first = len(installers.program()) + 400
    for end in range(first, len(setup), max(1, (len(setup) - first) // 150)):
        found = unpack(setup[:end])
        assert pieces(found) == FILES or any(isinstance(one, Shut) for one in found), end


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_cabinets_that_are_cut_say_so(way: Way) -> None:
    made = installers.shield_cabinets({"a.com": EICAR}, **way)
    for name, data in made.items():
        for end in range(0, len(data), 7):
            found = set_of({**made, name: data[:end]})
            whole = EICAR in pieces(found).values()  # a name may be cut
            assert whole or any(isinstance(one, Shut) for one in found), (name, end)


def test_damage_anywhere_is_survived(unpack: Unpack) -> None:
    numbers = random.Random(0)
    files = {"a.com": EICAR, "b": b"b" * 50}
    samples = [
        installers.shield_text(files),
        installers.shield_table(files),
        installers.shield_table(files, stream=4),
    ]
    for sample in samples:
        for at in range(0, len(sample), 7):
            damaged = bytearray(sample)
            damaged[at] = numbers.randrange(256)
            unpack(bytes(damaged))
    for way in WAYS.values():
        made = installers.shield_cabinets({"a.com": EICAR}, **way)
        for name, data in made.items():
            for at in [*range(84), *range(0x200, len(data))]:
                damaged = bytearray(data)
                damaged[at] = numbers.randrange(256)
                set_of({**made, name: bytes(damaged)})


def test_a_bomb_in_a_cabinet_is_stopped() -> None:
    made = installers.shield_cabinets({"bomb": bytes(30_000_000)})
    piece, shut = set_of(made)
    assert isinstance(piece, Piece)
    assert len(piece.data) < 12_000_000
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


@pytest.mark.parametrize("build", [installers.shield_table, installers.shield_text])
def test_a_file_that_is_too_large_is_cut(
    unpack: Unpack, build: Callable[[dict[str, bytes]], bytes]
) -> None:
    piece, *_ = unpack(build({"large": LARGE}), max_part_bytes=100_000)
    assert isinstance(piece, Piece)
    assert piece.data[:100_000] == LARGE[:100_000]
    assert len(piece.data) <= 100_001


def test_thousands_of_files_that_are_nowhere_end_at_a_limit() -> None:
    made = installers.shield_cabinets({f"{n}": b"x" for n in range(300)})
    budget = Budget(ScanSettings(max_parts=100))
    with pytest.raises(Spent):
        list(installshield_cabinet.read_set([Cabinet("data1.hdr", made["data1.hdr"])], budget))
