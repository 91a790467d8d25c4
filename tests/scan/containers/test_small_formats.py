"""Formats with a reader of a page: what they hold is found, damage is survived and said."""

import random
import struct
import zlib
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import archives
from tests.scan.containers.archives import Builder

Unpack = Callable[..., list[Found]]


def szdd(content: bytes) -> bytes:
    """Literals only."""
    groups = (content[at : at + 8] for at in range(0, len(content), 8))
    body = b"".join(b"\xff" + group for group in groups)
    return b"SZDD\x88\xf0\x27\x33A\0" + len(content).to_bytes(4, "little") + body


def kwaj(content: bytes, method: int) -> bytes:
    body = content
    if method == 1:
        body = bytes(255 - byte for byte in content)
    if method == 2:
        body = szdd(content)[14:]
    if method == 4:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"CK" + packer.compress(content) + packer.flush()
        body = len(packed).to_bytes(2, "little") + packed
    return b"KWAJ\x88\xf0\x27\xd1" + struct.pack("<HHHL", method, 18, 1, len(content)) + body


def lnk(target: str, arguments: str, behind: bytes = b"") -> bytes:
    flags = 1 << 3 | 1 << 5 | 1 << 7
    head = struct.pack("<L", 0x4C) + bytes.fromhex("0114020000000000c000000000000046")
    head += struct.pack("<L", flags)
    strings = b"".join(
        struct.pack("<H", len(text)) + text.encode("utf-16-le") for text in (target, arguments)
    )
    return head.ljust(0x4C, b"\0") + strings + bytes(4) + behind


def one(*files: bytes) -> bytes:
    """A section with embedded files and rubbish around them."""
    guid = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
    objects = (guid + struct.pack("<QLQ", len(file), 0, 0) + file + b"footer" for file in files)
    head = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + b"\1" * 1000
    return head + b"between".join(objects)


SAMPLES = {
    "szdd": szdd(EICAR),
    "kwaj-stored": kwaj(EICAR, 0),
    "kwaj-inverted": kwaj(EICAR, 1),
    "kwaj-lzss": kwaj(EICAR, 2),
    "kwaj-mszip": kwaj(EICAR, 4),
    "lnk": lnk("cmd.exe", "/c start", EICAR),
    "onenote": one(b"first", EICAR),
}


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_what_is_inside_is_found(unpack: Unpack, data: bytes) -> None:
    found = unpack(data)
    assert EICAR in [piece.data for piece in found if isinstance(piece, Piece)]
    assert not [shut for shut in found if isinstance(shut, Shut)]


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_truncated_anywhere_is_survived_and_said(unpack: Unpack, data: bytes) -> None:
    for end in range(24, len(data)):
        found = unpack(data[:end])
        whole = any(isinstance(piece, Piece) and piece.data == EICAR for piece in found)
        said = any(isinstance(shut, Shut) for shut in found)
        # What is glued to a shortcut has no size, nor have the notes between files.
        assert whole or said or data[:1] in b"L\xe4", end


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_damage_anywhere_is_survived(unpack: Unpack, data: bytes) -> None:
    numbers = random.Random(0)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_shortcut_tells_what_it_starts(unpack: Unpack) -> None:
    [piece] = unpack(lnk(r"..\Windows\System32\cmd.exe", "/c powershell -enc SQBFAFgA"))
    assert isinstance(piece, Piece)
    assert piece.data == (
        b"relative path: ..\\Windows\\System32\\cmd.exe\narguments: /c powershell -enc SQBFAFgA\n"
    )


def test_a_window_that_is_referred_to_before_it_is_filled_is_blank(unpack: Unpack) -> None:
    body = b"\0" + b"\xf0\xff" + b"\xf0\xff"  # two matches of 18 at the window's first place
    data = b"SZDD\x88\xf0\x27\x33A\0" + (36).to_bytes(4, "little") + body
    [piece] = unpack(data)
    assert isinstance(piece, Piece)
    assert piece.data == b" " * 36


def test_bombs_are_stopped(unpack: Unpack) -> None:
    body = (b"\0" + b"\xf0\xff" * 8) * 100_000
    data = b"SZDD\x88\xf0\x27\x33A\0" + (1 << 31).to_bytes(4, "little") + body
    found = unpack(data, max_part_bytes=1_000_000)
    piece, shut = found
    assert isinstance(piece, Piece)
    assert len(piece.data) == 1_000_000
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


@pytest.mark.parametrize("build", [archives.nsis, archives.nsis_solid])
def test_an_installer_gives_its_script_and_its_files(unpack: Unpack, build: Builder) -> None:
    found = unpack(build("", EICAR * 30))
    pieces = [(piece.label, piece.data) for piece in found if isinstance(piece, Piece)]
    assert pieces == [("script", b"script"), ("file 1", EICAR * 30)]
    assert len(found) == 2


@pytest.mark.parametrize("build", [archives.nsis, archives.nsis_solid])
def test_an_installer_that_is_cut_says_so(unpack: Unpack, build: Builder) -> None:
    whole = build("", EICAR * 30)
    for end in range(1024 + 29, len(whole) - 5):
        assert any(isinstance(one, Shut) for one in unpack(whole[:end])), end


def test_an_installer_whose_bzip2_is_damaged_stays_shut(unpack: Unpack) -> None:
    whole = bytearray(archives.nsis_solid("", EICAR))
    whole[1024 + 28 : 1024 + 30] = b"1\x02"
    assert Reason.MALFORMED in {one.reason for one in unpack(bytes(whole)) if isinstance(one, Shut)}


@pytest.mark.parametrize("mark", [b"rDlPtS07\x87eVx", b"Inno Setup Setup Data (4.2.7)"])
def test_what_else_is_in_a_program_is_never_silently_clean(unpack: Unpack, mark: bytes) -> None:
    [shut] = unpack(b"MZ" + bytes(1000) + mark + bytes(1000))
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.UNSUPPORTED
