"""What headers say of members, without opening any; hostile ones end in nothing said."""

import io
import random
import zipfile
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.containers.listing import LISTED_MAX, listing
from mailward.scan.contents import Listed
from tests.scan.containers import archives

CONTENT = b"what lies in it"
CRC = zlib.crc32(CONTENT)


def told(data: bytes, type_: str) -> list[Listed]:
    found = listing(data, type_)
    assert found is not None
    return list(found)


def zipped(*names: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, CONTENT)
    return made.getvalue()


def test_a_rar_of_either_kind_tells_its_files() -> None:
    for build in (archives.rar4, archives.rar5):
        (found,) = told(build("a.exe", CONTENT), "CL_TYPE_RAR")
        assert found == Listed("a.exe", len(CONTENT), len(CONTENT), False, 1, found.crc)
        assert found.crc in (CRC, None)


def test_an_encrypted_rar_tells_its_files_if_only_their_content_is_encrypted() -> None:
    (found,) = told(archives.rar5_encrypted("a.exe", CONTENT), "CL_TYPE_RAR")
    assert (found.name, found.encrypted) == ("a.exe", True)
    hidden = archives.rar5_names_encrypted(b"anything at all" * 9)
    assert told(hidden, "CL_TYPE_RAR") == []


def test_a_cabinet_counts_from_zero_and_does_not_say_what_is_packed() -> None:
    found = told(archives.cab("a.exe", CONTENT), "CL_TYPE_MSCAB")
    assert found == [Listed("a.exe", len(CONTENT), 0, position=0)]


def test_a_zip_whose_headers_disagree_tells_both() -> None:
    data = zipped("one.txt").replace(b"one.txt", b"two.exe", 1)
    assert [one.name for one in told(data, "CL_TYPE_ZIP")] == ["one.txt", "two.exe"]


def test_an_office_document_tells_what_a_zip_does() -> None:
    data = zipped("word/document.xml")
    assert told(data, "CL_TYPE_OOXML_WORD") == told(data, "CL_TYPE_ZIP")


def test_what_is_no_container_that_tells_has_no_listing() -> None:
    assert listing(zipped("a"), "CL_TYPE_HTML") is None


def test_of_a_million_members_so_many_are_looked_at() -> None:
    header = b"a\0".rjust(18, b"\0")
    data = b"MSCF".ljust(16, b"\0") + (36).to_bytes(4, "little") + bytes(8) + b"\xff\xff"
    assert len(told(data.ljust(36, b"\0") + header * 70_000, "CL_TYPE_MSCAB")) == LISTED_MAX


BUILT: dict[str, Callable[[], bytes]] = {
    "CL_TYPE_7Z": lambda: archives.seven_zip()("a.exe", CONTENT),
    "CL_TYPE_CPIO_NEWC": lambda: archives.cpio("a.exe", CONTENT),
    "CL_TYPE_MSCAB": lambda: archives.cab("a.exe", CONTENT),
    "CL_TYPE_RAR": lambda: archives.rar5("a.exe", CONTENT),
    "CL_TYPE_RAR 4": lambda: archives.rar4("a.exe", CONTENT),
    "CL_TYPE_RAR encrypted": lambda: archives.rar5_encrypted("a.exe", CONTENT),
    "CL_TYPE_ZIP": lambda: zipped("a", "b"),
}


@pytest.mark.parametrize("kind", BUILT)
def test_hostile_headers_end_in_nothing_said_and_never_in_an_error(kind: str) -> None:
    type_, chance = kind.split(" ")[0], random.Random(1)
    whole = BUILT[kind]()
    assert told(whole, type_)
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        told(whole[:length], type_)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        told(bytes(data), type_)
    told(chance.randbytes(5000), type_)
    told(b"", type_)
