"""7z headers that name more than there can be, and what is left of damaged archives."""

import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR

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
