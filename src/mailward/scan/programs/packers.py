"""What says that a program is packed."""

import re
from collections import Counter
from math import log2

from mailward.scan.programs import portable
from mailward.scan.programs.portable import Program

_NAMES = {
    b"UPX0": "UPX", b"UPX1": "UPX", b"UPX2": "UPX", b"UPX!": "UPX", b".aspack": "ASPack",
    b"MEW\0": "MEW", b".petite": "PEtite", b".WWP32": "WWPack32", b"FSG!": "FSG",
    b"yC\0\0\0\0\0\0": "yoda's Crypter", b"KERNEL32.DLL\0\0PE\0\0": "Upack",
    b".MPRESS1": "MPRESS", b"Themida": "Themida", b".vmp0": "VMProtect", b".nsp0": "NsPack",
    b".nsp1": "NsPack", b"PEC2": "PECompact", b"PECompact2": "PECompact",
}  # fmt: skip
"""What packers leave in the headers."""
_NAME = re.compile(b"|".join(map(re.escape, _NAMES)))
_HEADERS_BYTES = 1024
_MACH_O = b"\xca\xfe\xba\xbe", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"
_MACH_O_HEADERS_BYTES = 4096
_PESPIN = b"\xeb\x01\x68\x60\xe8\0\0\0\0\x8b\x1c\x24\x83\xc3\x12"
_DOTNET = 14
"""The data directory of programs that a framework runs, not the processor."""
_IMPORTS_FEW = 200
"""Bytes of the table of imports: some seven libraries. Packers import from one or two."""
_SAMPLE_BYTES = 4096
_ENTROPY_PACKED = 7.2
"""Bits a byte. Code has six, what is compressed or encrypted nearly eight."""


def name(data: bytes) -> str | None:
    """The packer's name, for people; None if nothing says that a known one packed ``data``."""
    found = _NAME.search(data, 0, _HEADERS_BYTES)
    if found is not None:
        return _NAMES[found[0]]
    return "PESpin" if _PESPIN in data else None


def name_elsewhere(data: bytes) -> str | None:
    """The packer's name in a program for Windows with damaged headers, for DOS, or for macOS."""
    if data.startswith(_MACH_O):
        return "UPX" if data.find(b"UPX!", 0, _MACH_O_HEADERS_BYTES) >= 0 else None
    return name(data) if data.startswith(b"MZ") else None


def can_run(program: Program) -> bool:
    """Whether the small computer is made for it."""
    is_managed = program.directory(_DOTNET) != (0, 0)
    return program.machine == portable.I386 and not program.is_wide and not is_managed


def looks_packed(data: bytes, program: Program) -> bool:
    """Whether something says that what runs is not what is in the file."""
    section = program.section_of(program.entry)
    if section is None or section.flags & portable.WRITABLE or not section.size:
        return True
    first = program.sections[0]
    if not first.size and first.memory_size and first is not section:
        return True
    if program.directory(portable.IMPORTS)[1] > _IMPORTS_FEW:
        return False
    return any(_entropy(data, s.offset, s.size) > _ENTROPY_PACKED for s in _holds_code(program))


def _holds_code(program: Program) -> list[portable.Section]:
    flags = portable.EXECUTABLE | portable.CODE
    return [s for s in program.sections if s.flags & flags and s.size >= _SAMPLE_BYTES]


def _entropy(data: bytes, at: int, size: int) -> float:
    """Of some thousand bytes in the middle of a section."""
    sample = data[at + size // 2 - _SAMPLE_BYTES // 2 :][:_SAMPLE_BYTES]
    counts = Counter(sample).values()
    return -sum(n / len(sample) * log2(n / len(sample)) for n in counts)
