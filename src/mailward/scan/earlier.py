"""What the prepared files of an earlier set spare a new one.

Beside an engine's files lies ``made.json``: by which code and from what they were made, and a
digest of each. An engine that is given the same again has its files copied, each compared with its
digest; one that is given something else may look into its earlier folder for what did not change.

An earlier folder is never changed, and never trusted: one that is damaged, of other code, or taken
away while it is read costs time, and nothing else.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mailward.scan.engine import Source

MADE_FILE = "made.json"
_CHUNK_BYTES = 1 << 20


class GoneError(Exception):
    """An earlier file that is not there, or not what it was."""


@dataclass(frozen=True, slots=True)
class Made:
    """What ``made.json`` says."""

    code: str
    inputs: str
    files: dict[str, str]
    """The SHA-256 of each file, by its name."""


_MADE = TypeAdapter(Made)


@cache
def code() -> str:
    """A digest of all code that prepares and reads: what other code has made is not taken over."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}:{len(content)}\n".encode() + content)
    return digest.hexdigest()


def inputs(sources: Sequence[Source]) -> str:
    """A digest of what an engine is given. Raises OSError."""
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda s: (s.name, str(s.path))):
        with source.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(json.dumps([source.name, source.kind.value, content]).encode())
    return digest.hexdigest()


def note(folder: Path, given: str, files: dict[str, str] | None = None) -> None:
    """Write ``made.json`` for what lies in ``folder``; ``files``: its digests, if known already."""
    if files is None:
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / MADE_FILE).write_bytes(_MADE.dump_json(Made(code(), given, files)))


def is_ours(folder: Path) -> bool:
    """Whether the files in a folder were made by this very code."""
    with suppress(GoneError):
        return _made(folder).code == code()
    return False


def take(folder: Path, given: str, into: Path) -> bool:
    """Copy all of an earlier folder if it was made from the same; False, and ``into`` is as empty
    as it was, if it was not or cannot be read. Raises OSError when the disk fails to write."""
    try:
        made = _made(folder)
        if made.code != code() or made.inputs != given:
            return False
        for name, digest in made.files.items():
            _copy(folder / name, into / name, digest)
    except GoneError:
        for path in into.iterdir():
            path.unlink()
        return False
    note(into, given, made.files)
    return True


def _made(folder: Path) -> Made:
    try:
        made = _MADE.validate_json((folder / MADE_FILE).read_bytes(), strict=True)
    except (OSError, ValidationError) as e:
        raise GoneError(str(e)) from e
    if any(Path(name).name != name for name in made.files):
        raise GoneError("it names files elsewhere")
    return made


def _copy(source: Path, target: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for chunk in _chunks(source):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != expected:
        raise GoneError(f"{source} is damaged")


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as e:
        raise GoneError(str(e)) from e


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
