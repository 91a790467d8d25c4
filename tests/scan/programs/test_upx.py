import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.programs import nrv, portable, upx
from mailward.scan.signatures import executable
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from tests.scan.programs import packing
from tests.scan.signatures.examples.programs import pe

Look = Callable[..., list[Found]]

TESTFILES = Path("/usr/share/clamav-testfiles")
PROGRAM = pe((b"the code of the program " * 40, b"and its data, data, data" * 30), overlay=b"rest")


def unpacked(look: Look, data: bytes) -> bytes:
    (piece,) = (p for p in look(data) if isinstance(p, Piece) and p.label == "unpacked")
    return piece.data


@pytest.mark.parametrize("method", packing.METHODS)
def test_a_packed_program_is_unpacked_to_what_it_was(look: Look, method: str) -> None:
    assert unpacked(look, packing.upx(PROGRAM, method)) == PROGRAM.removesuffix(b"rest")


@pytest.mark.parametrize("method", ["nrv2e", "lzma"])
def test_so_is_one_of_64_bits(look: Look, method: str) -> None:
    program = packing.wide(pe((b"wide code " * 50, b"data")))
    assert unpacked(look, packing.upx(program, method)) == program


def test_its_entry_point_and_sections_are_where_signatures_look_for_them(look: Look) -> None:
    was = executable.parse(PROGRAM)
    assert was is not None
    assert executable.parse(unpacked(look, packing.upx(PROGRAM))) == was


def test_what_hangs_behind_a_packed_program_is_behind_the_unpacked_one(look: Look) -> None:
    assert unpacked(look, packing.upx(PROGRAM) + b"behind it").endswith(b"behind it")


def test_targets_of_calls_are_relative_again(look: Look) -> None:
    code = bytes.fromhex("90 e8 00000000 0f84 01000000 e9 fbffffff cc".replace(" ", ""))
    program = pe((code, b"data"))
    for number, opcodes in ((0x24, b"\xe8"), (0x26, b"\xe8\xe9"), (0x49, b"\xe8\xe9\x84")):
        filtered = bytearray(code)
        for at in (1, 7, 12):
            if code[at] in opcodes:
                relative = int.from_bytes(code[at + 1 : at + 5], "little", signed=True)
                target = (relative + at + 1) & 0xFFFFFF
                filtered[at + 1 : at + 5] = b"\x07" + target.to_bytes(3, "big")
        data = packing.upx(program, filter_=number, mark=7, code=bytes(filtered))
        assert unpacked(look, data)[0x400 : 0x400 + len(code)] == code


def test_a_filter_that_is_not_known_is_unscannable_and_what_came_out_is_scanned(look: Look) -> None:
    found = look(packing.upx(PROGRAM, filter_=0x77))
    assert [f.reason for f in found if isinstance(f, Shut)] == [Reason.MALFORMED]
    assert any(b"the code of the program" in f.data for f in found if isinstance(f, Piece))


@pytest.mark.parametrize("method", packing.METHODS)
def test_a_truncated_one_is_unscannable(look: Look, method: str) -> None:
    noise = random.Random(1).randbytes(3000)
    data = packing.upx(pe((noise, b"data")), method)
    found = look(data[: len(data) - 1500])
    assert any(isinstance(f, Shut) and f.reason is Reason.MALFORMED for f in found)


def test_one_that_says_that_it_is_huge_is_a_bomb(look: Look) -> None:
    data = packing.upx(PROGRAM)
    at = data.index(b"UPX!") + 16
    for size in (0x3000000, 0xF0000000):
        (shut,) = look(data[:at] + size.to_bytes(4, "little") + data[at + 4 :])
        assert isinstance(shut, Shut)
        assert shut.reason is Reason.LIMIT


def test_damage_anywhere_ends_in_a_program_or_a_word_and_never_in_an_error(look: Look) -> None:
    dice = random.Random(2)
    for method in packing.METHODS:
        whole = packing.upx(PROGRAM, method)
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(dice.choice((1, 1, 4))):
                data[dice.randrange(len(data))] = dice.randrange(256)
            look(bytes(data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(sorted(nrv.METHODS)))
def test_whatever_was_compressed_comes_out(data: bytes, method: int) -> None:
    data = data + data[:50] * 3 + bytes(5000) + data
    packed = packing.nrv(method, data)
    out, complete = nrv.unpack(method, packed, len(data) + 1, Budget(ScanSettings()))
    assert (bytes(out), complete) == (data, True)


@pytest.mark.real
@pytest.mark.skipif(not TESTFILES.is_dir(), reason="needs clamav-testfiles, not installed")
def test_one_that_upx_itself_packed_is_what_it_was_but_for_hints(look: Look) -> None:
    """clam-fsg.exe is the same program, not packed, with another name for a section."""
    data = unpacked(look, (TESTFILES / "clam-upx.exe").read_bytes())
    program = (TESTFILES / "clam-fsg.exe").read_bytes()
    was, now = portable.read(program), portable.read(data)
    assert was is not None
    assert now is not None
    assert [s.offset for s in now.sections] == [s.offset for s in was.sections]
    assert len(data) == len(program)
    assert sum(a != b for a, b in zip(data, program, strict=True)) < 40
    assert upx.find(data, now) is None
