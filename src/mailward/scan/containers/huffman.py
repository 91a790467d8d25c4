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


def lengths_for(counts: Sequence[int]) -> list[int]:
    """Of the code that is best for symbols that occur so often (D. A. Huffman, 1952).

    Where two are as rare, symbols come before what is put together of them, and lower ones first.
    """
    order = sorted(range(len(counts)), key=counts.__getitem__)
    if len(order) < 2:
        return [1] * len(order)
    leaves = [counts[symbol] for symbol in order]
    total = len(leaves)
    above, nodes = [0] * (2 * total - 1), list[int]()
    leaf, node = 0, 0
    for number in range(total, 2 * total - 1):
        weight = 0
        for _ in range(2):
            if leaf < total and (node >= len(nodes) or leaves[leaf] <= nodes[node]):
                weight += leaves[leaf]
                above[leaf] = number
                leaf += 1
            else:
                weight += nodes[node]
                above[total + node] = number
                node += 1
        nodes.append(weight)
    depths = [0] * (2 * total - 1)
    for number in range(2 * total - 3, -1, -1):
        depths[number] = depths[above[number]] + 1
    lengths = [0] * total
    for place, symbol in enumerate(order):
        lengths[symbol] = depths[place]
    return lengths
