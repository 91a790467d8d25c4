import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, Any, cast

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.contents import Ambiguous, Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import Attachment, encrypted_zip, zipped
from tests.scan.containers import archives

Members = Callable[..., list[tuple[str, bytes]]]
Reasons = Callable[..., list[Reason]]
Unpack = Callable[..., list[Found]]

TEXT = b"some text, " * 50
ONE = Attachment("a.txt", TEXT)
TWO = Attachment("folder/b.txt", b"two")
ARCHIVE = zipped(ONE, TWO)
BOTH = [("a.txt", TEXT), ("folder/b.txt", b"two")]


def made(method: int, *names: str, data: bytes = TEXT) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_method_of_the_standard_library(members: Members, method: int) -> None:
    assert members(made(method, "a", "b")) == [("a", TEXT), ("b", TEXT)]


def test_written_to_a_pipe(members: Members, reasons: Reasons) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(cast("IO[bytes]", pipe), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a", "b"):
            archive.writestr(name, TEXT)
    data = bytes(pipe.data)
    assert members(data) == [("a", TEXT), ("b", TEXT)]
    assert not reasons(data)
    without_directory = data[: data.index(b"PK\x01\x02")]
    assert members(without_directory) == [("a", TEXT), ("b", TEXT)]
    assert reasons(without_directory) == [Reason.MALFORMED]


def test_zip64(members: Members, reasons: Reasons) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open("a", "w", force_zip64=True) as member:
        member.write(TEXT)
    assert members(file.getvalue()) == [("a", TEXT)]
    assert not reasons(file.getvalue())


def test_bytes_in_front_and_a_comment_behind(members: Members, reasons: Reasons) -> None:
    file = io.BytesIO(b"MZ a program that unpacks itself")
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("a", TEXT)
        archive.comment = b"c" * 3000
    assert members(file.getvalue()) == [("a", TEXT)]
    assert not reasons(file.getvalue())
    assert members(b"#!/bin/sh\n" + ARCHIVE) == BOTH


def test_encrypted_members_are_named_and_the_others_read(unpack: Unpack) -> None:
    [shut] = unpack(encrypted_zip(Attachment("secret.exe", b"MZ")))
    assert shut == Shut(Reason.ENCRYPTED, "encrypted archive member", "secret.exe")


def test_the_encrypted_zip_of_the_samples_is_a_real_one() -> None:
    with zipfile.ZipFile(io.BytesIO(encrypted_zip(ONE, b"pass"))) as archive:
        assert archive.read("a.txt", b"pass") == TEXT


def test_methods_that_cannot_be_opened_are_unsupported(reasons: Reasons) -> None:
    data = bytearray(made(zipfile.ZIP_STORED, "a"))
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", data, data.index(magic) + at, 97)
    assert reasons(bytes(data)) == [Reason.UNSUPPORTED]


@pytest.mark.parametrize("cut", [1, 10, 22, 60, 100, len(ARCHIVE) - 40])
def test_truncated_archives_give_what_is_left_and_say_so(
    members: Members, reasons: Reasons, cut: int
) -> None:
    data = ARCHIVE[:-cut]
    assert Reason.MALFORMED in reasons(data)
    assert all(TEXT.startswith(content) or content == b"two" for _, content in members(data))


def test_a_wrong_checksum_or_size_hides_nothing(members: Members) -> None:
    data = bytearray(ARCHIVE)
    for magic, at in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        start = data.index(magic) + at
        data[start : start + 4] = b"\0\0\0\0"  # CRC-32
        struct.pack_into("<L", data, start + 8, 1)  # unpacked size
    assert [member for member in members(bytes(data)) if len(member[1]) > 1] == BOTH


def test_a_member_that_the_directory_leaves_out_is_read(members: Members, reasons: Reasons) -> None:
    hidden = zipped(Attachment("hidden.exe", b"MZ"))
    data = hidden[: hidden.index(b"PK\x01\x02")] + ARCHIVE
    assert sorted(members(data)) == sorted([*BOTH, ("hidden.exe", b"MZ")])
    assert reasons(data) == [Reason.MALFORMED]


def test_damaged_data_gives_what_comes_before_the_damage(
    members: Members, reasons: Reasons
) -> None:
    noise = bytes((i * i * 7 + i // 3) % 251 for i in range(200_000))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    good = packer.compress(noise) + packer.flush(zlib.Z_FULL_FLUSH)
    data = zipped(Attachment("a", noise))
    start = 31
    body = good + b"\xff" * 100  # no such kind of block
    size = struct.pack("<L", len(body))
    data = data[:18] + size + data[22:start] + body
    [(_, content)] = members(data)
    assert noise.startswith(content)
    assert len(content) >= len(noise) - 1
    assert reasons(data) == [Reason.MALFORMED, Reason.MALFORMED]  # and there is no directory


def test_folders_are_no_members_and_an_empty_archive_is_fine(unpack: Unpack) -> None:
    assert unpack(made(zipfile.ZIP_STORED, "folder/", data=b"")) == []
    assert unpack(b"PK\x05\x06" + bytes(18)) == []


@pytest.mark.parametrize(
    ("raw", "utf8", "name"),
    [(b"\x84.exe", False, "ä.exe"), ("ä.exe".encode(), True, "ä.exe"), ("ä".encode(), False, "ä")],
)
def test_names_in_the_charsets_of_zip(members: Members, raw: bytes, utf8: bool, name: str) -> None:
    data = made(zipfile.ZIP_STORED, "x" * len(raw), data=b"1").replace(b"x" * len(raw), raw)
    if utf8:
        changed = bytearray(data)
        changed[data.index(b"PK\x01\x02") + 9] |= 8
        data = bytes(changed)
    assert members(data) == [(name, b"1")]


def test_office_keeps_pieces_of_zips_that_are_none(unpack: Unpack) -> None:
    found = unpack(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + ARCHIVE)
    assert not [piece for piece in found if isinstance(piece, Piece)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, len(ARCHIVE) - 1), st.binary(min_size=1, max_size=8)), max_size=5
    ),
    st.integers(0, len(ARCHIVE)),
)
def test_any_damage_is_survived(unpack: Unpack, damage: list[tuple[int, bytes]], end: int) -> None:
    data = bytearray(ARCHIVE)
    for at, junk in damage:
        data[at : at + len(junk)] = junk
    unpack(bytes(data[:end]) or b"PK\x03\x04")
    unpack(bytes(data))


def test_a_member_that_its_two_headers_describe_differently_is_read_both_ways(
    unpack: Unpack,
) -> None:
    data = bytearray(made(zipfile.ZIP_DEFLATED, "safe.txt"))
    data[30:38] = b"evil.exe"
    found = unpack(bytes(data))
    names = [piece.name for piece in found if isinstance(piece, Piece)]
    assert names == ["safe.txt", "evil.exe"]
    assert [one.name for one in found if isinstance(one, Ambiguous)] == ["safe.txt"]


def test_a_member_that_only_its_own_header_calls_compressed_is_read_both_ways(
    unpack: Unpack,
) -> None:
    data = bytearray(made(zipfile.ZIP_DEFLATED, "a"))
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, 0)
    pieces = [piece.data for piece in unpack(bytes(data)) if isinstance(piece, Piece)]
    assert len(pieces) == 2
    assert len(set(pieces)) == 2


def shrunk(content: bytes) -> bytes:
    """Literals only: nine bits each, the lowest first; the table is never referred to."""
    bits = sum(byte << 9 * at for at, byte in enumerate(content))
    return bits.to_bytes(-(-9 * len(content) // 8), "little")


def test_members_that_are_shrunk(members: Callable[..., list[tuple[str, bytes]]]) -> None:
    content = bytes(range(256)) * 40
    assert members(member(1, shrunk(content), len(content))) == [("a.txt", content)]


def member(method: int, packed: bytes, size: int, name: bytes = b"a.txt") -> bytes:
    """With no directory."""
    sizes = (0, len(packed), size, len(name), 0)
    return struct.pack("<4s5H3L2H", b"PK\3\4", 63, 0, method, 0, 33, *sizes) + name + packed


@pytest.mark.parametrize("method", [20, 93])
def test_frames_of_zstandard_are_one_member(members: Members, method: int) -> None:
    """A decoy in front, or a frame to skip, must not hide what follows."""
    decoy = struct.pack("<LL", 0x184D2A50, 3) + b"abc"
    packed = decoy + zstd.compress(b"first, ") + zstd.compress(b"second")
    assert members(member(method, packed, 13)) == [("a.txt", b"first, second")]


@pytest.mark.real
def test_members_packed_with_deflate64(members: Callable[..., list[tuple[str, bytes]]]) -> None:
    content = b"".join(b"%d lines of it\n" % number for number in range(9000))
    archive = archives.seven_zip("-tzip", "-mm=Deflate64")("a.txt", content)
    assert members(archive) == [("a.txt", content)]


@pytest.mark.real
def test_deflate64_bombs_are_stopped(unpack: Unpack) -> None:
    archive = archives.seven_zip("-tzip", "-mm=Deflate64")("zeros", bytes(64 * 1024 * 1024))
    piece, shut = unpack(archive)
    assert isinstance(piece, Piece)
    assert len(piece.data) < 13 * 1024 * 1024
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


@pytest.mark.parametrize("method", [1, 6, 9])
def test_damage_to_members_of_old_methods_is_survived(unpack: Unpack, method: int) -> None:
    numbers = random.Random(method)
    for _ in range(300):
        packed = numbers.randbytes(200)
        sizes = (0, len(packed), 100_000, 1, 0)
        flags = numbers.choice([0, 2, 4, 6])
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 10, flags, method, 0, 33, *sizes)
        found = unpack(local + b"a" + packed)
        assert any(isinstance(one, Shut) for one in found)
