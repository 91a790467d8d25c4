"""Installers of Inno Setup: what they hold is found, damage is survived and said."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import inno as inno_setup
from mailward.scan.containers.inno_streams import undo_calls
from mailward.scan.contents import Found, Piece, Shut, Unlocked
from mailward.scan.passwords import Passwords, Said
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from tests.scan.containers import inno_installers
from tests.scan.containers.inno_installers import PACKERS, VERSIONS, inno

Unpack = Callable[..., list[Found]]

CODE = b"MZ" + b"\xe8\1\0\0\0abc\xe9\xf0\xff\xff\xff\xe8\xe8\0\0\xff\x7f" * 40
FILES = {"a.com": EICAR, "program.exe": CODE, "readme.txt": b"words " * 50}
WITH_INNOEXTRACT = ["5.2", "5.5", "6.0"]
"""Versions that release 1.9 reads."""
WITH_ARC4 = ["5.2", "5.5", "6.0"]


def files(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece) and piece.name}


def shut(found: list[Found]) -> list[Shut]:
    return [one for one in found if isinstance(one, Shut)]


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("version", VERSIONS)
def test_script_program_and_files_are_found(unpack: Unpack, version: str, method: str) -> None:
    for solid in (True, False):
        found = unpack(inno(FILES, VERSIONS[version], method=method, solid=solid, calls=True))
        labels = {piece.label: piece.data for piece in found if isinstance(piece, Piece)}
        assert labels["setup"].startswith(b"MZ the program")
        assert b"E\0x\0a\0m\0p\0l\0e" in labels["script"] or b"Example" in labels["script"]
        assert files(found) == FILES
        assert not shut(found)


@pytest.mark.real
@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("version", WITH_INNOEXTRACT)
def test_innoextract_reads_what_these_tests_make(tmp_path: Path, version: str, method: str) -> None:
    if shutil.which("innoextract") is None:
        pytest.skip("needs innoextract, which is not installed")
    if (version, method) == ("5.2", "lzma2"):
        return  # which came later
    (tmp_path / "setup.exe").write_bytes(inno(FILES, VERSIONS[version], method=method, calls=True))
    command = ["innoextract", "-m", "-e", "-d", str(tmp_path), str(tmp_path / "setup.exe")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {name: (tmp_path / "app" / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("limits", [{"max_part_bytes": 200}, {"max_total_bytes": 3000}])
def test_files_over_a_limit_are_cut_and_said(unpack: Unpack, limits: dict[str, Any]) -> None:
    found = unpack(inno({"large.bin": random.Random(0).randbytes(5000)}), **limits)
    assert Reason.LIMIT in {one.reason for one in shut(found)}


def test_bombs_are_stopped(unpack: Unpack) -> None:
    found = unpack(inno({"bomb": bytes(60_000_000)}))
    assert len(files(found)["bomb"]) < 20_000_000
    assert Reason.LIMIT in {one.reason for one in shut(found)}


def test_encrypted_files_are_named(unpack: Unpack) -> None:
    found = unpack(inno(FILES, password="Xq7!z"))
    assert [(one.name, one.reason) for one in shut(found)] == [
        (name, Reason.ENCRYPTED) for name in FILES
    ]


def unlock(data: bytes, named: str) -> list[Found]:
    budget = Budget(ScanSettings())
    budget.passwords = Passwords(lambda: [Said(f"password: {named}\n")])
    return list(inno_setup.read(data, budget))


@pytest.mark.parametrize("method", PACKERS)
@pytest.mark.parametrize("version", WITH_ARC4)
def test_a_password_in_the_text_opens_the_files(version: str, method: str) -> None:
    for solid in (True, False):
        data = inno(
            FILES, VERSIONS[version], method=method, solid=solid, calls=True, password="P\xe4ss 7"
        )
        found = unlock(data, "P\xe4ss 7")
        assert files(found) == FILES
        assert [one.name for one in found if isinstance(one, Unlocked)] == list(FILES)
        assert not shut(found)
        found = unlock(data, "another")
        assert {one.reason for one in shut(found)} == {Reason.ENCRYPTED}
        assert not files(found)


def test_files_encrypted_by_a_later_cipher_stay_shut() -> None:
    found = unlock(inno(FILES, VERSIONS["6.4"], password="Xq7!z"), "Xq7!z")
    assert {one.reason for one in shut(found)} == {Reason.ENCRYPTED}


@pytest.mark.real
@pytest.mark.parametrize("version", WITH_INNOEXTRACT)
def test_innoextract_opens_what_these_tests_encrypt(tmp_path: Path, version: str) -> None:
    if shutil.which("innoextract") is None:
        pytest.skip("needs innoextract, which is not installed")
    data = inno(FILES, VERSIONS[version], method="lzma1", calls=True, password="Xq7!z")
    (tmp_path / "setup.exe").write_bytes(data)
    command = ["innoextract", "-m", "-e", "-d", str(tmp_path), "-P", "Xq7!z"]
    command.append(str(tmp_path / "setup.exe"))
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert {name: (tmp_path / "app" / name).read_bytes() for name in FILES} == FILES


def test_damage_to_encrypted_files_is_survived() -> None:
    whole = inno({"a.com": EICAR}, password="Xq7!z")
    numbers = random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[numbers.randrange(0x400, len(whole))] = numbers.randrange(256)
        unlock(bytes(damaged), "Xq7!z")
        unlock(whole[: numbers.randrange(0x400, len(whole))], "Xq7!z")


def test_files_in_other_files_are_said(unpack: Unpack) -> None:
    found = unpack(inno(FILES, elsewhere=True))
    assert "3 files" in shut(found)[0].detail
    assert not files(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_installer_that_is_cut_says_so(unpack: Unpack, version: str) -> None:
    whole = inno({"a.com": EICAR}, VERSIONS[version])
    for end in range(0x400 + 88 + 12, len(whole), 37):
        found = unpack(whole[:end])
        assert EICAR in files(found).values() or shut(found), end


@pytest.mark.parametrize("version", ["5.2", "6.5"])
def test_damage_anywhere_is_survived(unpack: Unpack, version: str) -> None:
    numbers = random.Random(0)
    whole = inno({"a.com": EICAR, "b.exe": CODE[:99]}, VERSIONS[version], method="zlib", calls=True)
    for at in range(0x400, len(whole), 23):
        damaged = bytearray(whole)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_wrong_checksum_is_said_and_the_file_given(unpack: Unpack) -> None:
    whole = inno({"a.com": EICAR}, method="stored")
    found = unpack(whole.replace(EICAR, EICAR[:-1] + b"?"))
    assert files(found)["a.com"] == EICAR[:-1] + b"?"
    assert [one.reason for one in shut(found)] == [Reason.MALFORMED]


def test_installers_that_are_older_or_changed_are_never_silently_clean(unpack: Unpack) -> None:
    for old, new in ((b"(6.0.0)", b"(4.2.7)"), (b"Inno Setup Setup", b"My own setup ..")):
        found = unpack(inno(FILES).replace(old, new))
        assert Reason.UNSUPPORTED in {one.reason for one in shut(found)}


def test_a_program_with_four_bytes_that_chunks_begin_with_is_no_installer(unpack: Unpack) -> None:
    assert unpack(b"MZ".ljust(600, b"\0") + b"zlb\x1a") == []


@pytest.mark.parametrize("flips", [True, False])
def test_calls_become_what_they_were(flips: bool) -> None:
    code = random.Random(1).choices(b"\xe8\xe9\0\xff\x01\x80", k=70_000)
    made = inno_installers.with_calls(bytes(code), flips=flips)
    version = (5, 5, 0) if flips else (5, 2, 0)
    assert undo_calls(made, version, Budget(ScanSettings())) == bytes(code)


def test_calls_of_the_oldest_way_become_what_they_were() -> None:
    made = b"ab\xe8" + (0x1007).to_bytes(4, "little") + b"\xe9\0"
    plain = undo_calls(made, (5, 1, 0), Budget(ScanSettings()))
    assert plain == b"ab\xe8" + (0x1000).to_bytes(4, "little") + b"\xe9\0"
