"""How rare pieces of bytes are in mail, documents and programs: as measured, not guessed.

``rarity.bin`` was counted by ``scripts/measure-rarity`` over 90 MB of mail, 34 MB of documents
(both also unpacked, and in lower case) and the programs of a Debian system. It has, as minus 8
times the binary logarithm of a frequency,

- each pair, and each of the 60,000 most frequent triples of bytes: where it is most frequent of the
  three; documents and programs count a sixteenth, as most of what is scanned is mail. A triple that
  is not among these counts as rarer than all of them. From triples follows what a longer piece
  costs, as each byte depends on the two before it;
- the 60,000 phrases of 8 bytes that are in most files, in lower case. For what triples do not tell
  is that ``http-equiv``, or what every document of an office program begins with, is in so many.
"""

import struct
import zlib
from dataclasses import dataclass
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

_UNKNOWN_PHRASE = 1 << 20

PHRASE_BYTES = 8
PHRASE_PLACES = 1 << 13
"""Bytes of a usual part: a phrase in each of them begins once in so many bytes."""

Costs = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Tables:
    """How rare each is; the higher the rarer."""

    pairs: Bytes
    triples: Bytes
    phrases: Bytes
    """By ``phrase_keys``."""


@cache
def _tables() -> _Tables:
    raw = zlib.decompress(files(__package__).joinpath("rarity.bin").read_bytes())
    at = 1 << 16
    pairs = np.frombuffer(raw, np.uint8, at)
    sparse = []
    for _ in range(2):
        (kept,) = struct.unpack_from("<I", raw, at)
        steps = np.zeros((kept, 4), np.uint8)
        steps[:, :3] = np.frombuffer(raw, np.uint8, 3 * kept, at + 4).reshape(3, kept).T
        values = np.full(1 << 24, _UNSEEN, np.uint8)
        at += 4 + 4 * kept
        values[np.cumsum(steps.view("<u4").ravel())] = np.frombuffer(raw, np.uint8, kept, at - kept)
        sparse.append(values)
    return _Tables(pairs, sparse[0], sparse[1])


def phrase_keys(lowered: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where in the table of phrases the one that begins at each byte is; some share a place."""
    count = len(lowered) - PHRASE_BYTES + 1
    keys = np.zeros(count, np.uint64)
    for at in range(PHRASE_BYTES):
        keys = keys << np.uint64(8) | lowered[at : at + count]
    # Fibonacci hashing: the upper bits of a product with 2**64 divided by the golden ratio.
    return ((keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)).astype(np.int64)


def rarest(runs: list[bytes]) -> list[tuple[int, int, int]]:
    """For each run of at least two bytes: how rare its rarest piece is, where, and how long.

    The rarity is minus 8 times the binary logarithm of how often the piece begins at a byte.
    """
    tables = _tables()
    joined = b"".join(runs)
    data = np.frombuffer(joined, np.uint8).astype(np.int32)
    lengths = np.array([len(run) for run in runs])
    starts = np.cumsum(lengths) - lengths
    two = data[:-1] << 8 | data[1:]
    pair = tables.pairs[two].astype(np.int32)
    triple = tables.triples[two[:-1] << 8 | data[2:]].astype(np.int32)
    # What each byte adds, given the two before it; never negative, or longer could be worse.
    adds = np.concatenate([[0], np.cumsum(np.maximum(triple - pair[:-1], 0))])
    padded = np.frombuffer(joined.lower() + bytes(PHRASE_BYTES), np.uint8)
    phrase = tables.phrases[phrase_keys(padded)].astype(np.int32)
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
        if width >= PHRASE_BYTES:
            costs = np.minimum(costs, _of_phrases(phrase, start, places, width))
        best = int(costs.argmax())
        found.append((int(costs[best]), best, width))
    return found


def _of_phrases(phrase: Costs, start: int, places: int, width: int) -> Costs:
    """How rare the rarest phrase in each piece is; very, if one of them is not known."""
    rarest_phrase = phrase[start : start + places]
    for at in range(1, width - PHRASE_BYTES + 1):
        rarest_phrase = np.maximum(rarest_phrase, phrase[start + at : start + at + places])
    return np.where(rarest_phrase == _UNSEEN, _UNKNOWN_PHRASE, rarest_phrase)
