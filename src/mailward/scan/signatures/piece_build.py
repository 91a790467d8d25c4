"""Compile the pieces of a scope's signatures: the format is that of ``pieces``."""

import struct
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import hyperscan

from mailward.scan.signatures import sealed
from mailward.scan.signatures.anchors import Anchor
from mailward.scan.signatures.earlier_lines import EarlierLines, Piece
from mailward.scan.signatures.pieces import (
    CASELESS,
    ENTRY,
    HALF_SHIFT,
    LINES_MAX,
    NUMBER,
    Scope,
    file_names,
)


def write(
    into: Path, scope: Scope, anchors: Iterable[tuple[int, Anchor]], earlier: EarlierLines
) -> None:
    """Compile the pieces of a scope's signatures, each with the place of its line.

    The lines of each anchor have to come in the order of their places.
    """
    by_piece: dict[tuple[bytes, bool], dict[Anchor, list[int]]] = defaultdict(dict)
    for line, anchor in anchors:
        by_piece[anchor.piece, anchor.caseless].setdefault(anchor, []).append(line)
    ordered = sorted(by_piece)
    bounds, entries = bytearray(NUMBER.pack(len(ordered))), bytearray()
    for key in ordered:
        bounds += NUMBER.pack(len(entries))
        for anchor in sorted(by_piece[key], key=_order):
            all_lines = by_piece[key][anchor]
            for at in range(0, len(all_lines), LINES_MAX):
                lines = all_lines[at : at + LINES_MAX]
                entries += ENTRY.pack(
                    anchor.low,
                    anchor.high,
                    anchor.back,
                    len(anchor.run),
                    anchor.caseless * CASELESS | anchor.half << HALF_SHIFT,
                    len(lines),
                )
                entries += anchor.run + struct.pack(f"<{len(lines)}I", *lines)
    bounds += NUMBER.pack(len(entries))
    compiled, described = file_names(scope)
    pieces = [(*key, all(anchor.is_once_enough for anchor in by_piece[key])) for key in ordered]
    database = earlier.database(scope, pieces) or hyperscan.dumpb(_compiled(pieces))
    sealed.write(into / compiled, database)
    sealed.write(into / described, bytes(bounds + entries))


def _order(anchor: Anchor) -> tuple[object, ...]:
    """So that files are the same in whichever order their lines were read."""
    return anchor.low, anchor.high, anchor.back, anchor.run, anchor.half


def _compiled(pieces: list[Piece]) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    # As expressions: the binding's literals end at a NUL.
    database.compile(
        expressions=[b"".join(rb"\x%02x" % byte for byte in piece) for piece, _, _ in pieces],
        ids=list(range(len(pieces))),
        flags=[
            hyperscan.HS_FLAG_DOTALL
            | (hyperscan.HS_FLAG_CASELESS if caseless else 0)
            | (hyperscan.HS_FLAG_SINGLEMATCH if once else 0)
            for _, caseless, once in pieces
        ],
    )
    return database
