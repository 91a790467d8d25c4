"""What happened to messages: JSON lines on disk and rows to search, off the path of the mail.

``EventLog.record`` puts an event on a bounded queue and returns; a thread of its own writes them in
batches, the file first. A clean stop writes everything. When the disk or the database cannot keep
up, the oldest waiting events are dropped and their number is logged: the mail never waits.

::

    <folder>/events.jsonl       what happened, newest last; events.jsonl.1 is the one before
"""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from mailward import durable
from mailward.errors import MailwardError
from mailward.settings.protect import EventSettings

log = structlog.get_logger(__name__)

_WAITING_MAX = 50_000
"""Events that wait for the disk or the database, about 1 KB each."""
_BATCH_MAX = 1000
_IDLE_S = 0.5
"""Between looks at the queue: rows are on disk within that of what they tell."""
_RETRY_S = 5.0
"""Before a database that failed is asked again."""


Row = Mapping[str, Any]
"""An event with ``at`` and ``node``."""

Insert = Callable[[Sequence[Row]], None]
"""Puts rows into the database. Raises MailwardError or OSError: they are offered again.

At first it gets none, to open the database: tables may have to be made or changed, which takes half
a second of processor time that the first messages would wait for.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one message."""

    event: str
    """``message`` (a door answered for it), ``released``, ``deleted``, ``expired``,
    ``notified``, ``requested`` or ``false-positive``."""
    door: str
    """``smtp``, ``milter``, ``clamd``, ``command`` …"""
    trace_id: str = ""
    """Ours; in the ``Received`` field, or the id in quarantine."""
    queue_id: str = ""
    """The mail server's, where a door knows it."""
    message_id: str = ""
    client: str = ""
    """IP address."""
    helo: str = ""
    """What the client called itself."""
    login: str = ""
    """Who authenticated at the mail server in front, where a door knows it."""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    size_bytes: int = 0
    verdict: str = ""
    risks: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    """One for each group of recipients that the policy treated alike."""
    rule: tuple[str, ...] = ()
    set_version: str = ""
    answer: str = ""
    """What the other side heard."""
    ms: float = 0.0


class EventLog:
    """A context manager: inside, events are written; on leaving, everything is."""

    def __init__(
        self, folder: Path, settings: EventSettings, node: str, insert: Insert | None = None
    ) -> None:
        self._file = folder / "events.jsonl"
        self._max_bytes = settings.max_bytes
        self._insert = insert
        self._node = node
        self._waiting: deque[Row] = deque()
        self._for_database: deque[Row] = deque()
        self._opened = False
        self._dropped = 0
        self._failing = ""
        self._ask_again = datetime.min.replace(tzinfo=UTC)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)

    def __enter__(self) -> "EventLog":
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what waits."""
        self._stop.set()
        self._thread.join()

    def record(self, event: Event) -> None:
        """Note an event. Never waits, never fails."""
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append({"at": datetime.now(UTC), "node": self._node, **asdict(event)})

    def _write_all(self) -> None:
        self._write()  # opens the database
        while not self._stop.wait(_IDLE_S):
            self._write()
        self._ask_again = datetime.min.replace(tzinfo=UTC)  # once more, whatever it said before
        self._write()

    def _write(self) -> None:
        try:
            while batch := _take(self._waiting, _BATCH_MAX):
                try:
                    self._append(batch)
                except OSError:
                    self._waiting.extendleft(reversed(batch))
                    raise
                if self._insert is not None:
                    self._for_database.extend(batch)
            while self._insert is not None and datetime.now(UTC) >= self._ask_again:
                rows = list(self._for_database)[:_BATCH_MAX]
                if not rows and self._opened:
                    break
                self._insert(rows)
                self._opened = True
                _take(self._for_database, len(rows))
            self._said_that_it_works()
        except (MailwardError, OSError) as e:
            self._ask_again = datetime.now(UTC) + timedelta(seconds=_RETRY_S)
            if not self._failing:
                self._failing = str(e)
                log.error("events cannot be written; the mail goes on", why=self._failing)
        while len(self._for_database) > _WAITING_MAX:
            self._for_database.popleft()
            self._dropped += 1

    def _said_that_it_works(self) -> None:
        if self._failing and datetime.now(UTC) >= self._ask_again:
            log.warning("events are written again", lost=self._dropped)
            self._failing, self._dropped = "", 0

    def _append(self, batch: Sequence[Row]) -> None:
        lines = b"".join(json.dumps(row, default=_plain).encode() + b"\n" for row in batch)
        durable.make_folder(self._file.parent.parent)
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        with durable.alone(self._file.with_suffix(".lock")):  # several processes write one file
            if _size(self._file) + len(lines) > self._max_bytes and _size(self._file):
                os.replace(self._file, self._file.with_suffix(".jsonl.1"))
            fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                durable.write_all(fd, lines)
            finally:
                os.close(fd)


def _take(queue: deque[Row], count: int) -> list[Row]:
    return [queue.popleft() for _ in range(min(count, len(queue)))]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
