"""Sheets of ``.xlsb`` workbooks (MS-XLSB): formulas with functions of Excel 4.0 macros, as text.

Where such a sheet lies in its archive is the sender's choice, so each is looked into. What its
cells hold and what other formulas compute is no text for rules.
"""

import struct
from collections.abc import Iterator

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece
from mailward.scan.documents import excel4
from mailward.scan.part import Role

STARTS = rb"\x81\x01\0"
"""BrtBeginSheet, which holds nothing."""

_ROW = 0
_VALUES = {8: None, 9: 8, 10: 1, 11: 1}
"""BrtFmlaString, BrtFmlaNum, BrtFmlaBool, BrtFmlaError: bytes of the value; a text says it."""
_CELL_BYTES, _FLAGS_BYTES = 8, 2
_MACRO = ("EXEC/", "CALL/", "REGISTER/", "RUN/", "FORMULA/", "FORMULA.FILL/", "GOTO", "HALT",
          "SET.VALUE", "SET.NAME", "FOPEN", "FWRITE")  # fmt: skip
"""Of these one is in whatever a macro does."""
_FIXED = {
    0x01: 4, 0x02: 4, 0x1C: 1, 0x1D: 1, 0x1F: 8, 0x20: 14, 0x23: 4, 0x24: 6, 0x25: 12, 0x26: 6,
    0x27: 6, 0x28: 6, 0x29: 2, 0x2A: 6, 0x2B: 12, 0x2C: 6, 0x2D: 12, 0x39: 6, 0x3A: 8, 0x3B: 14,
    0x3C: 8, 0x3D: 14,
}  # fmt: skip
"""Of MS-XLSB 2.5.97, where they are longer than in MS-XLS."""


def _text(tokens: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + 2 * int.from_bytes(tokens[at : at + 2], "little")
    return tokens[at + 2 : end].decode("utf-16-le", "replace"), end


_DIALECT = excel4.Dialect(_FIXED, struct.Struct("<IH"), 0x3FFF, _text)


def read(sheet: bytes, _name: str, budget: Budget) -> Contents:
    """The formulas of a sheet, if there is a macro in them. Raises only Spent."""
    lines: list[str] = []
    row = 0
    for kind, value in _records(sheet, budget):
        if kind == _ROW:
            row = int.from_bytes(value[:4], "little")
            continue
        size = _VALUES[kind]
        at = _CELL_BYTES
        at += 4 + 2 * int.from_bytes(value[at : at + 4], "little") if size is None else size
        at += _FLAGS_BYTES
        end = at + 4 + int.from_bytes(value[at : at + 4], "little")
        column = int.from_bytes(value[:4], "little")
        formula = excel4.formula(value[at + 4 : end], _DIALECT)
        lines.append(f"R{row + 1}C{column + 1}={formula}")
    if any(word in line for line in lines for word in _MACRO):
        text = "\n".join(lines).encode("utf-8", "replace")
        yield Piece(text, Role.MEMBER, "macros.xlm", label="macro")


def _records(data: bytes, budget: Budget) -> Iterator[tuple[int, bytes]]:
    """Rows and formulas. Kind and size are in groups of seven bits, the lower ones first."""
    at = number = 0
    while at < len(data):
        number += 1
        if not number % 1024:
            budget.check_time()
        kind = data[at]
        at += 1
        if kind & 0x80 and at < len(data):
            kind = kind & 0x7F | (data[at] & 0x7F) << 7
            at += 1
        size = shift = 0
        while at < len(data) and shift < 28:
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        if kind == _ROW or kind in _VALUES:
            yield kind, data[at : at + size]
        at += size
