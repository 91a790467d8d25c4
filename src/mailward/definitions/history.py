"""What happened in a store, one JSON line each: ``history.jsonl``, and one older file beside it.

The store itself writes ``staged``, ``proved``, ``trial-failed``, ``activated``, ``rolled-back``,
``refused`` and ``pruned``; whoever holds the writer adds events of its own with ``note``. A line
that power loss or a full disk cut short is skipped by readers, and the next line begins anew.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailward import durable
from mailward.definitions.model import Version
from mailward.errors import FormatError

HISTORY_MAX_BYTES = 10 * 1024 * 1024
"""Of one file, about 40,000 lines; then it becomes the older one, and that is forgotten."""

_LINE_MAX_BYTES = 64 * 1024
"""Longer ones are shortened to what they are about."""

_REASON_MAX = 2000


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    at: datetime
    event: str
    version: Version | None = None
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)


class History:
    """The lines of one store. Appending needs the store's lock; reading needs nothing."""

    def __init__(self, path: Path, max_bytes: int = HISTORY_MAX_BYTES) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._max_bytes = max_bytes

    def read(self, limit: int | None = None) -> list[Event]:
        """The last ``limit`` events (None: all), newest last. Raises OSError."""
        newest_first: list[Event] = []
        for line in self._lines_backwards():
            if limit is not None and len(newest_first) >= limit:
                break
            event = _parse(line)
            if event is not None:
                newest_first.append(event)
        return newest_first[::-1]

    def append(self, event: str, details: dict[str, Any]) -> None:
        """Add a line, durably. Raises OSError."""
        line = _line(event, details)
        self._rotate_if_full(len(line))
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # the line before was cut short: begin anew
            durable.write_all(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
        if size == 0:
            durable.fsync_folder(self._path.parent)

    def _rotate_if_full(self, coming_bytes: int) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size and size + coming_bytes > self._max_bytes:
            durable.publish(self._path, self._older)

    def _lines_backwards(self) -> Iterator[bytes]:
        current, inode = _read(self._path)
        yield from reversed(current.split(b"\n"))
        older, older_inode = _read(self._older)
        if older_inode != inode:  # the same: it was moved there between the two reads
            yield from reversed(older.split(b"\n"))


def _read(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            file.seek(max(0, stat.st_size - 2 * HISTORY_MAX_BYTES))
            return file.read(2 * HISTORY_MAX_BYTES), stat.st_ino
    except FileNotFoundError:
        return b"", 0


def _line(event: str, details: dict[str, Any]) -> bytes:
    head = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
    said = {key: value for key, value in details.items() if value is not None}
    line = _dump(head | said)
    if len(line) > _LINE_MAX_BYTES:
        about = {k: str(said[k])[:_REASON_MAX] for k in ("version", "reason") if k in said}
        line = _dump(head | about | {"shortened": True})
    return line


def _dump(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, default=str).encode() + b"\n"


def _parse(line: bytes) -> Event | None:
    """The event of a line; None if it is damaged."""
    if not line:
        return None
    try:
        plain = json.loads(line)
        at, event = datetime.fromisoformat(plain.pop("at")), plain.pop("event")
        version, reason = plain.pop("version", None), plain.pop("reason", "")
        if at.tzinfo is None or not isinstance(event, str) or not isinstance(reason, str):
            return None
        return Event(at, event, Version.parse(version) if version else None, reason, plain)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError):
        return None
