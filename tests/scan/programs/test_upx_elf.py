import random
import struct
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.signatures import executable
from mailward.scan.verdict import Reason
from tests.scan.programs import packing
from tests.scan.signatures.examples.programs import elf

Look = Callable[..., list[Found]]

PROGRAM = elf(b"the code of a program of Linux " * 700)


def unpacked(look: Look, data: bytes) -> bytes:
    (piece,) = (p for p in look(data) if isinstance(p, Piece))
    return piece.data


@pytest.mark.parametrize("method", packing.METHODS)
def test_a_packed_program_is_unpacked_to_what_it_was(look: Look, method: str) -> None:
    data = unpacked(look, packing.upx_elf(PROGRAM, method))
    assert data == PROGRAM
    assert executable.parse(data) == executable.parse(PROGRAM)


def test_so_is_one_of_64_bits(look: Look) -> None:
    program = elf(b"wide code " * 900, wide=True)
    assert unpacked(look, packing.upx_elf(program, headers=64 + 56)) == program


def test_segments_lie_where_the_headers_say_and_the_rest_behind_them(look: Look) -> None:
    """Two segments with a gap: first their bytes come, then the gap's, then the end's."""
    head = struct.pack("<4sBBB9xHHIIIIIHHHHHH", b"\x7fELF", 1, 1, 1, 2, 3, 1, 0x8000000, 52, 0, 0,
                       52, 32, 2, 0, 0, 0)  # fmt: skip
    head += struct.pack("<8I", 1, 0, 0, 0, 200, 200, 5, 4096)
    head += struct.pack("<8I", 1, 300, 0, 0, 100, 100, 6, 4096)
    first, gap, second, end = b"f" * (200 - len(head)), b"g" * 100, b"s" * 100, b"e" * 50
    program = head + first + gap + second + end
    stream = head + first + second + gap + end
    assert unpacked(look, packing.upx_elf(stream, headers=len(head))) == program


def test_one_whose_size_was_wiped_out_is_unpacked_all_the_same(look: Look) -> None:
    data = packing.upx_elf(PROGRAM)
    at = data.index(b"UPX!") + 12
    assert unpacked(look, data[:at] + bytes(8) + data[at + 8 :]) == PROGRAM


def test_big_endian_programs_are_unpacked(look: Look) -> None:
    program = b"\x7fELF\1\2\1".ljust(16, b"\0")
    program += struct.pack(">HHIIIIIHHHHHH", 2, 8, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    program += struct.pack(">8I", 1, 0, 0, 0, 5000, 5000, 5, 4096) + b"code of MIPS " * 400
    data = unpacked(look, packing.upx_elf(program, order=">"))
    assert data == program


def test_a_truncated_one_is_unscannable_and_what_came_is_scanned(look: Look) -> None:
    data = packing.upx_elf(elf(random.Random(1).randbytes(20_000)))
    found = look(data[:12_000])
    assert [f.reason for f in found if isinstance(f, Shut)] == [Reason.MALFORMED]
    assert any(isinstance(f, Piece) and len(f.data) > 8000 for f in found)


def test_one_that_says_that_it_is_huge_is_a_bomb(look: Look) -> None:
    data = packing.upx_elf(PROGRAM)
    at = data.index(b"UPX!") + 12
    huge = look(data[:at] + (0xF0000000).to_bytes(4, "little") + data[at + 4 :])
    assert [f.reason for f in huge if isinstance(f, Shut)] == [Reason.LIMIT]
    block = data.index(b"UPX!") + 20
    block += 12 + int.from_bytes(data[block + 4 : block + 8], "little")
    whole, part = (n.to_bytes(4, "little") for n in (0x1800000, 0x1700000))
    data = data[:at] + whole + data[at + 4 : block] + part + data[block + 4 :]
    assert [f.reason for f in look(data) if isinstance(f, Shut)] == [Reason.LIMIT]


def test_damage_anywhere_ends_in_a_program_or_a_word_and_never_in_an_error(look: Look) -> None:
    dice = random.Random(2)
    whole = packing.upx_elf(PROGRAM[:3000])
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 4))):
            data[dice.randrange(200)] = dice.randrange(256)
        look(bytes(data))


def test_headers_that_point_beyond_all_files_leave_the_bytes_in_their_order(look: Look) -> None:
    program = bytearray(elf(b"wide code " * 900, wide=True))
    program[32:40] = b"\xe6" * 8  # where the table of segments is
    assert unpacked(look, packing.upx_elf(bytes(program), headers=120)) == program


def test_other_programs_of_linux_are_left_alone(look: Look) -> None:
    assert look(PROGRAM) == []
