"""Sheets of binary Excel workbooks (``.xlsb``), built record by record (MS-XLSB)."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.scan.budget import Budget
from mailward.scan.contents import Piece
from mailward.scan.documents import excel_binary
from mailward.settings.scan import ScanSettings
from mailward.testing import Attachment, zipped

Files = Callable[..., dict[str, bytes]]

BEGIN = b"\x81\x01\0"
STRING, NUMBER, BOOLEAN = 8, 9, 10


def record(kind: int, value: bytes) -> bytes:
    head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size, groups = len(value), bytearray()
    while size > 0x7F:
        groups.append(size & 0x7F | 0x80)
        size >>= 7
    return head + bytes(groups) + bytes([size]) + value


def row(number: int) -> bytes:
    return record(0, struct.pack("<L", number) + bytes(13))


def text(value: str) -> bytes:
    return b"\x17" + struct.pack("<H", len(value)) + value.encode("utf-16-le")


def cell(column: int, formula: bytes, kind: int = BOOLEAN, value: bytes = b"\0") -> bytes:
    head = struct.pack("<LL", column, 0)
    return record(
        kind, head + value + bytes(2) + struct.pack("<L", len(formula)) + formula + bytes(4)
    )


CALL_EXEC = b"\x42\x01" + struct.pack("<H", 110)


def test_a_macro_in_a_binary_workbook_becomes_text(files: Files) -> None:
    reference = b"\x44" + struct.pack("<LH", 6, 2 | 0xC000)
    sheet = (
        BEGIN
        + row(4)
        + cell(0, text("calc") + reference + b"\x08" + CALL_EXEC)
        + cell(
            1,
            text("https://bad.example/Ü"),
            STRING,
            struct.pack("<L", 2) + "ab".encode("utf-16-le"),
        )
        + row(70_000)
        + cell(300, b"\x1e\x07\x00", NUMBER, bytes(8))
    )
    found = files(zipped(Attachment("xl/macrosheets/intlsheet1.bin", sheet)), "a.xlsb")
    (macros,) = [data for path, data in found.items() if path.endswith("macro:macros.xlm")]
    assert macros.decode().splitlines() == [
        'R5C1="calc" R7C3 & EXEC/1',
        'R5C2="https://bad.example/Ü"',
        "R70001C301=7",
    ]


def test_formulas_that_are_no_macro_are_no_part(files: Files) -> None:
    sum_of_area = b"\x45" + struct.pack("<LLHH", 0, 9, 0, 0) + b"\x22\x01" + struct.pack("<H", 4)
    sheet = BEGIN + row(0) + cell(0, sum_of_area, NUMBER, bytes(8))
    assert not [path for path in files(sheet) if "macro" in path]


def test_what_is_cut_changed_or_hostile_ends_and_raises_nothing() -> None:
    whole = BEGIN + row(1) + cell(0, text("x" * 300) + CALL_EXEC) + cell(1, CALL_EXEC)
    chance = random.Random(5)
    hostile = [BEGIN, BEGIN + b"\xff" * 40, BEGIN + record(STRING, b""), BEGIN + bytes(1 << 20)]
    hostile += [whole[:size] for size in range(len(whole))]
    for _ in range(500):
        changed = bytearray(whole)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        hostile.append(bytes(changed))
    for data in hostile:
        for piece in excel_binary.read(data, "", Budget(ScanSettings())):
            assert isinstance(piece, Piece)
            assert piece.data.startswith(b"R")


@pytest.mark.shared
def test_real_workbooks_are_read_to_their_end_and_have_no_macros(
    shared: Path, files: Files
) -> None:
    workbooks = list((shared / "clean").rglob("*.xlsb"))
    assert workbooks
    for path in workbooks:
        found = files(path.read_bytes())
        assert any(data.startswith(BEGIN) for data in found.values())
        assert not [name for name in found if "macros.xlm" in name]
