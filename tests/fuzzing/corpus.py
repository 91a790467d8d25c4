"""Inputs that fuzzing found worth keeping: a file for each parser, an input a line, in base64."""

import base64
import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent / "kept"
INPUT_MAX_BYTES = 1024
PARSER_MAX_BYTES = 8 * 1024
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
    """The smallest files of each parser's folder, instead of what was kept."""
    FOLDER.mkdir(exist_ok=True)
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = sorted((path.read_bytes() for path in place.iterdir()), key=lambda d: (len(d), d))
        lines, size = [], 0
        for data in found:
            size += len(data)
            if len(data) > INPUT_MAX_BYTES or size > PARSER_MAX_BYTES:
                break
            lines.append(base64.b64encode(data).decode())
        (FOLDER / f"{place.name}.txt").write_text("".join(f"{line}\n" for line in lines))
