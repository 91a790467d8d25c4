"""Windows programs (PE) as unpackers see them: loaded into memory, and written back from there.

Format: Microsoft's PE and COFF specification, with every number mistrusted. How signatures see a
program is ``scan.signatures.executable``.
"""

import struct
from dataclasses import dataclass

from mailward.settings.base import MIB

IMAGE_MAX_BYTES = 32 * MIB
"""Of a program in memory; the largest packed programs in mail take a few MiB."""
SECTIONS_MAX = 96
I386, AMD64 = 0x14C, 0x8664
CODE, EXECUTABLE, WRITABLE = 0x20, 0x20000000, 0x80000000
"""Flags of a section."""
IMPORTS, RESOURCES, CERTIFICATES, RELOCATIONS = 1, 2, 4, 5
"""Data directories."""
PAGE = 0x1000


@dataclass(frozen=True, slots=True)
class Section:
    """Part of a program."""

    name: bytes
    address: int
    """In memory, relative to the program's base; so are all addresses here."""
    memory_size: int
    offset: int
    """In the file, rounded down as Windows does."""
    size: int
    """In the file."""
    flags: int

    @property
    def end(self) -> int:
        """Where it ends in memory, whatever of its two sizes is larger."""
        return self.address + max(self.memory_size, self.size)

    def holds(self, address: int) -> bool:
        """Whether an address is in it."""
        return self.address <= address < self.end


@dataclass(frozen=True, slots=True)
class Program:
    """What its headers say."""

    header_at: int
    """Where ``PE`` is in the file."""
    machine: int
    is_wide: bool
    """Whether it is one of 64 bits."""
    is_library: bool
    entry: int
    base: int
    image_size: int
    headers_size: int
    table_at: int
    """Where the table of sections is in the file."""
    sections: tuple[Section, ...]
    directories: tuple[tuple[int, int], ...]
    """Address and size of each."""

    def section_of(self, address: int) -> Section | None:
        """The section that an address is in."""
        return next((s for s in self.sections if s.holds(address)), None)

    def directory(self, number: int) -> tuple[int, int]:
        """Address and size; zeros if there is none."""
        return self.directories[number] if number < len(self.directories) else (0, 0)

    def sections_end(self, file_bytes: int) -> int:
        """Where the last section ends that is in a file of that length: installers go on there."""
        ends = (s.offset + s.size for s in self.sections if s.size and s.offset < file_bytes)
        return min(file_bytes, max(ends, default=0))

    @property
    def file_size(self) -> int:
        """How long its file is by its own headers, a signature behind it included."""
        table_end = self.table_at + 40 * len(self.sections)
        end = max([table_end, *(s.offset + s.size for s in self.sections if s.size)])
        at, size = self.directory(CERTIFICATES)  # the one directory that is an offset
        return at + size if end <= at <= end + 8 else end


def read(data: bytes, at: int = 0) -> Program | None:
    """The program that begins at ``at``; None if there is none. Never raises."""
    try:
        return _read(data, at)
    except (struct.error, IndexError):
        return None  # cut short


def _read(data: bytes, at: int) -> Program | None:
    (header_at,) = struct.unpack_from("<I", data, at + 0x3C)
    if data[at : at + 2] != b"MZ" or data[at + header_at : at + header_at + 4] != b"PE\0\0":
        return None
    machine, count, optional_size, flags = struct.unpack_from("<HH12xHH", data, at + header_at + 4)
    optional = at + header_at + 24
    magic, entry = struct.unpack_from("<H14xI", data, optional)
    is_wide = magic == 0x20B
    if not 1 <= count <= SECTIONS_MAX or magic not in (0x10B, 0x20B):
        return None
    layout = "<24xQI" if is_wide else "<28xII"
    base, section_alignment = struct.unpack_from(layout, data, optional)
    image_size, headers_size = struct.unpack_from("<II", data, optional + 56)
    directories = optional + (112 if is_wide else 96)
    (known,) = struct.unpack_from("<I", data, directories - 4)
    table = optional + optional_size
    sections = []
    for i in range(count):
        name, memory, address, size, offset, characteristics = struct.unpack_from(
            "<8sIIII12xI", data, table + 40 * i
        )
        if section_alignment >= PAGE:
            offset &= ~0x1FF
        sections.append(Section(name, address, memory or size, offset, size, characteristics))
    return Program(
        header_at,
        machine,
        is_wide,
        bool(flags & 0x2000),
        entry,
        base,
        image_size,
        headers_size,
        table - at,
        tuple(sections),
        tuple(struct.iter_unpack("<II", data[directories : directories + 8 * min(known, 16)])),
    )


def load(data: bytes, program: Program) -> bytearray | None:
    """The program in memory, as Windows would lay it out; None if that is too large or nowhere."""
    size = max([program.image_size, *(s.address + s.memory_size for s in program.sections)])
    size = _pages(size)
    if size > IMAGE_MAX_BYTES:
        return None
    image = bytearray(size)
    headers = data[: min(max(program.headers_size, program.table_at), PAGE)]
    image[: len(headers)] = headers
    for section in program.sections:
        on_disk = -(-section.size // 0x200) * 0x200  # what Windows reads are whole sectors
        here = min(on_disk, _pages(section.memory_size), size - section.address)
        content = data[section.offset : section.offset + max(0, here)]
        image[section.address : section.address + len(content)] = content
    return image if len(image) == size else None


def rebuilt(program: Program, image: bytearray, entry: int) -> bytes:
    """``image``, which is changed, as a file: its sections lie there as in memory.

    ``program``: whose headers ``image`` begins with. ``entry``: where it begins to run. Raises
    ValueError if the headers are longer than the program.
    """
    out = image
    optional = program.header_at + 24
    if program.table_at + 40 * len(program.sections) > len(out):
        raise ValueError("the headers are longer than the program")
    struct.pack_into("<I", out, optional + 16, entry)
    struct.pack_into("<III", out, optional + 32, PAGE, PAGE, 0)
    struct.pack_into("<II", out, optional + 56, len(out), min(PAGE, program.sections[0].address))
    for i, section in enumerate(program.sections):
        size = min(_pages(section.memory_size), max(0, len(out) - section.address))
        struct.pack_into("<IIII", out, program.table_at + 40 * i + 8, size, section.address, size,
                         section.address)  # fmt: skip
    return bytes(out)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
