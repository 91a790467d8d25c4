"""Inputs that fuzzing found worth keeping: a file for each parser, an input a line, in base64."""

import base64
import hashlib
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


def keep(folder: Path) -> None:
    """Some of the small files of each parser's folder, instead of what was kept.

    Which, is left to their digests: the smallest ones alone would reach little.
    """
    FOLDER.mkdir(exist_ok=True)
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [data for path in place.iterdir() if (data := path.read_bytes())]
        small = [data for data in found if len(data) <= INPUT_MAX_BYTES]
        kept, size = [], 0
        for data in sorted(small, key=lambda data: hashlib.sha256(data).digest()):
            size += len(data)
            if size <= PARSER_MAX_BYTES:
                kept.append(data)
        lines = sorted(base64.b64encode(data).decode() for data in kept)
        if lines:
            (FOLDER / f"{place.name}.txt").write_text("\n".join(lines) + "\n")
