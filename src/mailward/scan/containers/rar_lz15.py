"""How RAR 1.5 packs: fixed codes, of ranks that move towards the front with each use.

Which of five codes is used follows the mean of the ranks so far. Facts: The Unarchiver's
``XADRAR15Handle``.
"""

from mailward.scan.budget import Budget
from mailward.scan.containers.bits import Bits
from mailward.scan.containers.rar_unpacker import Code, Unpacker, code, symbol

_LITERAL_MOST, _OTHER_MOST = 0xA1, 0xFF
"""Uses of a value, before all are counted anew."""
_NEAR, _FAR = 0x2001, 0x7F00
"""Distances from which on a match is one longer: one or the other."""
_CLOSE = 256
_LONG_RUN = 16
"""Literals in turn, after which nothing else is expected."""
_WEIGHT_MOST, _WEIGHT_AFTER, _WEIGHT_STEP = 0xFF, 0x90, 16
_SELECTS_OTHER = 37
_LAST, _FIRST_OLD, _FAR_MATCH, _SWITCH = 9, 10, 14, 10
_SWITCH_LENGTH = 0x101
_FAR_FROM = 0x8000


def _code(*groups: tuple[int, int]) -> Code:
    """Widths, and how many symbols have each."""
    return code([width for width, count in groups for _ in range(count)])


_LENGTHS = (
    _code((2, 2), (3, 1), (4, 2), (5, 2), (6, 4), (7, 5), (8, 4), (9, 4), (10, 8), (12, 224)),
    _code(
        (3, 5), (4, 2), (5, 2), (6, 4), (7, 5), (8, 4), (9, 4), (10, 8), (11, 2), (12, 220)
    ),
)  # fmt: skip
_RANKS = (
    _code((4, 8), (5, 8), (6, 8), (7, 9), (12, 224)),
    _code((5, 4), (6, 40), (7, 16), (8, 16), (9, 4), (11, 47), (12, 130)),
    _code((5, 2), (6, 5), (7, 46), (8, 64), (9, 116), (10, 24)),
    _code((6, 2), (7, 14), (8, 202), (9, 33), (10, 6)),
    _code((8, 255), (9, 2)),
)
_LITERAL_MEANS = (0x0E00, 0x3600, 0x5E00, 0x7600)
_DISTANCE_MEANS = (0x0700, 0x2900)
"""Below which a code is used, in turn."""


def _short(front: str, *, is_other: bool) -> Code:
    """What a short match is like: the codes in their order, with one that is longer or not."""
    behind = "1100 1000 10010 100110 100111"
    words = f"{front} {behind} 1011".split() if is_other else f"{front} {behind}".split()
    entries = [0] * 256
    for number, word in enumerate(words):
        if word == "101" and is_other:
            word = "1010"
        place = int(word.ljust(8, "0"), 2)
        count = 1 << 8 - len(word)
        entries[place : place + count] = [number << 5 | len(word)] * count
    return entries, 8


_FEW = "0 101 1101 1110 11110 111110 1111110 11111110 11111111"
_MANY = "00 010 011 101 1101 1110 11110 111110 111111"
_SHORTS = {
    (is_many, is_other): _short(_MANY if is_many else _FEW, is_other=is_other)
    for is_many in (False, True)
    for is_other in (False, True)
}


class _Ranks:
    """Values by their rank, each with how often it was used lately."""

    def __init__(self, values: list[int], most: int) -> None:
        self._values = [value << 8 for value in values]
        self._places = [0] * 256
        """Where the values begin that were used so often."""
        self._most = most

    def count_anew(self) -> None:
        """The lower the rank, the higher."""
        self._values = [value & ~0xFF | 7 - rank // 32 for rank, value in enumerate(self._values)]
        self._places = [(7 - uses) * 32 if uses < 7 else 0 for uses in range(256)]

    def use(self, rank: int) -> int:
        """The value of a rank, which moves to the front of those that were used as often."""
        if self._values[rank] & 0xFF >= self._most:
            self.count_anew()
        value = self._values[rank]
        place = self._places[value & 0xFF] & 0xFF
        self._places[value & 0xFF] += 1
        self._values[rank] = self._values[place]
        self._values[place] = value + 1
        return value >> 8


class Unpacker15(Unpacker):
    """Of one archive."""

    def __init__(self) -> None:
        super().__init__()
        self._flags = _Ranks([-value & 0xFF for value in range(256)], _OTHER_MOST)
        self._literals = _Ranks(list(range(256)), _LITERAL_MOST)
        self._distances = _Ranks(list(range(256)), _OTHER_MOST)
        self._distances.count_anew()
        self._near = list(range(256))
        self._recent = [0, 0, 0, 0]
        """Distances, the last first."""
        self._distance = self._length = 0
        self._literal_mean, self._distance_mean, self._length_mean = 0x3500, 0, 0
        self._short_mean = self._nears = 0
        self._longer_from = _NEAR
        self._literal_weight = self._match_weight = 0x80
        self._run = 0
        self._is_other = False
        """Short matches have the other codes."""

    def _begin(self, packed: memoryview, bits: Bits, budget: Budget) -> None:
        self._flag = self._left = 0
        self._is_run = False
        self._lasts = 0
        """Short matches in turn that were the one before again."""

    def _finish(self, bits: Bits, budget: Budget) -> None:
        """Nothing is behind it."""

    def _block(self, bits: Bits, goal: int, budget: Budget) -> bool:
        data = self._window.data
        while len(data) < goal:
            if self._is_run:
                self._literal(bits)
                continue
            expects_match = self._match_weight > self._literal_weight
            if self._bit(bits):
                is_match = expects_match
            elif self._bit(bits):
                is_match = not expects_match
            else:
                self._short_match(bits)
                continue
            if is_match:
                self._long_match(bits)
            else:
                self._literal(bits)
        return True

    def _bit(self, bits: Bits) -> int:
        """What comes next, in parts; eight of them are coded at once."""
        if not self._left:
            self._flag = self._flags.use(symbol(bits, _RANKS[2]) & 0xFF)
            self._left = 8
        self._left -= 1
        return self._flag >> self._left & 1

    def _literal(self, bits: Bits) -> None:
        which = sum(self._literal_mean >= mean for mean in _LITERAL_MEANS)
        rank = symbol(bits, _RANKS[which])
        if self._is_run:
            if not rank:
                self._in_run(bits)
                return
            rank -= 1
        else:
            rank &= 0xFF
            self._is_run = self._run >= _LONG_RUN and not self._left
            self._run += 1
        self._literal_mean += rank
        self._literal_mean -= self._literal_mean >> 8
        self._literal_weight += _WEIGHT_STEP
        if self._literal_weight > _WEIGHT_MOST:
            self._literal_weight = _WEIGHT_AFTER
            self._match_weight >>= 1
        self._window.data.append(self._literals.use(rank))

    def _in_run(self, bits: Bits) -> None:
        """The end of a run of literals, or a match in it."""
        if bits.take(1):
            self._is_run, self._run = False, 0
            return
        length = 3 + bits.take(1)
        distance = symbol(bits, _RANKS[2]) << 5 | bits.take(5)
        self._window.repeat(distance, length)

    def _long_match(self, bits: Bits) -> None:
        self._run = 0
        self._match_weight += _WEIGHT_STEP
        if self._match_weight > _WEIGHT_MOST:
            self._match_weight = _WEIGHT_AFTER
            self._literal_weight >>= 1
        mean = self._length_mean
        if mean >= 64:
            raw = symbol(bits, _LENGTHS[mean >= 122])
        else:
            raw = 0
            while raw < 8 and not bits.take(1):
                raw += 1
            if raw == 8:
                raw = bits.take(8)
        which = sum(self._distance_mean >= one for one in _DISTANCE_MEANS)
        rank = symbol(bits, _RANKS[which])
        distance = self._distances.use(rank & 0xFF) << 7 | bits.take(7)
        length = raw + 3 + (distance >= self._longer_from) + (8 if distance <= _CLOSE else 0)
        before = self._longer_from
        is_far = self._nears > 0xB0 or (self._literal_mean >= 0x2A00 and mean < 0x40)
        self._longer_from = _FAR if is_far else _NEAR
        self._length_mean += raw
        self._length_mean -= self._length_mean >> 5
        self._distance_mean += rank
        self._distance_mean -= self._distance_mean >> 8
        if not raw and distance <= before:
            self._nears += 1
            self._nears -= self._nears >> 8
        elif raw not in (1, 4) and self._nears:
            self._nears -= 1
        self._match(distance, length)

    def _short_match(self, bits: Bits) -> None:
        self._run = 0
        if self._lasts == 2:
            if bits.take(1):
                self._window.repeat(self._distance, self._length)
                return
            self._lasts = 0
        kind = symbol(bits, _SHORTS[self._short_mean >= _SELECTS_OTHER, self._is_other])
        if kind == _LAST:
            self._lasts += 1
            self._window.repeat(self._distance, self._length)
            return
        self._lasts = 0
        if kind < _LAST:
            self._short_mean += kind
            self._short_mean -= self._short_mean >> 4
            rank = symbol(bits, _RANKS[2]) & 0xFF
            distance = self._near[rank]
            if rank:
                self._near[rank] = self._near[rank - 1]
                self._near[rank - 1] = distance
            self._match(distance + 1, kind + 2)
        elif kind == _FAR_MATCH:
            self._length = symbol(bits, _LENGTHS[1]) + 5
            self._distance = bits.take(15) + _FAR_FROM
            self._window.repeat(self._distance, self._length)
        else:
            distance = self._recent[kind - _FIRST_OLD]
            length = symbol(bits, _LENGTHS[0]) + 2
            if length == _SWITCH_LENGTH and kind == _SWITCH:
                self._is_other = not self._is_other
                return
            self._match(distance, length + (distance > _CLOSE) + (distance >= self._longer_from))

    def _match(self, distance: int, length: int) -> None:
        self._recent = [distance, *self._recent[:3]]
        self._distance, self._length = distance, length
        self._window.repeat(distance, length)
