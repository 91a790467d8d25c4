"""Compiled HTML help that is damaged; a whole one is in clamav-testfiles."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.scan.contents import Found, Piece, Shut

Unpack = Callable[..., list[Found]]

SAMPLE = Path("/usr/share/clamav-testfiles/clam.chm")


def plain(name: bytes, content: bytes) -> bytes:
    """A directory of one chunk, and a file that is stored."""
    entry = bytes([len(name)]) + name + b"\0\0" + bytes([len(content)])
    chunk_bytes = 128
    chunk = struct.pack("<4sLLLL", b"PMGL", chunk_bytes - 20 - len(entry), 0, 0, 0) + entry
    listing = b"ITSP" + struct.pack("<LLLL", 1, 84, 10, chunk_bytes)
    listing = listing.ljust(44, b"\0") + struct.pack("<L", 1)
    listing = listing.ljust(84, b"\0") + chunk.ljust(chunk_bytes, b"\0")
    head = (b"ITSF" + struct.pack("<L", 3)).ljust(0x38, b"\0")
    sections = struct.pack("<QQQQQ", 96, 0, 96, len(listing), 96 + len(listing))
    return head + sections + listing + content


def test_a_file_that_is_stored(unpack: Unpack) -> None:
    [piece] = unpack(plain(b"/a.htm", b"<html>"))
    assert isinstance(piece, Piece)
    assert (piece.name, piece.data) == ("a.htm", b"<html>")


def test_truncated_anywhere_is_said(unpack: Unpack) -> None:
    whole = plain(b"/a.htm", b"<html>")
    for end in range(8, len(whole)):
        assert any(isinstance(one, Shut) for one in unpack(whole[:end])), end


def test_any_damage_is_survived(unpack: Unpack) -> None:
    whole = plain(b"/a.htm", b"<html>")
    for at in range(5, len(whole)):
        for value in (0, 1, 0x7F, 0xFF):
            damaged = bytearray(whole)
            damaged[at] = value
            unpack(bytes(damaged))


@pytest.mark.real
@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs clamav-testfiles, not installed")
def test_any_damage_to_a_packed_one_is_survived(unpack: Unpack) -> None:
    whole = SAMPLE.read_bytes()
    numbers = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[numbers.randrange(5, len(damaged))] = numbers.randrange(256)
        unpack(bytes(damaged))
