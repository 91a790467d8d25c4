import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.contents import Piece, Shut
from mailward.scan.verdict import Reason

Members = Callable[..., list[tuple[str, bytes]]]
Reasons = Callable[..., list[Reason]]
Unpack = Callable[..., list[Piece | Shut]]

LONG = "folder/" * 30 + "ä" * 60


def made(*names: str, format_: int = tarfile.PAX_FORMAT, data: bytes = b"x" * 700) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


ARCHIVE = made("a", "b", data=b"x" * 700)


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_with_short_and_long_names(members: Members, format_: int) -> None:
    data = made("a", LONG, "b", format_=format_)
    assert members(data) == [(name, b"x" * 700) for name in ("a", LONG, "b")]


def test_ustar_prefixes(members: Members) -> None:
    name = "p" * 120 + "/" + "n" * 90
    assert members(made(name, format_=tarfile.USTAR_FORMAT)) == [(name, b"x" * 700)]


def test_an_archive_from_before_there_was_a_magic(members: Members) -> None:
    data = bytearray(made("a", format_=tarfile.USTAR_FORMAT))
    data[257:265] = bytes(8)
    data[148:156] = b"%06o\0 " % (sum(data[:512]) - sum(data[148:156]) + 8 * 32)
    assert members(bytes(data)) == [("a", b"x" * 700)]


def test_links_devices_and_folders_are_passed_over(unpack: Unpack) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ):
            info = tarfile.TarInfo("evil")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert unpack(file.getvalue()) == []


def test_a_second_archive_behind_the_first_is_read(members: Members, reasons: Reasons) -> None:
    data = ARCHIVE + made("c")
    assert [name for name, _ in members(data)] == ["a", "b", "c"]
    assert not reasons(data)


def test_a_broken_header_ends_nothing_and_is_said(members: Members, reasons: Reasons) -> None:
    data = bytearray(made("a", "b", "c"))
    data[512 + 1024 + 5] ^= 1
    assert [name for name, _ in members(bytes(data))] == ["a", "c"]
    assert Reason.MALFORMED in reasons(bytes(data))


@pytest.mark.parametrize("end", [600, 1000, 2100])
def test_truncated_archives_give_what_is_left_and_say_so(
    members: Members, reasons: Reasons, end: int
) -> None:
    assert members(ARCHIVE[:end])[0][1].strip(b"x") == b""
    assert reasons(ARCHIVE[:end]) == [Reason.MALFORMED]


def test_a_size_of_gigabytes_costs_nothing(unpack: Unpack) -> None:
    data = bytearray(ARCHIVE[:1024])
    data[124:136] = b"\x80" + (1 << 62).to_bytes(11, "big")
    data[148:156] = b"%06o\0 " % (sum(data[:512]) - sum(data[148:156]) + 8 * 32)
    piece, shut = unpack(bytes(data))
    assert isinstance(piece, Piece)
    assert len(piece.data) == 512
    assert isinstance(shut, Shut)


def test_a_chain_of_headers_that_announce_headers_ends(unpack: Unpack) -> None:
    header = bytearray(made("a", format_=tarfile.GNU_FORMAT, data=b""))[:512]
    header[156] = ord("L")
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    assert unpack(bytes(header) * 5000) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2200), st.binary(min_size=1, max_size=8)), max_size=5),
    st.integers(0, len(ARCHIVE)),
    st.booleans(),
)
def test_any_damage_is_survived(
    unpack: Unpack, damage: list[tuple[int, bytes]], end: int, mend: bool
) -> None:
    data = bytearray(made("a", LONG))
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    if mend:
        data[148:156] = b"%06o\0 " % (sum(data[:512]) - sum(data[148:156]) + 8 * 32)
    unpack(bytes(data[:end]))
