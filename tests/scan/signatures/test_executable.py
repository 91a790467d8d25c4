import hashlib
import random

import pytest

from mailward.scan.signatures.executable import SECTIONS_MAX, Executable, parse, section_hashes
from tests.scan.signatures.examples.programs import PE_HEADERS, elf, macho, pe, with_version


def read(data: bytes) -> Executable:
    executable = parse(data)
    assert executable is not None
    return executable


def test_a_pe_program_has_its_entry_point_and_sections_where_they_are_in_the_file() -> None:
    program = read(pe((b"a" * 0x300, b"b"), entry=0x1004))
    assert program.entry_point == PE_HEADERS + 4
    assert [(s.offset, s.size) for s in program.sections] == [(0x400, 0x400), (0x800, 0x200)]
    assert program.number_of_sections == 2


def test_an_entry_point_within_the_headers_is_itself_an_offset() -> None:
    assert read(pe(entry=0x10)).entry_point == 0x10


def test_sections_are_hashed_as_they_lie_in_the_file() -> None:
    data = pe((b"one", b"two"))
    hashes = section_hashes(data, read(data), "sha256")
    assert hashes == [
        (0x200, hashlib.sha256(word.ljust(0x200, b"\0")).digest()) for word in (b"one", b"two")
    ]


def test_a_section_that_the_file_cuts_short_has_the_bytes_that_are_there() -> None:
    data = pe((b"one", b"two" * 100))[:-100]
    assert [s.size for s in read(data).sections] == [0x200, 0x200 - 100]


def test_a_section_behind_the_end_has_no_bytes_and_no_hash() -> None:
    data = pe((b"one", b"two"))[:0x600]
    assert [(s.offset, s.size) for s in read(data).sections] == [(0x400, 0x200), (0, 0)]
    assert len(section_hashes(data, read(data), "md5")) == 1


def test_linkers_that_align_otherwise_than_they_say_are_read_as_they_lie() -> None:
    assert [s.offset for s in read(pe(file_alignment=0x1000)).sections] == [0x400, 0x600]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pe(entry=0x9000), id="entry point outside"),
        pytest.param(pe(count=0), id="no sections"),
        pytest.param(pe(count=SECTIONS_MAX + 1), id="too many sections"),
        pytest.param(pe(count=90)[:0x500], id="section table longer than the file"),
        pytest.param(pe(address=0x80001000), id="section at a negative address"),
        pytest.param(b"MZ", id="two bytes"),
        pytest.param(b"MZ".ljust(64, b"\xff"), id="header nowhere"),
        pytest.param(b"MZ".ljust(64, b"\0"), id="header at 0"),
        pytest.param(elf()[:60], id="ELF cut short"),
        pytest.param(elf(entry=0x100), id="ELF entry point outside"),
        pytest.param(elf()[:4] + b"\x03" + elf()[5:], id="ELF of unknown width"),
        pytest.param(macho()[:40], id="Mach-O cut short"),
        pytest.param(b"", id="empty"),
        pytest.param(b"%PDF-1.4", id="no program"),
        pytest.param(
            b"\xca\xfe\xba\xbe\0\0\0\x02", id="universal binary: its members are programs"
        ),
    ],
)
def test_what_cannot_be_a_program_has_no_layout(data: bytes) -> None:
    assert parse(data) is None


@pytest.mark.parametrize("wide", [False, True])
def test_an_elf_program_is_read_in_both_widths(wide: bool) -> None:
    program = read(elf(b"content", entry=0x8000103, wide=wide))
    assert program.entry_point == 0x103
    assert [(s.offset, s.size) for s in program.sections] == [(0, 0), (0x100, 7)]


def test_a_mach_o_program_begins_where_its_thread_does() -> None:
    program = read(macho(b"content", entry=0x2003))
    assert program.entry_point == 0x203
    assert [(s.offset, s.size) for s in program.sections] == [(0x200, 7)]


def test_version_information_is_found_by_its_keys() -> None:
    data = with_version([("CompanyName", "Anybody"), ("FileVersion", "1.2")])
    found = read(data).version_info
    assert [data[at : at + 8].decode("utf-16-le") for at in found] == ["Comp", "File"]
    assert read(pe((b"CompanyName".hex().encode(),))).version_info == ()


def test_hostile_headers_end_in_a_layout_or_none_and_never_in_an_error() -> None:
    random_ = random.Random(1)
    for program in (pe(), elf(), elf(wide=True), macho()):
        for _ in range(3000):
            data = bytearray(program)
            for _ in range(random_.randrange(1, 6)):
                data[random_.randrange(2, min(len(data), 0x200))] = random_.choice(
                    (0, 1, 0x7F, 0x80, 0xFF)
                )
            cut = (
                bytes(data[: random_.randrange(len(data))])
                if random_.random() < 0.3
                else bytes(data)
            )
            found = parse(cut)
            if found is not None:
                section_hashes(cut, found, "md5")
                assert all(s.size >= 0 for s in found.sections)
