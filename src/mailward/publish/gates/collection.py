"""A collection of files through a set, on all cores or many computers; resumed where it stopped."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from mailward import __version__, durable
from mailward.publish.gates.base import Progress, Subject
from mailward.publish.gates.files import File, Found, below, identify
from mailward.publish.home import Home
from mailward.scan.engines import all_engines
from mailward.scan.prepared import folder_name

_JOURNALS_KEPT = 5
"""Versions whose progress is remembered; a line has some 200 bytes."""

_FOUND = TypeAdapter(Found)


class Workers(Protocol):
    """Whoever scans: processes here (``local``), or a Dask cluster (``dask_workers``)."""

    def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
        """Scan all ``files``; ``told`` hears of each as it is done, in any order.

        Raises TemporaryError when nobody can scan at the moment, OSError.
        """
        ...


def scan_all(
    subject: Subject, name: str, places: Sequence[Path], workers: Workers, progress: Progress
) -> list[Found]:
    """What the set finds in every file of ``places``; only what is not known yet is scanned.

    ``name``: of the gate, for ``progress``. Raises UsageError if a place is not there,
    TemporaryError, OSError.
    """
    files = [identify(path) for path in below(places)]
    path = _journal_path(subject)
    durable.make_folder(path.parent)
    total = len({file.key for file in files})
    with closing(Journal(path, files)) as journal:
        progress(name, len(journal.done), total)

        def told(found: Sequence[Found]) -> None:
            journal.add(found)
            progress(name, len(journal.done), total)

        todo = journal.todo()
        if todo:
            workers.run(iter(todo), told)
        return journal.answers()


def forget_old(home: Home) -> None:
    """Keep the progress of the newest versions only."""
    if home.checks.is_dir():
        folders = sorted(home.checks.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for folder in folders[:-_JOURNALS_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)


def _journal_path(subject: Subject) -> Path:
    """Where is noted what was scanned with this set, these engines and this release."""
    made_with = [__version__, *(folder_name(engine) for engine in all_engines())]
    digest = hashlib.sha256("\n".join(made_with).encode()).hexdigest()[:12]
    return subject.home.checks / str(subject.manifest.version) / f"scanned-{digest}.jsonl"


class Journal:
    """What was found in files, by their keys; a line is written as soon as it is known."""

    def __init__(self, path: Path, files: Sequence[File]) -> None:
        self._files = files
        wanted = {file.key for file in files}
        self.done = {key: found for key, found in _read(path).items() if key in wanted}
        self._out = path.open("ab", buffering=0)
        if self._out.tell() and not _ends_a_line(path):
            self._out.write(b"\n")  # its last line was cut off

    def todo(self) -> list[File]:
        """Files of which nothing is known, none twice."""
        return list({f.key: f for f in self._files if f.key not in self.done}.values())

    def add(self, found: Sequence[Found]) -> None:
        """Remember. What had trouble is not written down: it is tried again the next time."""
        self.done.update({each.key: each for each in found})
        lines = [json.dumps(asdict(each)).encode() + b"\n" for each in found if not each.trouble]
        if lines:
            self._out.write(b"".join(lines))

    def answers(self) -> list[Found]:
        """For every file, in order, by the path that it has now."""
        nothing = Found("", "", trouble="no worker answered for it")
        return [replace(self.done.get(f.key, nothing), path=f.path, key=f.key) for f in self._files]

    def close(self) -> None:
        """Let go of the file."""
        self._out.close()


def _read(path: Path) -> dict[str, Found]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    known = {}
    for line in lines:
        try:
            found = _FOUND.validate_json(line)
        except ValidationError:
            continue  # cut off when the check was ended
        known[found.key] = found
    return known


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
