"""Files that gates scan: which there are, in batches, and what was found in each."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mailward.errors import UsageError
from mailward.scan.verdict import Reason, Verdict

BATCH_FILES = 64
BATCH_BYTES = 16 * 1024 * 1024
"""A batch is what a worker far away gets at once: a second of work, more or less."""

_TROUBLE = frozenset({Reason.TIME, Reason.CRASH})
"""A better set would not have them; what is encrypted, say, is no set's fault."""


@dataclass(frozen=True, slots=True)
class File:
    """A file to scan."""

    path: str
    key: str
    """Of name and content, which rules ask for: files with the same key need scanning once."""
    size_bytes: int
    content: bytes | None = None
    """For workers that cannot read ``path``."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a file."""

    path: str
    key: str
    risks: tuple[str, ...] = ()
    """Names."""
    signatures: tuple[str, ...] = ()
    """As they are excluded (``scan.excluded``)."""
    trouble: str = ""
    """Why it was not scanned to its end, where a better set might have been; empty if it was."""


def below(places: Iterable[Path]) -> list[Path]:
    """All regular files in files and folders, each once, sorted.

    Raises UsageError if a place is not there.
    """
    found: set[Path] = set()
    for place in places:
        if place.is_dir():
            for folder, _, names in os.walk(place):
                found.update(Path(folder, name) for name in names)
        elif place.is_file():
            found.add(place)
        else:
            raise UsageError(f"{place}: there is no such file or folder")
    return sorted({path.absolute() for path in found if path.is_file()})


def identify(path: Path) -> File:
    """Read a file for its key. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        size_bytes = file.tell()
    key = hashlib.sha256(os.fsencode(path.name) + b"\0" + digest).hexdigest()
    return File(str(path), key, size_bytes)


def batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Files in portions of bounded number and size."""
    batch: list[File] = []
    size = 0
    for file in files:
        if batch and (len(batch) >= BATCH_FILES or size + file.size_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size_bytes
    if batch:
        yield batch


def judged(file: File, verdict: Verdict) -> Found:
    """What a verdict means for a check."""
    trouble = [f"{u.reason}: {u.detail}" for u in verdict.unopened if u.reason in _TROUBLE]
    return Found(
        path=file.path,
        key=file.key,
        risks=tuple(dict.fromkeys(risk.name for risk in verdict.risks)),
        signatures=tuple(sorted({s for risk in verdict.risks for s in risk.signatures})),
        trouble=trouble[0] if trouble else "",
    )


def unreadable(file: File, why: OSError) -> Found:
    """A file that went away, or was never ours to read."""
    return Found(file.path, file.key, trouble=f"cannot be read: {why.strerror}")
