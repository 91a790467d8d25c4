"""What compressed data repeats of what came out of it already."""


def repeat(out: bytearray, distance: int, length: int) -> None:
    """Append ``length`` bytes that begin ``distance`` back, and may reach into what is appended.

    ``distance``: from 1 to the length of ``out``; whoever reads it from a file has to look.
    """
    start = len(out) - distance
    piece = out[start : start + length]
    out += piece if length <= distance else (piece * (length // distance + 1))[:length]
