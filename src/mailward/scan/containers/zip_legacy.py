"""Compression methods of zips from before deflate, which some programs still open: shrink, reduce,
implode, and that of PKWARE's library.

Methods 1, 2 to 5, 6 and 10 of PKWARE's APPNOTE.TXT, sections 5.1 to 5.3.
"""

from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.containers import dcl
from mailward.scan.containers.bits import DamagedError
from mailward.scan.containers.inflate import Inflated
from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_LOOK_EVERY = 4096
"""Codes between two looks at the time."""

_CONTROL = 256
_SHRINK_BITS_MIN, _SHRINK_BITS_MAX = 9, 13
_WIDER, _CLEAR = 1, 2

_MARK = 0x90

_LARGE_WINDOW, _LITERAL_TREE = 1 << 1, 1 << 2
_LENGTH_ESCAPE = 63


class _Bits:
    """Bits of a string, the least significant of each byte first."""

    def __init__(self, packed: memoryview) -> None:
        self._packed = packed
        self._at = 0
        self._held = 0
        self._count = 0

    def take(self, count: int) -> int:
        while self._count < count:
            if self._at >= len(self._packed):
                raise DamagedError("truncated: the compressed data ends too early")
            self._held |= self._packed[self._at] << self._count
            self._at += 1
            self._count += 8
        value = self._held & (1 << count) - 1
        self._held >>= count
        self._count -= count
        return value


_Work = Callable[[_Bits, int, bytearray, Budget], None]
"""Unpacks so many bytes of it into the array."""


def unshrink(packed: memoryview, plain_bytes: int, budget: Budget) -> Inflated:
    """``plain_bytes``: how many come out. Raises only Spent."""
    return _within(packed, plain_bytes, budget, _unshrink)


def explode(packed: memoryview, plain_bytes: int, flags: int, budget: Budget) -> Inflated:
    """``flags``: the member's, they say which trees there are. Raises only Spent."""
    return _within(
        packed,
        plain_bytes,
        budget,
        lambda bits, wanted, out, budget: _explode(bits, wanted, flags, out, budget),
    )


def expand(packed: memoryview, plain_bytes: int, method: int, budget: Budget) -> Inflated:
    """``method``: 2 to 5. Raises only Spent."""
    return _within(
        packed,
        plain_bytes,
        budget,
        lambda bits, wanted, out, budget: _expand(bits, wanted, method - 1, out, budget),
    )


def unpack_library(packed: memoryview, plain_bytes: int, budget: Budget) -> Inflated:
    """Method 10. Raises only Spent."""
    return _within(
        packed,
        plain_bytes,
        budget,
        lambda _, wanted, out, budget: _library(packed, wanted, out, budget),
    )


def _library(packed: memoryview, wanted: int, out: bytearray, budget: Budget) -> None:
    dcl.unpack(packed, out, wanted, budget)
    if len(out) < wanted:
        raise DamagedError("truncated: the compressed data ends too early")


def _within(packed: memoryview, plain_bytes: int, budget: Budget, work: _Work) -> Inflated:
    room = budget.room()
    out = bytearray()
    shut: Shut | None = None
    wanted = min(plain_bytes, room + 1)
    if budget.is_bomb(wanted, len(packed)):
        shut = budget.bomb()
        wanted = min(wanted, len(packed) * budget.settings.max_ratio)
    try:
        work(_Bits(packed), wanted, out, budget)
    except DamagedError as e:
        shut = Shut(Reason.MALFORMED, str(e))
    if len(out) > room:
        shut = budget.over_room(room)
    return Inflated(bytes(out[: min(wanted, room)]), len(packed), shut)


def _unshrink(bits: _Bits, wanted: int, out: bytearray, budget: Budget) -> None:
    parents: dict[int, int] = {}
    last_bytes: dict[int, int] = {}
    free = list(range((1 << _SHRINK_BITS_MAX) - 1, _CONTROL, -1))
    width, before, first = _SHRINK_BITS_MIN, -1, 0
    turns = 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
        code = bits.take(width)
        if code == _CONTROL:
            order = bits.take(width)
            if order == _WIDER and width < _SHRINK_BITS_MAX:
                width += 1
            elif order == _CLEAR:
                used = set(parents.values())
                for leaf in [code for code in parents if code not in used]:
                    del parents[leaf], last_bytes[leaf]
                free = [
                    c for c in range((1 << _SHRINK_BITS_MAX) - 1, _CONTROL, -1) if c not in parents
                ]
            else:
                raise DamagedError("the compressed data is damaged: no such order")
            continue
        string = bytearray()
        walk = code
        if code > _CONTROL and code not in parents:  # the one that is being made
            if before < 0:
                raise DamagedError("the compressed data is damaged: no such code")
            string.append(first)
            walk = before
        while walk > _CONTROL:
            if walk not in parents or len(string) > 1 << _SHRINK_BITS_MAX:
                raise DamagedError("the compressed data is damaged: no such code")
            string.append(last_bytes[walk])
            walk = parents[walk]
        string.append(walk)
        first = walk
        out += string[::-1]
        if before >= 0 and free:
            made = free.pop()
            parents[made], last_bytes[made] = before, first
        before = code


def _expand(bits: _Bits, wanted: int, factor: int, out: bytearray, budget: Budget) -> None:
    """Bytes by those that often follow the one before, in which a mark stands for a repetition."""
    followers = [[bits.take(8) for _ in range(bits.take(6))] for _ in range(256)]
    followers.reverse()  # they are told from the last to the first
    widths = [max(1, (len(some) - 1).bit_length()) if some else 0 for some in followers]
    longest = (1 << 8 - factor) - 1
    last = turns = value = length = state = 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
        some = followers[last]
        if not some or bits.take(1):
            last = bits.take(8)
        else:
            number = bits.take(widths[last])
            if number >= len(some):
                raise DamagedError("the compressed data is damaged: no such byte")
            last = some[number]
        if state == 0:
            if last == _MARK:
                state = 1
            else:
                out.append(last)
        elif state == 1:
            if last:
                value, length = last, last & longest
                state = 2 if length == longest else 3
            else:
                out.append(_MARK)
                state = 0
        elif state == 2:
            length += last
            state = 3
        else:
            distance = (value >> 8 - factor << 8) + last + 1
            for _ in range(length + 3):
                out.append(out[-distance] if distance <= len(out) else 0)
            state = 0


def _explode(bits: _Bits, wanted: int, flags: int, out: bytearray, budget: Budget) -> None:
    literals = _tree(bits, 256) if flags & _LITERAL_TREE else None
    lengths, distances = _tree(bits, 64), _tree(bits, 64)
    shortest = 3 if literals is not None else 2
    low_bits = 7 if flags & _LARGE_WINDOW else 6
    turns = 0
    while len(out) < wanted:
        turns += 1
        if turns % _LOOK_EVERY == 0:
            budget.check_time()
        if bits.take(1):
            out.append(_symbol(bits, literals) if literals is not None else bits.take(8))
            continue
        low = bits.take(low_bits)
        distance = (_symbol(bits, distances) << low_bits | low) + 1
        length = _symbol(bits, lengths)
        if length == _LENGTH_ESCAPE:
            length += bits.take(8)
        for _ in range(length + shortest):
            out.append(out[-distance] if distance <= len(out) else 0)


_Tree = dict[tuple[int, int], int]
"""Length and value of a code, to the symbol."""


def _tree(bits: _Bits, symbols: int) -> _Tree:
    """A Shannon-Fano tree: runs of code lengths; the longest code is all zeros."""
    lengths: list[int] = []
    for _ in range(bits.take(8) + 1):
        length, count = bits.take(4) + 1, bits.take(4) + 1
        lengths += [length] * count
    if len(lengths) != symbols:
        raise DamagedError("the compressed data is damaged: a tree of another size")
    code = step = last = 0
    tree = {}
    for symbol in sorted(range(symbols), key=lambda s: (lengths[s], s), reverse=True):
        code += step
        if lengths[symbol] != last:
            last = lengths[symbol]
            step = 1 << 16 - last
        tree[last, code >> 16 - last] = symbol
    return tree


def _symbol(bits: _Bits, tree: _Tree) -> int:
    value = 0
    for length in range(1, 17):
        value = value << 1 | bits.take(1)
        if (length, value) in tree:
            return tree[length, value]
    raise DamagedError("the compressed data is damaged: no such code")
