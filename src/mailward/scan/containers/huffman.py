"""Canonical Huffman codes as tables that are looked up by as many bits as the longest code has."""

from collections.abc import Sequence

SYMBOL_SHIFT = 5
LENGTH_MASK = 31


class CodeError(ValueError):
    """Lengths that no code can have."""


def table(lengths: Sequence[int]) -> tuple[list[int], int]:
    """What bits mean: ``symbol << 5 | length`` at each value; and how many bits to look at.

    Shorter than it could be if the code is incomplete. Raises CodeError if it is impossible.
    """
    bits = max(lengths, default=0)
    by_length: list[list[int]] = [[] for _ in range(bits + 1)]
    for symbol, length in enumerate(lengths):
        by_length[length].append(symbol << SYMBOL_SHIFT | length)
    entries: list[int] = []
    for length in range(1, bits + 1):
        repeated = 1 << (bits - length)
        if repeated == 1:
            entries += by_length[length]
            continue
        for entry in by_length[length]:
            entries += [entry] * repeated
        if len(entries) > 1 << bits:
            break
    if len(entries) > 1 << bits:
        raise CodeError("a Huffman code with too many symbols")
    return entries, bits
