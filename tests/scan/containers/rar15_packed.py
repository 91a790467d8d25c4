"""RAR 1.5 packed at random: its reader run backwards, with choices instead of what is read."""

import random

from mailward.scan.containers import rar_lz15
from mailward.scan.containers.huffman import LENGTH_MASK, SYMBOL_SHIFT
from mailward.scan.containers.rar_lz15 import Unpacker15
from mailward.scan.containers.rar_unpacker import Code

LITERALS_FIRST = 600


class Writer(Unpacker15):
    """What it is asked for is written, too; it serves as ``bits`` of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.window = self._window
        self.window.begin()
        self.text: list[str] = []
        self.choose = random.Random(seed)
        self.slope = 0.05 if seed < 5 else 0.9
        self.matches = 0
        self.token = ""
        self.values: list[int] = []
        """To answer with, first."""

    def packed(self, size: int) -> bytes:
        self._begin(memoryview(b""), self, None)  # type: ignore[arg-type]
        self._block(self, size, None)  # type: ignore[arg-type]
        text = "".join(self.text)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def take(self, width: int) -> int:
        value = self.values.pop() if self.values else self.choose.randrange(1 << width)
        self.text.append(f"{value:0{width}b}")
        return value

    def put(self, by: Code, number: int) -> int:
        entries, most = by
        place = next(n for n, entry in enumerate(entries) if entry >> SYMBOL_SHIFT == number)
        self.text.append(f"{place:0{most}b}"[: entries[place] & LENGTH_MASK])
        return number

    def symbol(self, by: Code) -> int:
        """One that leads to nothing that is not there."""
        size = len(self.window.data)
        if by in rar_lz15._SHORTS.values():
            kinds = [*range(9), *([9] if self.matches else [])]
            kinds += range(10, 14) if self.matches > 3 else ()
            if self._is_other and size > 0x8100:
                kinds.append(14)
                self.values = [self.choose.randrange(size - 0x8000)]
            kind = self.choose.choice(kinds)
            if kind != 14:
                self.values = []
            self.matches += kind < 9
            return self.put(by, kind)
        if by in rar_lz15._LENGTHS:
            may_switch = self.token == "short" and by is rar_lz15._LENGTHS[0]
            switches = may_switch and self.choose.randrange(2)
            return self.put(by, 255 if switches else self.choose.randrange(20))
        rank = min(int(self.choose.expovariate(self.slope)) + (size < LITERALS_FIRST), 250)
        if self.token == "long":
            highs = [value >> 8 for value in self._distances._values]
            rank = self.choose.choice([n for n, high in enumerate(highs) if high + 1 <= size >> 7])
            self.values = [self.choose.randrange(not highs[rank], 128)]
            self.matches += 1
        elif self.token == "literal" and self._is_run and not rank:
            self.token = "run"
        elif self.token == "run":
            rank = self.choose.randrange(1, size - 32 >> 5) & 0xFF or 1
            self.token = "literal"
        return self.put(by, rank)

    def _bit(self, _bits: object) -> int:
        if not self._left:
            wanted = 0xFF if len(self.window.data) < LITERALS_FIRST else self.choose.randrange(256)
            if self.choose.randrange(9) == 0:
                wanted = 0xFF
            ranks = [n for n, value in enumerate(self._flags._values) if value >> 8 == wanted]
            self._flags.use(self.put(rar_lz15._RANKS[2], ranks[0]))
            self._flag, self._left = wanted, 8
        self._left -= 1
        return self._flag >> self._left & 1

    def _literal(self, bits: object) -> None:
        self.token = "literal"
        super()._literal(self)  # type: ignore[arg-type]

    def _long_match(self, bits: object) -> None:
        self.token = "long"
        super()._long_match(self)  # type: ignore[arg-type]

    def _short_match(self, bits: object) -> None:
        self.token = "short"
        super()._short_match(self)  # type: ignore[arg-type]
