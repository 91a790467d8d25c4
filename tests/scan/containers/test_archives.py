import base64
import ctypes
import errno
import gzip
from collections.abc import Callable

import pytest

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.contents import Piece, Shut
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Reason, Unopened
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, zipped
from tests.scan.containers import archives
from tests.scan.containers.archives import Builder

Members = Callable[..., list[tuple[str, bytes]]]
Unpack = Callable[..., list[Piece | Shut]]

needs_libarchive = pytest.mark.skipif(
    not libarchive.version(), reason="needs libarchive (Debian: libarchive13), not installed"
)
FORMATS = [
    *(pytest.param(build, id=name) for name, build in archives.BUILT.items()),
    *(pytest.param(b, id=name, marks=pytest.mark.real) for name, b in archives.MADE.items()),
]


def everything(data: bytes, **limits: float) -> tuple[list[Part], list[Unopened]]:
    budget = Budget(ScanSettings.model_validate(limits))
    found = list(parts(data, role=Role.FILE, name="file", budget=budget))
    opened = [part for part in found if isinstance(part, Part)]
    return opened, [part for part in found if isinstance(part, Unopened)]


@needs_libarchive
@pytest.mark.parametrize("build", FORMATS)
def test_a_program_three_deep_is_found(build: Builder) -> None:
    data = EICAR
    for name in ("eicar.com", "inner", "outer"):
        data = build(name, data)
    opened, shut = everything(data)
    assert opened[-1].data == EICAR
    assert opened[-1].depth == (1 if build is archives.lz4 else 3)  # libarchive undoes all at once
    assert not shut


@needs_libarchive
@pytest.mark.parametrize("build", FORMATS)
def test_a_program_between_other_containers_is_found(build: Builder) -> None:
    inner = build("eicar.com", gzip.compress(EICAR))
    opened, shut = everything(zipped(Attachment("a.bin", inner)))
    assert opened[-1].data == EICAR
    assert not shut


@needs_libarchive
@pytest.mark.parametrize("build", FORMATS)
def test_a_large_file_comes_out_whole(build: Builder, members: Members) -> None:
    content = b"".join(b"%d lines of it\n" % number for number in range(9000))
    found = {data for _, data in members(build("file.txt", content))}  # twice if read both ways
    assert found == {content}


@needs_libarchive
@pytest.mark.parametrize("build", FORMATS)
def test_truncated_anywhere_is_never_silently_clean(build: Builder, unpack: Unpack) -> None:
    content = EICAR * 8
    whole = build("eicar.com", content)
    step = max(1, len(whole) // 150)
    for end in range(9, len(whole), step):
        budget = Budget(ScanSettings())
        found = containers.unpack(whole[:end], "", "", budget)
        if found is None:
            continue  # not even its beginning is there
        if build is archives.compress or (build is archives.lz4 and end < 11):
            continue  # has neither size nor checksum; is none yet
        pieces = list(found)
        shut = any(isinstance(piece, Shut) for piece in pieces)
        whole_content = any(isinstance(piece, Piece) and piece.data == content for piece in pieces)
        assert shut or whole_content, end


@needs_libarchive
@pytest.mark.parametrize("build", FORMATS)
def test_damage_anywhere_is_survived(build: Builder, unpack: Unpack) -> None:
    whole = bytearray(build("eicar.com", EICAR * 8))
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        unpack(bytes(damaged))


@needs_libarchive
@pytest.mark.parametrize("name", ["7z", "7z-ppmd", "7z-bzip2", "zip-ppmd", "xar"])
@pytest.mark.real
def test_bombs_cost_ten_mebibytes(name: str) -> None:
    bomb = archives.MADE[name]("zeros", bytes(64 * 1024 * 1024))
    budget = Budget(ScanSettings())
    found = list(parts(bomb, role=Role.FILE, name="bomb", budget=budget))
    assert budget.unpacked_bytes < 17 * 1024 * 1024
    assert {shut.reason for shut in found if isinstance(shut, Unopened)} == {Reason.LIMIT}


def test_without_the_library_the_format_is_unsupported(
    unpack: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libarchive, "_library", lambda: None)
    [shut] = unpack(archives.cab("eicar.com", EICAR))
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.UNSUPPORTED
    assert "not installed" in shut.detail
    assert libarchive.version() == ""


@needs_libarchive
def test_a_member_over_the_limit_is_cut_and_the_next_is_read(unpack: Unpack) -> None:
    both = archives.ar("a", bytes(5000)) + archives.ar("b", EICAR)[8:]
    first, limit, second = unpack(both, max_part_bytes=1000)
    assert isinstance(first, Piece)
    assert len(first.data) == 1000
    assert isinstance(limit, Shut)
    assert limit.reason is Reason.LIMIT
    assert isinstance(second, Piece)
    assert second.data == EICAR


@needs_libarchive
@pytest.mark.parametrize("start", [b"MZ", b"\xff\xd8\xff", b"\x7fELF"], ids=["PE", "JPEG", "ELF"])
@pytest.mark.parametrize("build", [archives.cab, archives.rar4, archives.rar5])
def test_an_archive_behind_a_program_or_a_picture_is_opened(start: bytes, build: Builder) -> None:
    opened, shut = everything(start + bytes(3000) + build("eicar.com", EICAR))
    assert opened[-1].data == EICAR
    assert not shut


@needs_libarchive
def test_what_two_programs_take_for_two_things_is_read_as_both(members: Members) -> None:
    both = archives.ar("first", b"one") + zipped(Attachment("second", EICAR))
    assert ("second", EICAR) in members(both)
    assert ("first", b"one") in members(both)


@needs_libarchive
def test_a_file_of_many_blocks_is_read_to_its_end(members: Members, unpack: Unpack) -> None:
    """Behind each block of RAR 5 libarchive has nothing to give, once."""
    long = b"words of a file that has many blocks. " * 50
    archive = archives.rar5_packed(("long", long), ("eicar.com", EICAR))
    assert members(archive) == [("long", long), ("eicar.com", EICAR)]
    assert not any(isinstance(each, Shut) for each in unpack(archive))


@needs_libarchive
@pytest.mark.parametrize("names", [("empty", "a", "b"), ("a", "empty", "b"), ("a", "b", "empty")])
def test_an_empty_file_in_a_solid_archive_hides_nothing(
    members: Members, unpack: Unpack, names: tuple[str, ...]
) -> None:
    """The first file has the codes of all, even if it is empty."""
    files = [(name, b"" if name == "empty" else EICAR + name.encode()) for name in names]
    archive = archives.rar5_packed(*files)
    assert members(archive) == files
    assert not any(isinstance(each, Shut) for each in unpack(archive))


@needs_libarchive
def test_warnings_without_content_are_no_file_without_end(unpack: Unpack) -> None:
    header = "1f6a2d6c68322d440000004400000000ffff5020000963696165722e636f6d138758"
    found = unpack(bytes.fromhex(header) + b"X" * 30, message_timeout_s=4)
    assert any(isinstance(each, Shut) and each.reason is Reason.MALFORMED for each in found)


@needs_libarchive
def test_after_a_fatal_error_nothing_more_is_asked_of_the_library(unpack: Unpack) -> None:
    """Two bytes missing in front of the date of a file in a cabinet: asking on was a crash."""
    whole = archives.cab("eicar.com", EICAR * 20, packed=False)
    found = unpack(whole[:54] + whole[56:])
    assert any(isinstance(one, Shut) for one in found)


NAMELESS = base64.b64decode(
    b"UmFyIRoHAQA9PN7lAgEA/yAgRD76VwICAwsAICAggCIACf8gICD///8gICAgICAgICAgICAgU4Aq9AMC5yIDEIEg"
    b"ICAgAAEgICAggcsQICAgICAgICAgICAgICAgICCsj0qhAwEFAiAgASBTgCr0AwLnIgMgICAg/wMBBiAgIP///yAg"
    b"IIHLECAv4SAg7Ozs7Oz/ICAgICAgICAg"
)
"""RAR 5 with a member whose name no charset has; found by fuzzing."""


@needs_libarchive
def test_a_name_that_cannot_be_said_after_memory_was_missing_does_not_end_the_process(
    unpack: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libarchive ends a process that asks for such a name while ``errno`` is ENOMEM from before."""
    read = libarchive._Reader._name

    def after_a_failure(self: libarchive._Reader, entry: ctypes.c_void_p) -> str:
        ctypes.set_errno(errno.ENOMEM)
        return read(self, entry)

    monkeypatch.setattr(libarchive._Reader, "_name", after_a_failure)
    assert any(isinstance(one, Shut) for one in unpack(NAMELESS))
