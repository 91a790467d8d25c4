"""What a pool of workers keeps about each message that waits, and about each worker's place."""

import asyncio
import time
from dataclasses import dataclass, field

from mailward.definitions.sets import StoredSet
from mailward.scan.part import Role
from mailward.scan.verdict import Verdict
from mailward.scan.worker_process import WorkerProcess


@dataclass(slots=True)
class Job:
    """A message, and what it has cost."""

    data: bytes | bytearray
    role: Role
    name: str
    answer: asyncio.Future[Verdict]
    began: float = field(default_factory=time.perf_counter)
    lost_with: list[str] = field(default_factory=list)
    """The version of each worker that it cost."""
    late: bool = False
    """It took too long, at least once."""
    how: str = ""
    """The last one's end."""


@dataclass(slots=True)
class Slot:
    """The place of one worker, which may be replaced."""

    worker: WorkerProcess | None = None
    down: str = ""
    """Why there is no worker and cannot be one at the moment; empty if there is or will be."""
    failures: int = 0
    """Workers in a row that were lost without having scanned anything."""
    comparing: tuple[Job, StoredSet] | None = None
    """A message for the next worker here, and the set to try it with."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It has started a worker, or found that it cannot."""
