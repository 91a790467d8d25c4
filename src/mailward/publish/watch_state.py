"""How `repo watch` fares: ``watch.json``, written by it after each thing that it does."""

import fcntl
import os
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import structlog
from pydantic import Field

from mailward import durable
from mailward.definitions.model import Moment, Text, Value, read_value
from mailward.errors import FormatError, PublishError
from mailward.publish.home import Home

_STATE_MAX_BYTES = 1024 * 1024

log = structlog.get_logger(__name__)


class JobState(Value):
    """One of the things that it does by itself."""

    ran_at: Moment
    """When it was last done."""
    succeeded_at: Moment | None = None
    failing_since: Moment | None = None
    """None while it succeeds."""
    result: Text = ""
    """What came out, or why it failed, in words."""
    took_s: float = 0.0


class WatchState(Value):
    """All of them."""

    pid: Annotated[int, Field(ge=1)]
    started_at: Moment
    stopped_at: Moment | None = None
    """Set when it was told to stop; missing if it runs, or died."""
    jobs: dict[str, JobState] = Field(default_factory=dict)
    """``rapid``, ``certified``, ``refresh``, ``prune``."""

    @classmethod
    def load(cls, home: Home) -> "WatchState | None":
        """The last that was written, None if it never ran. Raises PublishError."""
        path = home.folder / "watch.json"
        try:
            return read_value(cls, path.read_bytes(), _STATE_MAX_BYTES, "watch.json")
        except FileNotFoundError:
            return None
        except FormatError as e:
            raise PublishError(f"{path} is damaged ({e}): remove it") from e

    def save(self, home: Home) -> None:
        """Replace what was written before. Raises OSError."""
        durable.write_atomic(home.folder / "watch.json", self.to_json())

    def problems(self, *, running: bool) -> list[str]:
        """What wants attention, in words."""
        found = [
            f"watch: {name} has been failing since {job.failing_since:%Y-%m-%d %H:%M} UTC:"
            f" {job.result}"
            for name, job in sorted(self.jobs.items())
            if job.failing_since is not None
        ]
        if not running and self.stopped_at is None:
            found.append(f"watch: process {self.pid} is gone without having been told to stop")
        return found


def is_running(home: Home) -> bool:
    """Whether a `repo watch` holds its lock."""
    try:
        fd = os.open(home.watch_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


class Ledger:
    """``watch.json``, written by several threads."""

    def __init__(self, home: Home, now: Callable[[], datetime]) -> None:
        self._home = home
        self._now = now
        self._lock = threading.Lock()
        before = WatchState.load(home)
        self._state = WatchState(
            pid=os.getpid(), started_at=now(), jobs=before.jobs if before else {}
        )
        self._save()

    def last_certified(self) -> datetime:
        """When certified had its turn last; now, if it never had."""
        job = self._state.jobs.get("certified")
        return min(job.ran_at, self._now()) if job else self._now()

    def note(self, job: str, good: bool, result: str, took_s: float) -> bool:
        """Put down how a job went; whether that is news: it fails now, for another reason, or no
        longer."""
        now = self._now()
        with self._lock:
            before = self._state.jobs.get(job)
            was_failing = before.failing_since if before else None
            state = JobState(
                ran_at=now,
                succeeded_at=now if good else before.succeeded_at if before else None,
                failing_since=None if good else was_failing or now,
                result=result,
                took_s=round(took_s, 3),
            )
            self._state = self._state.model_copy(update={"jobs": self._state.jobs | {job: state}})
            self._save()
        if good or was_failing is None:
            return good == (was_failing is not None)
        return before is not None and before.result != result

    def stopped(self) -> None:
        """It was told to stop, and did."""
        with self._lock:
            self._state = self._state.model_copy(update={"stopped_at": self._now()})
            self._save()

    def _save(self) -> None:
        try:
            self._state.save(self._home)
        except OSError as e:
            # A full disk must not stop the timestamps; the log has it all.
            log.error("watch.json cannot be written", reason=str(e))
