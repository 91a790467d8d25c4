"""bzip2 without its marks and checksums, as NSIS and ALZip have it: they save some bytes a block.

A block begins with a shorter mark, and has neither a checksum nor the bit for what was mixed up;
all else is as in bzip2.
"""

import re
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.inflate import Inflated
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_BLOCK_BYTES = 900_000
_GROUP = 50
_TABLES = range(2, 7)
_LENGTH_MAX = 20
_RUN_A, _RUN_B = 0, 1
_RUN_MAX_BITS = 21
_RUN = re.compile(rb"(.)\1\1\1(.)", re.DOTALL)
_LOOK_EVERY = 100
"""Groups of symbols between two looks at the time."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What begins a block, what ends the data, and how many bits each has."""

    block: int
    end: int
    bits: int


NSIS = Marks(0x31, 0x17, 8)
ALZIP = Marks(0x444C5A01, 0x444C5A02, 32)


def unpack(packed: memoryview, marks: Marks, budget: Budget) -> Inflated:
    """As ``inflate``. Raises only Spent."""
    room = budget.room()
    bits = Bits(packed)
    out = bytearray()
    try:
        while True:
            budget.check_time()
            mark = bits.take(marks.bits)
            if mark == marks.end:
                used = min(len(packed), bits.at - bits.count // 8)
                return Inflated(bytes(out), used)
            if mark != marks.block:
                raise DamagedError("a block has no mark")
            out += _block(bits, budget)
            if len(out) > room:
                return Inflated(bytes(out[:room]), len(packed), budget.over_room(room))
            if budget.is_bomb(len(out), len(packed)):
                return Inflated(bytes(out), len(packed), budget.bomb())
    except DamagedError as e:
        shut = Shut(Reason.MALFORMED, f"the compressed data is damaged: {e}")
        return Inflated(bytes(out), len(packed), shut, damaged=True)


def _block(bits: Bits, budget: Budget) -> bytes:
    start = bits.take(24)
    used = bits.take(16)
    order = bytearray()
    for high in range(16):
        if used >> 15 - high & 1:
            row = bits.take(16)
            order += bytes(high << 4 | low for low in range(16) if row >> 15 - low & 1)
    if not order:
        raise DamagedError("no byte is in it")
    tables, selectors = bits.take(3), bits.take(15)
    if tables not in _TABLES or not selectors:
        raise DamagedError("its codes are not there")
    turn = list(range(tables))
    chosen: list[int] = []
    for _ in range(selectors):
        number = 0
        while bits.take(1):
            number += 1
            if number >= tables:
                raise DamagedError("there is no such code")
        turn.insert(0, turn.pop(number))
        chosen.append(turn[0])
    codes = [_code(bits, len(order) + 2) for _ in range(tables)]
    last = _symbols(bits, order, chosen, codes, budget)
    if start >= len(last):
        raise DamagedError("a block begins outside of itself")
    import numpy as np  # here: it costs every worker 20 MB, and few messages need it

    column = np.frombuffer(bytes(last), np.uint8)
    following = np.argsort(column, kind="stable").tolist()
    out = bytearray()
    add = out.append
    at = following[start]
    for _ in range(len(last)):
        add(last[at])
        at = following[at]
    return _RUN.sub(lambda run: run[1] * (4 + run[2][0]), bytes(out))


_Code = tuple[list[tuple[int, int, int]], list[int]]
"""Length, first code behind those of that length, place of the first of them; the symbols."""


def _code(bits: Bits, count: int) -> _Code:
    length = bits.take(5)
    lengths = []
    for _ in range(count):
        while True:
            if not 1 <= length <= _LENGTH_MAX:
                raise DamagedError("a code is too long")
            if not bits.take(1):
                break
            length += -1 if bits.take(1) else 1
        lengths.append(length)
    rows: list[tuple[int, int, int]] = []
    symbols: list[int] = []
    code = 0
    for length in range(1, _LENGTH_MAX + 1):
        found = [symbol for symbol, its in enumerate(lengths) if its == length]
        if found:
            rows.append((length, code + len(found), len(symbols) - code))
            symbols += found
            code += len(found)
        code <<= 1
    return rows, symbols


def _symbols(
    bits: Bits, order: bytearray, chosen: list[int], codes: list[_Code], budget: Budget
) -> bytearray:
    """The last column of the sorted block."""
    out = bytearray()
    end = len(order) + 1
    run, weight = 0, 1
    for group, number in enumerate(chosen):
        if group % _LOOK_EVERY == 0:
            budget.check_time()
        rows, names = codes[number]
        for _ in range(_GROUP):
            if bits.count < _LENGTH_MAX:
                bits.fill()
            ahead = bits.held >> bits.count - _LENGTH_MAX & (1 << _LENGTH_MAX) - 1
            for length, behind, place in rows:  # noqa: B007 (used behind it)
                code = ahead >> _LENGTH_MAX - length
                if code < behind:
                    break
            else:
                raise DamagedError("there is no such code")
            if not 0 <= code + place < len(names):
                raise DamagedError("there is no such code")
            bits.count -= length
            symbol = names[code + place]
            if symbol <= _RUN_B:
                run += weight << symbol
                weight <<= 1
                if weight >> _RUN_MAX_BITS:
                    raise DamagedError("a run is too long")
                continue
            if run:
                if len(out) + run > _BLOCK_BYTES:
                    raise DamagedError("a block is too long")
                out += order[:1] * run
                run, weight = 0, 1
            if symbol == end:
                return out
            if len(out) >= _BLOCK_BYTES:
                raise DamagedError("a block is too long")
            byte = order.pop(symbol - 1)
            order.insert(0, byte)
            out.append(byte)
    raise DamagedError("a block has no end")
