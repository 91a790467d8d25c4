"""Inputs that fuzzing found worth keeping: a file for each parser, an input a line, in base64."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).parent / "kept"
INPUT_MAX_BYTES = 1024
PARSER_MAX_BYTES = 4 * 1024
"""Kept for one parser; together they stay below a megabyte."""


def inputs(parser: str) -> list[bytes]:
    """What is kept for a parser."""
    path = FOLDER / f"{parser}.txt"
    return [base64.b64decode(line) for line in path.read_text().split()] if path.exists() else []


def unpack(into: Path) -> None:
    """A folder for each parser, a file for each input."""
    for path in FOLDER.glob("*.txt"):
        folder = into / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        for data in inputs(path.stem):
            (folder / hashlib.sha256(data).hexdigest()).write_bytes(data)


def keep(folder: Path, is_others: Callable[[bytes], bool]) -> None:
    """Some of the small files of each parser's folder, instead of what was kept, and nothing that
    is made of other people's files, in the whole of it.

    Which, is left to their digests: the smallest ones alone would reach little.
    """
    FOLDER.mkdir(exist_ok=True)
    places = {path.name: path for path in folder.iterdir() if path.is_dir()}
    for name in sorted({*places, *(path.stem for path in FOLDER.glob("*.txt"))}):
        here = places[name].iterdir() if name in places else ()
        found = [path.read_bytes() for path in here] or inputs(name)
        small = [data for data in set(found) if 0 < len(data) <= INPUT_MAX_BYTES]
        kept, size = [], 0
        for data in sorted(small, key=lambda data: hashlib.sha256(data).digest()):
            if size + len(data) <= PARSER_MAX_BYTES and not is_others(data):
                kept.append(data)
                size += len(data)
        lines = sorted(base64.b64encode(data).decode() for data in kept)
        path = FOLDER / f"{name}.txt"
        if lines:
            path.write_text("\n".join(lines) + "\n")
        else:
            path.unlink(missing_ok=True)
