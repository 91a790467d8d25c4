"""Excel 4.0 macros (XLM) in binary workbooks (MS-XLS): their formulas as text, their sheets' names.

Formulas are written as they are computed, operands first: rules see function names and texts.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_RECORD = struct.Struct("<HH")
_BOF, _EOF, _FILE_PASS, _SHEET, _FORMULA, _NAME = 0x0809, 0x0A, 0x2F, 0x85, 0x06, 0x18
_MACRO_SHEET = 0x40
"""Kind of substream in BOF."""
_HIDDEN = {0: "visible", 1: "hidden", 2: "very hidden"}
_FORMULA_AT = 20

_FUNCTIONS = {
    1: "IF", 4: "SUM", 30: "REPT", 31: "MID", 32: "LEN", 53: "GOTO", 54: "HALT", 55: "RETURN",
    74: "NOW", 82: "SEARCH", 88: "SET.NAME", 100: "CHOOSE", 108: "SET.VALUE", 110: "EXEC",
    111: "CHAR", 115: "LEFT", 116: "RIGHT", 121: "CODE", 123: "DIRECTORY", 132: "FOPEN",
    133: "FCLOSE", 135: "FREADLN", 136: "FREAD", 137: "FWRITELN", 138: "FWRITE", 148: "INDIRECT",
    149: "REGISTER", 150: "CALL", 336: "CONCATENATE", 0x8011: "RUN", 0x8060: "FORMULA",
    0x8061: "FORMULA.FILL", 0x8076: "ALERT",
}  # fmt: skip
"""Of MS-XLS 2.5.198.4 and .5, what macros use; others are given by number."""
_FIXED_TOKENS = {
    0x01: 4, 0x02: 4, 0x1C: 1, 0x1D: 1, 0x1E: 2, 0x1F: 8, 0x20: 7, 0x23: 4, 0x24: 4, 0x25: 8,
    0x26: 6, 0x27: 6, 0x28: 6, 0x29: 2, 0x2A: 4, 0x2B: 8, 0x2C: 4, 0x2D: 8, 0x39: 6, 0x3A: 6,
    0x3B: 10, 0x3C: 6, 0x3D: 10,
}  # fmt: skip
_OPERATORS = {0x03: "+", 0x04: "-", 0x05: "*", 0x06: "/", 0x08: "&"}
_AUTO_NAME = re.compile(rb"[\x01-\x0d]\Z")


class Dialect(NamedTuple):
    """How a kind of workbook writes what its formulas are made of."""

    fixed: Mapping[int, int]
    """Bytes behind a token."""
    cell: struct.Struct
    columns: int
    """Bits of a column."""
    text: Callable[[bytes, int], tuple[str, int]]
    """A text, and where it ends."""


def read(workbook: bytes, budget: Budget) -> Contents:
    """The macro sheets as one text; that it is encrypted, if it is. Raises only Spent."""
    lines: list[str] = []
    in_macro_sheet = False
    for kind, value in _records(workbook, budget):
        if kind == _FILE_PASS:
            yield Shut(Reason.ENCRYPTED, "encrypted Excel document")
            return
        if kind == _BOF and len(value) >= 4:
            in_macro_sheet = value[2] == _MACRO_SHEET
        elif kind == _SHEET and len(value) > 8 and value[5] == 1:
            name = value[8:].decode("latin-1").replace("\0", "")
            lines.append(f"macro sheet {name} ({_HIDDEN.get(value[4] & 3, '?')})")
        elif kind == _NAME and len(value) > 15 and value[0] & 0x20:
            lines.append(f"name {_defined_name(value)}")
        elif kind == _FORMULA and in_macro_sheet and len(value) > _FORMULA_AT + 2:
            size = int.from_bytes(value[_FORMULA_AT : _FORMULA_AT + 2], "little")
            row, column = struct.unpack_from("<HH", value)
            tokens = value[_FORMULA_AT + 2 : _FORMULA_AT + 2 + size]
            lines.append(f"R{row + 1}C{column + 1}={formula(tokens, BINARY)}")
    if lines:
        text = "\n".join(lines).encode("utf-8", "replace")
        yield Piece(text, Role.MEMBER, "macros.xlm", label="macro")


def _defined_name(value: bytes) -> str:
    size = value[3]
    name = value[15 : 15 + size]
    if size == 1 and _AUTO_NAME.match(name):
        return {1: "Auto_Open", 2: "Auto_Close"}.get(name[0], f"built-in {name[0]}")
    return name.decode("latin-1")


def _records(data: bytes, budget: Budget) -> Iterator[tuple[int, bytes]]:
    at = number = 0
    while at + _RECORD.size <= len(data):
        number += 1
        if not number % 1024:
            budget.check_time()
        kind, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind in (_BOF, _FILE_PASS, _SHEET, _FORMULA, _NAME):
            yield kind, data[at : at + size]
        at += size


def formula(tokens: bytes, dialect: Dialect) -> str:
    """Operands, then what is done with them; up to the first token that is not understood."""
    out: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        at += 1
        token = token if token < 0x20 else token & 0x1F | 0x20
        if token == 0x17 and at + 2 <= len(tokens):
            text, at = dialect.text(tokens, at)
            out.append(f'"{text}"')
        elif token == 0x19 and at + 3 <= len(tokens):  # attributes: a choice has a table
            table = int.from_bytes(tokens[at + 1 : at + 3], "little")
            at += 3 + (2 * (table + 1) if tokens[at] & 4 else 0)
        elif token == 0x1E and at + 2 <= len(tokens):
            out.append(str(int.from_bytes(tokens[at : at + 2], "little")))
            at += 2
        elif token == 0x21 and at + 2 <= len(tokens):
            out.append(_function(int.from_bytes(tokens[at : at + 2], "little")))
            at += 2
        elif token == 0x22 and at + 3 <= len(tokens):
            number = int.from_bytes(tokens[at + 1 : at + 3], "little")
            out.append(f"{_function(number)}/{tokens[at] & 0x7F}")
            at += 3
        elif token in _OPERATORS:
            out.append(_OPERATORS[token])
        elif token in dialect.fixed:
            if token in (0x24, 0x2C) and at + dialect.cell.size <= len(tokens):
                row, column = dialect.cell.unpack_from(tokens, at)
                out.append(f"R{row + 1}C{(column & dialect.columns) + 1}")
            at += dialect.fixed[token]
        elif not 0x07 <= token <= 0x16:
            out.append("...")
            break
    return " ".join(out)


def _text(tokens: bytes, at: int) -> tuple[str, int]:
    size, wide = tokens[at], tokens[at + 1] & 1
    end = at + 2 + size * (1 + wide)
    return tokens[at + 2 : end].decode("utf-16-le" if wide else "latin-1", "replace"), end


BINARY = Dialect(_FIXED_TOKENS, struct.Struct("<HH"), 0xFF, _text)
"""MS-XLS 2.5.198."""


def _function(number: int) -> str:
    return _FUNCTIONS.get(number, f"FUNCTION{number}")
