"""How rare pieces of bytes are in mail, documents and programs: as measured, not guessed.

``rarity.bin`` was counted by ``scripts/measure-rarity`` over 90 MB of mail, 34 MB of documents
(both also unpacked, and in lower case) and the programs of a Debian system: for each pair and each
of the 60,000 most frequent triples of bytes, minus 8 times the binary logarithm of its frequency
where it is most frequent of the three; documents and programs count a sixteenth, as most of what is
scanned is mail. A triple that is not among these counts as rarer than all of
them. From triples follows what a longer piece costs, as each byte depends on the two before it.
"""

import struct
import zlib
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

PIECE_MAX = 10
"""Bytes of a piece: more make the databases larger and nothing rarer that matters."""

_BITS = 8
"""Steps in which logarithms are kept."""
_UNSEEN = 255
_TWO_BYTES_EXTRA = 16
"""A pair is looked for only where there is nothing better; so much worse is it counted."""

Costs = npt.NDArray[np.int64]


def _unpacked() -> bytes:
    return zlib.decompress(files(__package__).joinpath("rarity.bin").read_bytes())


@cache
def _tables() -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Of pairs and of triples: how rare, the higher the rarer."""
    raw = _unpacked()
    (kept,) = struct.unpack_from("<I", raw)
    at = 4 + (1 << 16)
    pairs = np.frombuffer(raw, np.uint8, 1 << 16, 4).astype(np.int32)
    steps = np.zeros((kept, 4), np.uint8)
    steps[:, :3] = np.frombuffer(raw, np.uint8, 3 * kept, at).reshape(3, kept).T
    triples = np.full(1 << 24, _UNSEEN, np.int32)
    triples[np.cumsum(steps.view("<u4").ravel())] = np.frombuffer(
        raw, np.uint8, kept, at + 3 * kept
    )
    return pairs, triples


def rarest(runs: list[bytes]) -> list[tuple[int, int, int]]:
    """For each run of at least two bytes: how rare its rarest piece is, where, and how long.

    The rarity is minus 8 times the binary logarithm of how often the piece begins at a byte.
    """
    pairs, triples = _tables()
    data = np.frombuffer(b"".join(runs), np.uint8).astype(np.int32)
    lengths = np.array([len(run) for run in runs])
    starts = np.cumsum(lengths) - lengths
    two = data[:-1] << 8 | data[1:]
    pair = pairs[two]
    triple = triples[two[:-1] << 8 | data[2:]]
    # What each byte adds, given the two before it; never negative, or longer could be worse.
    adds = np.concatenate([[0], np.cumsum(np.maximum(triple - pair[:-1], 0))])
    found = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        if length < 3:
            found.append((int(pair[start]) - _TWO_BYTES_EXTRA, 0, length))
            continue
        width = min(length, PIECE_MAX)
        places = length - width + 1
        first = triple[start : start + places]
        costs = first + adds[start + width - 2 : start + width - 2 + places]
        costs = costs - adds[start + 1 : start + 1 + places]
        best = int(costs.argmax())
        found.append((int(costs[best]), best, width))
    return found
