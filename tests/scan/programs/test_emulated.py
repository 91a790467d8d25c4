import inspect
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.scan import programs
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.programs import portable
from mailward.scan.programs.x86.functions import ANSWERS, ARGUMENTS
from mailward.scan.signatures import executable
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from tests.scan.programs.stubs import (
    BASE,
    PROGRAM,
    STUB,
    TARGET,
    decrypting,
    jump,
    program,
    raw,
    u32,
)
from tests.scan.signatures.examples.programs import pe

Look = Callable[..., list[Found]]

ENDLESS = b"\xeb\xfe"
TESTFILES = Path("/usr/share/clamav-testfiles")


def pieces(found: list[Found]) -> dict[str, bytes]:
    return {p.label: p.data for p in found if isinstance(p, Piece)}


def reasons(found: list[Found]) -> list[Reason]:
    return [s.reason for s in found if isinstance(s, Shut)]


def test_a_program_that_unpacks_itself_is_found_where_it_begins_to_run(look: Look) -> None:
    found = look(program(decrypting(PROGRAM)))
    data = pieces(found)["unpacked"]
    assert raw(data, TARGET).startswith(PROGRAM)
    assert reasons(found) == []
    seen = executable.parse(data)
    assert seen is not None
    assert seen.entry_point == TARGET - BASE
    assert [(s.offset, s.address) for s in seen.sections] == [(0x1000, 0x1000), (0x2000, 0x2000)]


def test_one_packed_twice_is_unpacked_twice(look: Look) -> None:
    inner = 0x402800
    second = decrypting(PROGRAM, at=inner)
    found = look(program(decrypting(second, to=inner, then=inner)))
    assert raw(pieces(found)["unpacked"], TARGET).startswith(PROGRAM)


def test_what_unpacks_into_its_own_section_is_scanned_as_it_ends(look: Look) -> None:
    found = look(program(decrypting(PROGRAM, to=STUB + 0x800, then=STUB + 0x800)))
    assert PROGRAM in pieces(found)["memory"]
    assert reasons(found) == [Reason.UNSUPPORTED]  # whether that was all of it nobody knows


def test_code_that_writes_over_the_instruction_behind_it_runs_what_it_wrote(look: Look) -> None:
    """Writing ``inc eax`` where ``dec eax`` was translated already."""
    patched = STUB + 12
    code = b"\x31\xc0\xc6\x05" + u32(patched) + b"\x40\x90\x90\x90" + b"\x48"
    code += b"\xa3" + u32(TARGET + 0x10) + b"\xc7\x05" + u32(TARGET) + b"\x90\xcc\x90\x90"
    code += jump(STUB + len(code), TARGET)
    data = pieces(look(program(code)))["unpacked"]
    assert raw(data, TARGET + 0x10).startswith(u32(1))


def test_faults_go_to_the_programs_own_handler(look: Look) -> None:
    """It divides by zero; the handler moves on what the registers say to go on with."""
    handler, later = STUB + 0x40, STUB + 0x80
    code = b"\x68" + u32(handler) + b"\x64\xff\x35" + u32(0) + b"\x64\x89\x25" + u32(0)
    code += b"\x31\xc9\xf7\xf1"
    code = code.ljust(0x40, b"\xcc") + b"\x8b\x44\x24\x0c\xc7\x80" + u32(0xB8) + u32(later)
    code = (code + b"\x31\xc0\xc3").ljust(0x80, b"\xcc")
    found = look(program(code + decrypting(PROGRAM, at=later)), seconds=0.5)
    assert raw(pieces(found)["unpacked"], TARGET).startswith(PROGRAM)


def test_functions_of_windows_are_imported_and_found_by_name(look: Look) -> None:
    """GetProcAddress(LoadLibraryA("a"), "VirtualAlloc")(0, 4096, ...) is memory to write to."""
    layout = STUB + 0x200

    def table(slots: int) -> bytes:
        names = [b"\0\0LoadLibraryA\0", b"\0\0GetProcAddress\0"]
        start = layout - BASE + 40
        first = start + 12 + 2
        thunks = u32(first) + u32(first + len(names[0])) + u32(0)
        return (
            struct.pack("<5I", 0, 0, 0, start + 12, start) + bytes(20) + thunks + b"a\0"
            + b"".join(names)
        )  # fmt: skip

    imports = table(0)
    text = layout + len(imports)
    code = b"\x68" + u32(layout + 52) + b"\xff\x15" + u32(layout + 40)
    code += b"\x68" + u32(text) + b"\x50\xff\x15" + u32(layout + 44)
    code += b"\x6a\x40\x68" + u32(0x3000) + b"\x68" + u32(0x1000) + b"\x6a\x00\xff\xd0"
    code += b"\xc7\x00" + b"mark" + b"\x8b\x18\x89\x1d" + u32(TARGET + 0x10)
    code += b"\xc6\x05" + u32(TARGET) + b"\xcc"
    code += jump(STUB + len(code), TARGET)
    data = program(code.ljust(0x200, b"\0"), imports=imports + b"VirtualAlloc\0")
    assert raw(pieces(look(data))["unpacked"], TARGET + 0x10).startswith(b"mark")


@pytest.mark.parametrize(
    "stub",
    [
        pytest.param(ENDLESS, id="jump to itself"),
        pytest.param(b"\x31\xc9\x49\x75\xfd\xeb\xf9", id="loop of loops"),
        pytest.param(
            b"\xbf" + u32(TARGET) + b"\xb9" + u32(0x800) + b"\xf3\xaa\xeb\xf2", id="fills for ever"
        ),
        pytest.param(
            b"\xbf" + u32(TARGET) + b"\x31\xc0\xb9" + u32(0x800) + b"\xf2\xae\xeb\xf0",
            id="searches for ever",
        ),
        pytest.param(b"\xc6\x05" + u32(STUB) + b"\xc6\xeb\xf7", id="rewrites itself for ever"),
        pytest.param(
            b"\x68" + u32(STUB) + b"\x64\x89\x25" + u32(0) + b"\x0f\x0b", id="faults for ever"
        ),
    ],
)
def test_what_never_ends_is_unscannable_after_its_time(look: Look, stub: bytes) -> None:
    found = look(program(stub), seconds=0.2)
    assert reasons(found) in ([Reason.LIMIT], [Reason.UNSUPPORTED], [])
    if stub.startswith((ENDLESS, b"\x31", b"\xbf")):
        assert reasons(found) == [Reason.LIMIT]


def test_all_programs_of_a_message_share_the_time_to_run_them() -> None:
    budget = Budget(ScanSettings())
    budget.emulation_left_s = 0.2
    list(programs.read(program(ENDLESS), budget))
    assert budget.emulation_left_s < 0.05
    assert reasons(list(programs.read(program(ENDLESS), budget))) == [Reason.LIMIT]


def test_a_known_packer_that_cannot_be_unpacked_is_unscannable(look: Look) -> None:
    found = look(program(b"\x0f\x28\xc1" + ENDLESS, name=b".MPRESS1"))
    assert reasons(found) == [Reason.UNSUPPORTED]


@pytest.mark.parametrize(
    "start", [b"MZ", b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"]
)
def test_a_packer_behind_damaged_headers_or_for_another_system_is_not_missed(
    look: Look, start: bytes
) -> None:
    assert reasons(look(start.ljust(600, b"\0") + b"UPX!")) == [Reason.UNSUPPORTED]
    assert look(start.ljust(600, b"\0") + b"UPX?") == []


def test_a_picture_that_names_a_packer_is_none(look: Look) -> None:
    assert look(b"\x89PNG\r\n".ljust(600, b"\0") + b"UPX!") == []


def test_a_program_that_only_looks_odd_is_not_unscannable(look: Look) -> None:
    assert look(program(b"\x0f\x28\xc1" + ENDLESS)) == []
    assert look(program(b"\xcc")) == []
    writes_to_its_data = b"\xc7\x05" + u32(TARGET) + b"data"
    assert look(program(writes_to_its_data + b"\x0f\x28\xc1" + ENDLESS)) == []


def test_plain_programs_are_not_run() -> None:
    budget = Budget(ScanSettings())
    before = budget.emulation_left_s
    list(programs.read(pe((b"\xeb\xfe" * 2000, b"data" * 2000)), budget))
    assert budget.emulation_left_s == before


def test_what_came_out_is_not_run_again() -> None:
    budget = Budget(ScanSettings())
    (piece,) = list(programs.read(program(decrypting(PROGRAM)), budget))
    assert isinstance(piece, Piece)
    left = budget.emulation_left_s
    assert list(programs.read(piece.data, budget)) == []
    assert budget.emulation_left_s == left


def test_hostile_code_ends_in_an_outcome_and_never_in_an_error() -> None:
    dice = random.Random(3)
    budget = Budget(ScanSettings())
    whole = decrypting(PROGRAM)
    for i in range(150):
        if i % 2:
            stub = dice.randbytes(dice.randrange(1, 200))
        else:
            damaged = bytearray(whole)
            damaged[dice.randrange(30)] = dice.randrange(256)
            stub = bytes(damaged)
        budget.emulation_left_s = 0.01
        list(programs.read(program(stub), budget))


@pytest.mark.parametrize(
    "stepped",
    [
        "a1 00000000",  # reads where nothing is
        "f7f1",  # divides by zero
        "9d",  # asks for a single step again
        "e9 00000080",  # jumps to where nothing is
    ],
)
def test_faults_within_a_single_step_end_in_an_outcome_and_never_in_an_error(stepped: str) -> None:
    # xor ecx, ecx; pushf; or byte [esp + 1], 1: the trap flag; twice, for two times popf
    stub = bytes.fromhex("31c9 9c 804c240101 9c 804c240101 9d" + stepped + "90" * 8)
    list(programs.read(program(stub), Budget(ScanSettings())))


def test_hostile_headers_end_in_an_outcome_and_never_in_an_error() -> None:
    dice = random.Random(4)
    budget = Budget(ScanSettings())
    whole = program(decrypting(PROGRAM))
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 2, 8))):
            data[dice.randrange(0x80, 0x1F0)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, 0x10))
        budget.emulation_left_s = 0.01
        list(programs.read(bytes(data), budget))


def test_each_answer_takes_as_many_arguments_as_its_function() -> None:
    for name, answer in ANSWERS.items():
        inspect.signature(answer).bind(None, *range(ARGUMENTS[name]))


@pytest.mark.real
@pytest.mark.skipif(not TESTFILES.is_dir(), reason="needs clamav-testfiles, not installed")
@pytest.mark.parametrize("packer", ["aspack", "mew", "petite", "upack", "yc"])
def test_programs_of_real_packers_are_unpacked_to_where_they_begin(look: Look, packer: str) -> None:
    was = portable.read((TESTFILES / "clam-fsg.exe").read_bytes())
    data = pieces(look((TESTFILES / f"clam-{packer}.exe").read_bytes()))["unpacked"]
    now = portable.read(data)
    assert was is not None
    assert now is not None
    assert now.entry == was.entry
