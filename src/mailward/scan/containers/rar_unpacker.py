"""What the ways in which RAR up to 4 packs have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from mailward.scan.budget import Budget
from mailward.scan.containers import huffman
from mailward.scan.containers.bits import Bits, DamagedError
from mailward.scan.containers.rar_window import Window

STEP = 1 << 18
"""Bytes between two looks at time and ratio."""
_TABLES_FREE, _BYTES_A_TABLE = 100, 100
"""Honest files have thousands of bytes for each set of codes, which is slow to make."""

Code = tuple[list[int], int]
"""A table of ``huffman``, and how many bits to look at."""


class Unpacker(ABC):
    """Of one archive: in a solid one a file goes on from the one before."""

    def __init__(self) -> None:
        self._window = Window()
        self._tables = 0

    def unpack(
        self, packed: memoryview, out: bytearray, wanted: int, budget: Budget
    ) -> Iterator[None]:
        """Into ``out``, step by step. Raises DamagedError, Spent.

        ``wanted``: bytes. How the next file begins is only known if they are the whole one.
        """
        bits = Bits(packed)
        window = self._window
        window.begin()
        self._tables = 0
        try:
            self._begin(packed, bits, budget)
            goes_on = True
            while goes_on and window.made < wanted:
                goal = len(window.data) + min(wanted - window.made, STEP)
                goes_on = self._block(bits, goal, budget)
                window.give(out, budget, is_last=False)
                yield
            if goes_on:
                self._finish(bits, budget)
        except IndexError as e:
            raise DamagedError("there is no such code") from e
        finally:
            window.give(out, budget, is_last=True)
            del out[wanted:]

    @property
    def lost_filters(self) -> int:
        """Blocks of the last file that went through a program that is not known."""
        return self._window.lost_filters

    @abstractmethod
    def _begin(self, packed: memoryview, bits: Bits, budget: Budget) -> None:
        """Another file. Raises DamagedError, IndexError, Spent."""

    @abstractmethod
    def _block(self, bits: Bits, goal: int, budget: Budget) -> bool:
        """Unpack until so many bytes are in the window, or sooner; whether the file goes on.

        Raises DamagedError, IndexError, Spent.
        """

    @abstractmethod
    def _finish(self, bits: Bits, budget: Budget) -> None:
        """Read what is behind the last byte for the next file. Raises Spent."""

    def _count_tables(self, budget: Budget) -> None:
        """Before codes are read. Raises DamagedError, Spent."""
        budget.check_time()
        self._tables += 1
        if self._tables > _TABLES_FREE + self._window.made // _BYTES_A_TABLE:
            raise DamagedError("too many codes")


def code(widths: list[int]) -> Code:
    """Raises DamagedError."""
    try:
        return huffman.table(widths)
    except huffman.CodeError as e:
        raise DamagedError(str(e)) from e


def symbol(bits: Bits, by: Code) -> int:
    """The next one. Raises DamagedError, IndexError."""
    entries, most = by
    entry = entries[bits.peek(most)]
    bits.take(entry & huffman.LENGTH_MASK)
    return entry >> huffman.SYMBOL_SHIFT
