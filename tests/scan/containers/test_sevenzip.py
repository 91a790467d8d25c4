"""7z headers that name more than there can be, and what is left of damaged archives."""

import random
import struct
import zlib
from collections.abc import Callable

import brotli
import lz4.frame
import pytest
from backports import zstd

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import archives

Unpack = Callable[..., list[Found]]

START = b"7z\xbc\xaf\x27\x1c\0\4"


def archive(header: bytes, packed: bytes = b"") -> bytes:
    start = struct.pack("<QQL", len(packed), len(header), zlib.crc32(header))
    return START + struct.pack("<L", zlib.crc32(start)) + start + packed + header


def name(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


STORED = bytes([1, 4, 6, 0, 1, 9, len(EICAR), 0]) + bytes([7, 0xB, 1, 0, 1, 1, 0, 0xC, len(EICAR)])
NAMED = bytes([5, 1, 0x11, 13, 0]) + name("a.com")
HEADER = STORED + bytes([0, 0]) + NAMED + bytes([0, 0])


def test_a_stored_file(unpack: Unpack) -> None:
    [piece] = unpack(archive(HEADER, EICAR))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("a.com", EICAR)


def number(value: int) -> bytes:
    return b"\xf0" + struct.pack("<L", value)


def packed_by(method: bytes, packed: bytes, size: int) -> bytes:
    """One file, packed so."""
    header = bytes([1, 4, 6, 0, 1, 9]) + number(len(packed)) + bytes([0, 7, 0xB, 1, 0, 1])
    header += bytes([len(method)]) + method + b"\x0c" + number(size) + bytes([0, 0])
    return archive(header + NAMED + bytes([0, 0]), packed)


def told(frame: bytes, more: bytes = b"") -> bytes:
    """With a frame to skip in front that says how long it is."""
    return struct.pack("<LLL", 0x184D2A50, 4 + len(more), len(frame)) + more + frame


FIRST = EICAR + b" some more words, which make a frame" * 6000
SECOND = b"and the next one of two threads" * 2000
PACK: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "brotli": (b"\x04\xf7\x11\x02", brotli.compress),
    "lz4": (b"\x04\xf7\x11\x04", lz4.frame.compress),
    "zstd": (b"\x04\xf7\x11\x01", zstd.compress),
}


def in_frames(name: str) -> bytes:
    method, pack = PACK[name]
    hint = b"BR\1\0" if name == "brotli" else b""
    packed = told(pack(FIRST), hint) + told(pack(SECOND), hint)
    return packed_by(method, packed, len(FIRST + SECOND))


@pytest.mark.parametrize("name", PACK)
def test_frames_of_several_threads_are_one_file(unpack: Unpack, name: str) -> None:
    """As 7-Zip ZS and NanaZip write them, which put the size of each in front."""
    [piece] = unpack(in_frames(name))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("a.com", FIRST + SECOND)


@pytest.mark.parametrize("name", PACK)
def test_a_single_frame_without_its_size(unpack: Unpack, name: str) -> None:
    """As py7zr writes it."""
    method, pack = PACK[name]
    [piece] = unpack(packed_by(method, pack(EICAR), len(EICAR)))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR


@pytest.mark.parametrize("name", PACK)
def test_cut_frames_are_unscannable_and_what_is_there_is_read(unpack: Unpack, name: str) -> None:
    method, pack = PACK[name]
    first = pack(FIRST)
    for packed in (told(first), told(first) + told(pack(SECOND))[:30], told(first)[:-9]):
        found = unpack(packed_by(method, packed, len(FIRST + SECOND)))
        assert any(isinstance(one, Shut) for one in found)
        assert any(isinstance(one, Piece) and one.data.startswith(EICAR) for one in found)


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_in_frames_is_stopped(unpack: Unpack, name: str) -> None:
    method, pack = PACK[name]
    zeros = bytes(4 << 20)
    packed = b"".join(told(pack(zeros)) for _ in range(8))
    piece, shut = unpack(packed_by(method, packed, 8 * len(zeros)), max_part_bytes=5 << 20)
    assert isinstance(piece, Piece)
    assert len(piece.data) == 5 << 20
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


@pytest.mark.parametrize("name", PACK)
def test_any_damage_to_frames_is_survived(unpack: Unpack, name: str) -> None:
    whole = in_frames(name)
    numbers = random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(32, len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_filters_are_undone(unpack: Unpack) -> None:
    """A branch at 4 that was made absolute, and a page in the first 4 KiB, which is both."""

    def code(branch: int) -> bytes:
        return struct.pack("<LLL", 7, branch, 0x90000011)

    for method, filtered, plain in (
        (b"\x0a", code(0x94000401), code(0x94000400)),
        (b"\x02\x03\x02", b"badce", b"abcde"),
        (b"\x02\x03\x04", b"dcbahgfe12", b"abcdefgh12"),
    ):  # fmt: skip
        [piece] = unpack(packed_by(method, filtered, len(plain)))
        assert isinstance(piece, Piece)
        assert piece.data == plain


@pytest.mark.real
@pytest.mark.parametrize("name", ["ARM64", "Swap2", "Swap4"])
def test_filters_of_7_zip_are_undone(unpack: Unpack, name: str) -> None:
    numbers = random.Random(0)
    words = (numbers.choice((0x94, 0x97, 0x90, 0xB0, 0xF0, 0x12)) << 24 for _ in range(9000))
    program = b"".join(struct.pack("<L", word | numbers.randrange(1 << 24)) for word in words)
    archive = archives.seven_zip(f"-m0={name}", "-m1=LZMA2")("a", program + b"end")
    [piece] = unpack(archive)
    assert isinstance(piece, Piece)
    assert piece.data == program + b"end"


@pytest.mark.parametrize("method", [b"\x04\xf7\x11\x05", b"\x04\xf7\x11\x06"])
def test_lz5_and_lizard_stay_shut(unpack: Unpack, method: bytes) -> None:
    found = unpack(packed_by(method, told(b"anything"), 100))
    assert [type(one) for one in found] == [Shut]


def test_an_empty_archive_is_no_trouble(unpack: Unpack) -> None:
    assert unpack(START + bytes(24)) == []


@pytest.mark.parametrize(
    "header",
    [
        bytes([1, 5, 0xF0, 0, 0xE1, 0xF5, 5]),  # a hundred million files
        bytes([1, 4, 6, 0, 0xF0, 0, 0xE1, 0xF5, 5, 9]),  # as many packed streams
        bytes([1, 4, 7, 0xB, 0xF0, 0, 0xE1, 0xF5, 5, 0]),  # folders
        bytes([1, 4, 7, 0xB, 1, 0, 0xF0, 0, 0xE1, 0xF5, 5]),  # coders
        bytes([1, 4, 7, 0xB, 1, 0, 1, 0x11, 0, 0xF0, 0, 0xE1, 0xF5, 5, 1]),  # inputs
        bytes([1, 0xFF] + [0xFF] * 20),
        bytes([0x17] * 50),
        bytes([1]),
        b"",
    ],
)
def test_headers_that_name_more_than_they_hold_are_malformed(unpack: Unpack, header: bytes) -> None:
    found = unpack(archive(header) if header else START + b"\0" * 20)
    assert [shut.reason for shut in found if isinstance(shut, Shut)] == [Reason.MALFORMED]


def test_a_wrong_checksum_is_said_and_the_file_is_scanned(unpack: Unpack) -> None:
    crcs = bytes([8, 0xA, 1, 1, 2, 3, 4, 0])
    piece, shut = unpack(archive(STORED + b"\0" + crcs + b"\0" + NAMED + bytes([0, 0]), EICAR))
    assert isinstance(piece, Piece)
    assert piece.data == EICAR
    assert isinstance(shut, Shut)
    assert "checksum" in shut.detail


def test_any_byte_of_the_header_may_be_anything(unpack: Unpack) -> None:
    for at in range(len(HEADER)):
        for value in (0, 1, 5, 0x7F, 0x80, 0xFF):
            header = bytearray(HEADER)
            header[at] = value
            unpack(archive(bytes(header), EICAR))
