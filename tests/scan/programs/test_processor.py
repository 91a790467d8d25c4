"""The processor itself is the judge of what instructions do."""

import ctypes
import mmap
import platform
import random
import struct

import pytest

from mailward.scan.programs.x86.machine import Machine
from mailward.scan.programs.x86.memory import Memory
from mailward.scan.programs.x86.runtime import flags, unpack_flags

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="needs an x86-64 processor to compare with"
)

C, P, Z, S, O = 1, 4, 0x40, 0x80, 0x800  # noqa: E741 (as the manual calls them)
ALL = C | P | Z | S | O

LOAD = bytes.fromhex("53554989f8418b00418b4804418b5008418b580c418b6814418b7018418b781c41ff70209d")
"""Registers (but ESP) and flags from a table that RDI points to."""
STORE = bytes.fromhex("9c4159418900418948044189500841895 80c4189681441897018".replace(" ", ""))
STORE += bytes.fromhex("4189781c4d894820fc5d5bc3")

Registers = list[int]


class DoneError(Exception):
    pass


class Ours(Machine):
    def fault(self, code: int, address: int) -> int:
        raise DoneError


@pytest.fixture(scope="module")
def memory() -> mmap.mmap:
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    return mmap.mmap(-1, 4096, prot=protection)


def real(memory: mmap.mmap, code: bytes, registers: Registers, state: int) -> tuple[Registers, int]:
    memory[: len(LOAD + code + STORE)] = LOAD + code + STORE
    table = ctypes.create_string_buffer(struct.pack("<8IQ", *registers, state))
    at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(at)(ctypes.addressof(table))
    *now, state = struct.unpack("<8IQ", table.raw[:40])
    return now, state


def ours(code: bytes, registers: Registers, state: int) -> tuple[Registers, int]:
    machine = Ours(
        Memory(0x400000, bytearray(code + b"\xf4" + bytes(64))), 0, 10_000, lambda: False
    )
    machine.r[:8] = registers
    machine.r[8:12] = unpack_flags(state)
    with pytest.raises(DoneError):
        machine.run(0x400000)
    return machine.r[:8], flags(machine.r)


def cases() -> list[tuple[str, int]]:
    """Instructions in hexadecimal, and the flags that they define."""
    found = []
    for kind in range(8):
        for form, pair in ((0, "c4"), (0, "eb"), (1, "c1"), (2, "ca"), (3, "d7")):
            found.append((f"{kind * 8 + form:02x}{pair}", ALL))
            if form & 1:
                found.append((f"66{kind * 8 + form:02x}{pair}", ALL))
        found += [(f"{kind * 8 + 4:02x}85", ALL), (f"{kind * 8 + 5:02x}34921180", ALL)]
        found += [(f"83{0xC3 + kind * 8:02x}f5", ALL), (f"66{kind * 8 + 5:02x}3492", ALL)]
    for kind in (0, 1, 2, 3, 4, 5, 7):
        for count in (0, 1, 5, 31):
            known = ALL if kind > 3 or not count else C
            known = known | O if count == 1 else known if not count else known & ~O
            found += [(f"c1{0xC3 + kind * 8:02x}{count:02x}", known)]
            found += [(f"b1{count:02x}d3{0xC3 + kind * 8:02x}", known)]
        found += [(f"c0{0xC7 + kind * 8:02x}03", ALL & ~O if kind > 3 else C)]
        found += [(f"66c1{0xC2 + kind * 8:02x}09", ALL & ~O if kind > 3 else C)]
    for size in ("f6", "f7", "66f7"):
        found += [
            (f"{size}d3", ALL),
            (f"{size}db", ALL),
            (f"{size}e3", C | O),
            (f"{size}eb", C | O),
        ]
        found += [(f"31d2 83e07f 81cb01010000 {size}{kind}", 0) for kind in ("f3", "fb")]
    for op in range(16):
        found += [(f"0f9{op:x}c6", ALL), (f"0f4{op:x}c6", ALL), (f"7{op:x}02b05590", ALL)]
    for extend in ("b6", "b7", "be", "bf"):
        found += [(f"0f{extend}ee", ALL), (f"660f{extend}ea", ALL)]
    found += [(f"0f{op}ce", C | Z) for op in ("a3", "ab", "b3", "bb")]
    found += [(f"0fba{op}0b", C | Z) for op in ("e6", "ee", "f6", "fe")]
    found += [(f"0f{op}ce", ALL) for op in ("c0", "c1", "b0", "b1")]
    found += [("0fbcce", Z), ("0fbdce", Z), ("0fc9", ALL), ("98", ALL), ("6698", ALL), ("99", ALL)]
    found += [("0fafee", C | O), ("6bee85", C | O), ("69ee85129481", C | O), ("6669ee8592", C | O)]
    found += [("b1070fa5e8", ALL & ~O), ("b1070fade8", ALL & ~O), ("0fa4e80b", ALL & ~O)]
    found += [("fec4", ALL), ("fecc", ALL), ("ffc3", ALL), ("66ffcb", ALL), ("84ea", ALL)]
    found += [("a991111191", ALL), ("f5", ALL), ("f911d0", ALL), ("f811d0", ALL), ("86e1", ALL)]
    found += [("87e9", ALL), ("6693", ALL), ("8d849d11223344", ALL), ("668d442df5", ALL)]
    found += [(f"e{op}02b011", ALL) for op in range(4)]
    return found


@pytest.mark.parametrize(("code", "defined"), cases())
def test_an_instruction_does_what_the_processor_does(
    memory: mmap.mmap, code: str, defined: int
) -> None:
    dice = random.Random(code)
    odd = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    instructions = bytes.fromhex(code.replace(" ", ""))
    for _ in range(6):
        registers = [
            dice.choice((*odd, dice.getrandbits(32), dice.getrandbits(8))) for _ in range(8)
        ]
        registers[4] = 0
        state = (
            0x202 | dice.choice((0, C)) | dice.choice((0, Z | P, S, S | P)) | dice.choice((0, O))
        )
        wanted, wanted_state = real(memory, instructions, registers, state)
        found, found_state = ours(instructions, registers, state)
        assert found == wanted, [hex(r) for r in registers]
        assert found_state & defined == wanted_state & defined, [hex(r) for r in registers]
