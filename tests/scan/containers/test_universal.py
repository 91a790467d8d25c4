"""Programs of macOS for several processors in one file."""

import struct
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.testing import EICAR

Unpack = Callable[..., list[Found]]

PROGRAMS = (b"\xcf\xfa\xed\xfe one, " + EICAR, b"\xcf\xfa\xed\xfe another")


def universal(*programs: bytes, wide: bool = False) -> bytes:
    head = struct.pack(">LL", 0xCAFEBABF if wide else 0xCAFEBABE, len(programs))
    body, start = b"", 512
    for program in programs:
        place = (start + len(body), len(program))
        head += struct.pack(">LLQQLL" if wide else ">LLLLL", 7, 3, *place, 0, *([0] * wide))
        body += program
    return head.ljust(start, b"\0") + body


@pytest.mark.parametrize("wide", [False, True])
def test_each_program_is_a_part(unpack: Unpack, wide: bool) -> None:
    found = unpack(universal(*PROGRAMS, wide=wide))
    assert [(one.label, one.data) for one in found if isinstance(one, Piece)] == [
        ("program 1", PROGRAMS[0]),
        ("program 2", PROGRAMS[1]),
    ]
    assert len(found) == 2


def test_a_class_of_java_is_none(unpack: Unpack) -> None:
    assert unpack(b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(200)) == []


@pytest.mark.parametrize("keep", [8, 20, 30, 500, 530, 600])
def test_truncated_is_told(unpack: Unpack, keep: int) -> None:
    whole = universal(*PROGRAMS)[:keep]
    assert any(isinstance(one, Shut) for one in unpack(whole))


def test_programs_that_overlap_end(unpack: Unpack) -> None:
    program = b"x" * 100_000
    head = struct.pack(">LL", 0xCAFEBABE, 30) + struct.pack(">LLLLL", 7, 3, 620, 90_000, 0) * 30
    found = unpack(head.ljust(620, b"\0") + program)
    assert isinstance(found[-1], Shut)
    assert sum(len(one.data) for one in found if isinstance(one, Piece)) < 300_000


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_nothing_but_a_beginning_is_survived(unpack: Unpack, filler: bytes) -> None:
    for size in (8, 100_000):
        unpack(b"\xca\xfe\xba\xbe\0\0\0\2".ljust(size, filler))
