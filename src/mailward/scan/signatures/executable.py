"""Programs as signatures see them: where they begin to run, and their sections.

Only what ``EP``, ``Sx`` and ``SL`` offsets, section hashes and NumberOfSections need, read from the
headers with every number mistrusted. Formats: Microsoft's PE and COFF specification, the ELF
specification (gABI), Apple's ``mach-o/loader.h``. Where a header contradicts itself the reading is
ClamAV's, found by trying clamscan 1.4: PE sections are aligned, one that begins behind the end of
the file has no bytes, and a program whose entry point is outside of the file has no layout at all.
"""

import hashlib
import struct
from dataclasses import dataclass

SECTIONS_MAX = 96
"""Of a PE file; its specification and ClamAV know no more."""
_ELF_SECTIONS_MAX = 2048
_ELF_SEGMENTS_MAX = 128
_MACHO_COMMANDS_MAX = 1024
_MACHO_SECTIONS_MAX = 2048
_SIGN_BIT = 1 << 31


@dataclass(frozen=True, slots=True)
class Section:
    """Part of a program."""

    offset: int
    """Where it is in the file, bytes."""
    size: int
    """Bytes in the file."""
    address: int
    """Where it is in memory, relative to the program's base."""
    memory_size: int


@dataclass(frozen=True)
class Executable:
    """A program's layout."""

    entry_point: int | None
    """As an offset in the file; None if an ELF or Mach-O file has none."""
    sections: tuple[Section, ...]
    version_info: tuple[int, ...] = ()
    """Where the keys of the version information are in the file (``VI`` offsets)."""

    @property
    def number_of_sections(self) -> int:
        """As the attribute NumberOfSections counts them."""
        return len(self.sections)


def section_hashes(data: bytes, executable: Executable, algorithm: str) -> list[tuple[int, bytes]]:
    """Size and digest of every section that has bytes, as ``.mdb`` and ``.msb`` list them.

    ``algorithm``: md5, sha1 or sha256.
    """
    view = memoryview(data)
    found = []
    for section in executable.sections:
        if section.size:
            piece = view[section.offset : section.offset + section.size]
            digest = hashlib.new(algorithm, piece, usedforsecurity=False).digest()
            found.append((section.size, digest))
    return found


def parse(data: bytes) -> Executable | None:
    """The layout of the PE, ELF or Mach-O program ``data``; None if it is none. Never raises."""
    try:
        if data[:2] in (b"MZ", b"ZM"):
            return _Pe(data).read()
        if data[:4] == b"\x7fELF":
            return _elf(data)
        if data[:4] in _MACHO_ORDERS:
            return _macho(data)
    except (struct.error, IndexError, OverflowError):
        return None  # cut short, or continued at a place that no file has
    return None


def _align_down(value: int, to: int) -> int:
    return value // to * to if to else value


def _align_up(value: int, to: int) -> int:
    return -(-value // to) * to if to else value


class _Pe:
    """Reads one PE file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)

    def read(self) -> Executable | None:
        data = self._data
        (at,) = struct.unpack_from("<I", data, 0x3C)
        if not at or data[at : at + 4] != b"PE\0\0":
            return None
        count, optional_size = struct.unpack_from("<2xH12xH", data, at + 4)
        optional = at + 24
        if not 1 <= count <= SECTIONS_MAX:
            return None
        magic, entry = struct.unpack_from("<H14xI", data, optional)
        section_alignment, file_alignment = struct.unpack_from("<II", data, optional + 32)
        (headers,) = struct.unpack_from("<I", data, optional + 60)
        table = optional + optional_size
        raw = [struct.unpack_from("<8xIIII", data, table + 40 * i) for i in range(count)]
        if any((memory | address) & _SIGN_BIT for memory, address, _, _ in raw):
            return None
        if any(
            size and offset % (file_alignment or 1) and not offset % 0x200
            for _, _, size, offset in raw
        ):
            file_alignment = 0x200  # linkers that align so say other things in the header
        sections = tuple(self._section(entry_, section_alignment, file_alignment) for entry_ in raw)
        offset = self._offset(entry, sections, _align_up(headers, section_alignment))
        if offset is None:
            return None  # nothing could run from this file
        executable = Executable(offset, sections)
        resources = self._resources(optional, magic)
        if resources is None:
            return executable
        return Executable(offset, sections, tuple(self._versions(resources, executable, headers)))

    def _section(
        self, header: tuple[int, ...], section_alignment: int, file_alignment: int
    ) -> Section:
        memory_size, address, size, offset = header
        raw = _align_down(offset, file_alignment)
        on_disk = _align_up(size, file_alignment)
        in_memory = _align_up(memory_size or size, section_alignment)
        if raw >= self._size:
            raw, on_disk = (0, 0) if on_disk else (raw, 0)
        return Section(
            raw,
            max(0, min(on_disk, self._size - raw)),
            _align_down(address, section_alignment),
            in_memory,
        )

    def _offset(self, address: int, sections: tuple[Section, ...], headers: int) -> int | None:
        """Where an address is in the file."""
        if address < headers:
            return address if address < self._size else None
        for section in reversed(sections):
            if section.address <= address < section.address + section.size:
                return section.offset + address - section.address
        return None

    def _resources(self, optional: int, magic: int) -> int | None:
        """Address of the resource directory: the third data directory."""
        directories = optional + (112 if magic == 0x20B else 96)
        (known,) = struct.unpack_from("<I", self._data, directories - 4)
        if known < 3:
            return None
        (address,) = struct.unpack_from("<I", self._data, directories + 16)
        return address or None

    def _versions(self, resources: int, executable: Executable, headers: int) -> list[int]:
        """Where the strings of the version information (resource type 16) begin."""
        base = self._offset(resources, executable.sections, headers)
        if base is None:
            return []
        found: list[int] = []
        for names in self._entries(base, base, 16):
            for languages in self._entries(base, names, None):
                for leaf in self._entries(base, languages, None, leaves=True):
                    address, size = struct.unpack_from("<II", self._data, leaf)
                    at = self._offset(address, executable.sections, headers)
                    if at is not None and len(found) < _VERSION_STRINGS_MAX:
                        found += self._strings(at, min(at + size, self._size))
        return found[:_VERSION_STRINGS_MAX]

    def _entries(
        self, base: int, directory: int, identifier: int | None, *, leaves: bool = False
    ) -> list[int]:
        """Where a resource directory's entries point: to directories, or to leaves."""
        named, numbered = struct.unpack_from("<HH", self._data, directory + 12)
        found: list[int] = []
        for i in range(min(named + numbered, _RESOURCES_MAX)):
            entry = directory + 16 + 8 * i
            if entry + 8 > self._size:
                break
            name, points_to = struct.unpack_from("<II", self._data, entry)
            if identifier is not None and name != identifier:
                continue
            at = base + (points_to & 0x7FFFFFFF)
            if bool(points_to >> 31) != leaves and at + 16 <= self._size:
                found.append(at)
        return found

    def _strings(self, start: int, end: int) -> list[int]:
        """The keys of a StringTable: each String is three 16-bit numbers, then its key."""
        data = self._data
        at = data.find(_STRING_FILE_INFO, start, end)
        if at < 0:
            return []
        stop = min(at - 6 + int.from_bytes(data[at - 6 : at - 4], "little"), end)
        at = _align_up(at + len(_STRING_FILE_INFO) + 2 - start, 4) + start
        (table_size,) = struct.unpack_from("<H", data, at)
        stop = min(stop, at + table_size)
        at += 24  # length, value length, type, eight digits of language, zero
        found: list[int] = []
        while at + 6 < stop and len(found) < _VERSION_STRINGS_MAX:
            (size,) = struct.unpack_from("<H", data, at)
            if size < 6:
                break
            found.append(at + 6)
            at = _align_up(at + size - start, 4) + start
        return found


_STRING_FILE_INFO = "StringFileInfo\0".encode("utf-16-le")[:-2]
_VERSION_STRINGS_MAX = 256
_RESOURCES_MAX = 1024
"""Entries of one resource directory: real programs have dozens."""


def _elf(data: bytes) -> Executable | None:
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    if data[4] not in (1, 2) or data[5] not in (1, 2):
        return None
    layout = "16xHHI" + ("QQQ" if wide else "III") + "IHHHHHH"
    (_, _, _, entry, segments_at, sections_at, _, _, segment_size, segments, section_size,
     sections, _) = struct.unpack_from(order + layout, data)  # fmt: skip
    if segments > _ELF_SEGMENTS_MAX or sections > _ELF_SECTIONS_MAX:
        return None
    offset = None
    if entry and segments and segment_size >= (56 if wide else 32):
        for i in range(segments):
            at = segments_at + i * segment_size
            if wide:
                _, _, raw, address, _, _, memory = struct.unpack_from(order + "IIQQQQQ", data, at)
            else:
                _, raw, address, _, _, memory = struct.unpack_from(order + "IIIIII", data, at)
            if address <= entry < address + memory:
                offset = entry - address + raw
                break
        else:
            return None
    found: list[Section] = []
    if section_size >= (64 if wide else 40):
        for i in range(sections):
            at = sections_at + i * section_size
            address, raw, size = struct.unpack_from(
                order + ("16xQQQ" if wide else "12xIII"), data, at
            )
            found.append(Section(raw, size, address, size))
    return Executable(offset, tuple(found))


_MACHO_ORDERS = {
    b"\xce\xfa\xed\xfe": ("<", False),
    b"\xcf\xfa\xed\xfe": ("<", True),
    b"\xfe\xed\xfa\xce": (">", False),
    b"\xfe\xed\xfa\xcf": (">", True),
}
_SEGMENT, _SEGMENT_64, _UNIXTHREAD = 1, 0x19, 5
_PROGRAM_COUNTERS = {7: 16 + 40, 18: 16, 0x01000007: 16 + 128, 0x01000012: 16}
"""Where the program counter is in a thread command: x86, PowerPC, and their 64-bit kinds."""


def _macho(data: bytes) -> Executable | None:
    order, wide = _MACHO_ORDERS[data[:4]]
    processor, _, _, commands = struct.unpack_from(order + "4xIIII", data)
    if commands > _MACHO_COMMANDS_MAX:
        return None
    at = 32 if wide else 28
    sections: list[Section] = []
    entry = None
    for _ in range(commands):
        kind, size = struct.unpack_from(order + "II", data, at)
        if size < 8:
            break
        if kind in (_SEGMENT, _SEGMENT_64):
            sections += _macho_sections(data, at, order, wide=kind == _SEGMENT_64)
        elif kind == _UNIXTHREAD and processor in _PROGRAM_COUNTERS:
            counter = at + _PROGRAM_COUNTERS[processor]
            (entry,) = struct.unpack_from(order + ("Q" if processor >> 24 else "I"), data, counter)
        if len(sections) > _MACHO_SECTIONS_MAX:
            return None
        at += size
    offset = None
    if entry is not None:
        for section in sections:
            if section.address <= entry < section.address + section.memory_size:
                offset = entry - section.address + section.offset
                break
    return Executable(offset, tuple(sections))


def _macho_sections(data: bytes, at: int, order: str, *, wide: bool) -> list[Section]:
    (count,) = struct.unpack_from(order + "I", data, at + (64 if wide else 48))
    found: list[Section] = []
    for i in range(min(count, _MACHO_SECTIONS_MAX + 1)):
        entry = at + (72 + 80 * i if wide else 56 + 68 * i)
        address, size, offset = struct.unpack_from(
            order + ("32xQQI" if wide else "32xIII"), data, entry
        )
        found.append(Section(offset, size, address, size))
    return found
