"""Compiled AutoIt scripts: what they hold is found, damage is survived and said."""

import random
import struct
from collections.abc import Callable

import pytest

from mailward.scan.containers.autoit_names import FUNCTIONS
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import installers

Unpack = Callable[..., list[Found]]

SCRIPT = b'MsgBox(0, "a", "b")\r\n' + b"; " + b"=" * 2000 + b"\r\n"
FILES = {">AUTOIT SCRIPT<": SCRIPT, r"C:\x\a.com": EICAR, "z.bin": b"z" * 700 + b"y"}
KINDS = ["EA05", "EA06"]


def pieces(found: list[Found]) -> dict[str, bytes]:
    return {piece.name: piece.data for piece in found if isinstance(piece, Piece)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [True, False])
def test_script_and_files_are_found(unpack: Unpack, kind: str, packed: bool) -> None:
    found = unpack(installers.autoit(FILES, kind=kind, packed=packed))
    assert pieces(found) == {
        "script.au3": SCRIPT, "a.com": EICAR, "z.bin": FILES["z.bin"],
    }  # fmt: skip
    assert len(found) == 3


def test_tokens_become_text_again(unpack: Unpack) -> None:
    tokens = installers.autoit_tokens(
        [(0x33, "A"), 0x41, (0x36, 'say "x"'), 0x4D, (0x32, "CRLF")],
        [b"\0\4\0\0\0", (0x33, "A"), 0x50, b"\x05\x07\0\0\0", b"\0\5\0\0\0",
         b"\1" + struct.pack("<L", FUNCTIONS.index("Run")), 0x47, (0x36, "cmd"), 0x48],
        [(0x30, "FUNC"), (0x34, "_F"), 0x47, 0x48, b"\x20" + struct.pack("<d", 0.5)],
    )  # fmt: skip
    [piece] = unpack(installers.autoit({">>>AUTOIT SCRIPT<<<": tokens}))
    assert isinstance(piece, Piece)
    assert piece.data.decode().splitlines() == [
        '$A = "say ""x""" & @CRLF',
        'If $A == 7 Then Run ( "cmd" )',
        "FUNC _F ( ) 0.5",
    ]


def test_a_script_in_two_bytes_a_letter_becomes_plain(unpack: Unpack) -> None:
    [piece] = unpack(installers.autoit({">AUTOIT UNICODE SCRIPT<": "Run(1)".encode("utf-16")}))
    assert isinstance(piece, Piece)
    assert piece.data == b"Run(1)"


@pytest.mark.parametrize("bad", [b"\x99", b"\x36\xff\xff\xff\xff", b"\1\xff\xff\xff\xff", b""])
def test_what_can_be_read_of_damaged_tokens_is_given(unpack: Unpack, bad: bytes) -> None:
    tokens = installers.autoit_tokens([(0x36, "first")]) + b"\x36" + bad
    tokens = b"\x09" + tokens[1:]  # says that there are more lines
    piece, shut = unpack(installers.autoit({">>>AUTOIT SCRIPT<<<": tokens}))
    assert isinstance(piece, Piece)
    assert piece.data.startswith(b'"first"\r\n')
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.MALFORMED


@pytest.mark.parametrize("kind", KINDS)
def test_a_script_that_is_cut_says_so(unpack: Unpack, kind: str) -> None:
    whole = installers.autoit({"a.com": EICAR}, kind=kind)
    for end in range(len(installers.program()) + 17, len(whole)):
        found = unpack(whole[:end])
        assert EICAR in pieces(found).values() or any(isinstance(x, Shut) for x in found), end


@pytest.mark.parametrize("kind", KINDS)
def test_damage_anywhere_is_survived(unpack: Unpack, kind: str) -> None:
    numbers = random.Random(0)
    whole = installers.autoit({"a.com": EICAR, ">>>AUTOIT SCRIPT<<<": SCRIPT[:60]}, kind=kind)
    for at in range(len(installers.program()), len(whole)):
        damaged = bytearray(whole)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


def test_a_wrong_checksum_is_said_and_the_file_given(unpack: Unpack) -> None:
    whole = bytearray(installers.autoit({"a.com": EICAR}, packed=False))
    whole[-20] ^= 1
    piece, shut = unpack(bytes(whole))
    assert isinstance(piece, Piece)
    assert len(piece.data) == len(EICAR)
    assert isinstance(shut, Shut)
    assert "checksum" in shut.detail


def test_bombs_are_stopped(unpack: Unpack) -> None:
    piece, shut = unpack(installers.autoit({"a": b"a" * 400_000}), max_part_bytes=100_000)
    assert isinstance(piece, Piece)
    assert len(piece.data) == 100_000
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT


def test_a_kind_that_is_not_known_is_never_silently_clean(unpack: Unpack) -> None:
    magic = bytes.fromhex("a3484bbe986c4aa9994c530a86d6487d")
    for kind in (b"AU3!EA07", b"\3" + bytes(7)):
        [shut] = unpack(installers.program(magic + kind + bytes(100)))
        assert isinstance(shut, Shut)
        assert shut.reason is Reason.UNSUPPORTED


def test_one_match_that_is_larger_than_all_limits_is_cut(unpack: Unpack) -> None:
    piece, shut = unpack(installers.autoit({"a": b"a" * 30_000_000}))
    assert isinstance(piece, Piece)
    assert len(piece.data) <= 30_000_000
    assert isinstance(shut, Shut)
    assert shut.reason is Reason.LIMIT
