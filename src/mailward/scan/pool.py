"""Worker processes that scan: one message to one worker at a time, first come, first served.

What can go wrong stays here: a worker that crashes or hangs is replaced and the message tried once
more (S13); a set that does not load leaves the old one in use (S5); a set is changed in one worker
after the other, between two messages; and when nobody can scan, that is said at once.
"""

import asyncio
import contextlib
import tempfile
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from mailward.config import ScanSettings
from mailward.definitions.sets import StoredSet
from mailward.definitions.store import Store
from mailward.errors import FormatError, MailwardError, ScannerDownError
from mailward.scan.engine import Source
from mailward.scan.part import Role
from mailward.scan.scanner import too_large
from mailward.scan.verdict import Reason, Unopened, Verdict
from mailward.scan.worker_process import WorkerLostError, WorkerProcess

ALL_ENGINES = "mailward.scan.engines:all_engines"

_POLL_S = 0.2
"""How often the store's pointer is looked at: one stat."""
_ATTEMPTS_MAX = 2
"""S13: a message that cost two workers is unscannable."""
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 30.0
"""Between attempts to start a worker that does not start, doubling."""
_CLOSE_TIMEOUT_S = 20.0
"""For messages that are being scanned when the pool is closed."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Job:
    data: bytes | bytearray
    role: Role
    name: str
    answer: asyncio.Future[Verdict]
    began: float = field(default_factory=time.perf_counter)
    attempts: int = 0


@dataclass(slots=True)
class _Slot:
    """The place of one worker, which may be replaced."""

    worker: WorkerProcess | None = None
    down: str = ""
    """Why there is no worker and cannot be one at the moment; empty if there is or will be."""
    failures: int = 0
    """Workers in a row that were lost without having scanned anything."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """It has started a worker, or found that it cannot."""


class ScanPool:
    """The workers. An async context manager; ``scan`` may be called by any number of tasks.

    ``engines``: ``module:callable`` that gives the engines, imported by each worker.
    """

    def __init__(self, store: Store, settings: ScanSettings, engines: str = ALL_ENGINES) -> None:
        self._store = store
        self._settings = settings
        self._engines = engines
        self._jobs: deque[_Job] = deque()
        self._slots: list[_Slot] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted: StoredSet | None = None
        """The active set, as far as we know."""
        self._good: StoredSet | None = None
        """The last one that a worker loaded."""
        self._refused: StoredSet | None = None
        """The active set, if a worker could not load it."""
        self._stamp: tuple[int, int, int] | None = None
        self._announced = ""
        """Version of the last set that all workers were seen to use (S9)."""
        self._swap = asyncio.Lock()
        self._preparing = asyncio.Lock()
        self._remade: dict[Path, tempfile.TemporaryDirectory[str]] = {}
        self._closing = False

    async def __aenter__(self) -> "ScanPool":
        """Start the workers. Returns when each has a set loaded, or cannot have one for now."""
        await self._look()
        self._slots = [_Slot() for _ in range(self._settings.workers)]
        for slot in self._slots:
            task = asyncio.create_task(self._serve(slot))
            task.add_done_callback(partial(self._ended, slot))
            self._tasks.append(task)
        self._tasks.append(asyncio.create_task(self._follow_pointer()))
        try:
            for slot in self._slots:
                await slot.settled.wait()
        except BaseException:
            await self._close(0)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish the messages that are being scanned, within bounds; then end the workers."""
        await self._close(_CLOSE_TIMEOUT_S)

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """Scan one message or file; waits for a free worker.

        Raises ScannerDownError when no worker can scan: no set is active, or none starts.
        """
        if len(data) > self._settings.max_message_bytes:
            return Verdict(unopened=(too_large(len(data), self._settings),))
        down = self._down()
        if down:
            raise ScannerDownError(down)
        job = _Job(data, role, name, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wake_workers()
        return await job.answer

    def sets(self) -> Mapping[str, int]:
        """The version of each set that scans now, and how many workers scan with it (S9)."""
        return Counter(s.worker.version for s in self._slots if s.worker and s.worker.version)

    # --- a worker's life --------------------------------------------------------------------------

    async def _serve(self, slot: _Slot) -> None:
        try:
            while not (self._closing and not self._jobs):
                slot.wake.clear()
                if slot.worker is None and self._closing:
                    return
                if slot.worker is None:
                    await self._start(slot)
                elif not slot.worker.alive:
                    self._lost(slot, "a worker ended while it was idle")
                elif self._is_behind(slot.worker):
                    await self._switch(slot.worker)
                elif (job := self._next_job()) is not None:
                    await self._run(slot, slot.worker, job)
                elif not self._closing:
                    await slot.wake.wait()
        finally:
            if slot.worker is not None:
                await slot.worker.close()

    async def _start(self, slot: _Slot) -> None:
        stored = self._set_to_load()
        if stored is None:
            await self._stay_down(
                slot, "no definition set is active on this computer: run `mailward update`", None
            )
            return
        if slot.failures > 1 or slot.down:
            delay = min(_BACKOFF_FIRST_S * 2**slot.failures, _BACKOFF_MAX_S)
            await self._stay_down(slot, slot.down or "workers end as soon as they start", delay)
            if self._closing:
                return
        try:
            worker = await WorkerProcess.start(self._settings, self._engines, slot.wake.set)
        except OSError as e:
            slot.failures += 1
            slot.down = f"a worker process cannot be started: {e.strerror or e}"
            log.error("worker not started", why=slot.down)
            return
        slot.worker = worker
        try:
            await self._load(worker, stored)
        except (FormatError, WorkerLostError) as e:
            await worker.kill()
            slot.worker = None
            slot.failures += 1
            self._refuse(stored, e)
            if self._good is None:
                slot.down = f"set {stored.version} cannot be loaded: {e}"
            return
        slot.down = ""
        slot.settled.set()

    async def _stay_down(self, slot: _Slot, why: str, seconds: float | None) -> None:
        """Until something changes or the time is over. Nobody waits for what cannot come."""
        slot.down = why
        slot.settled.set()
        down = self._down()
        while down and self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():
                job.answer.set_exception(ScannerDownError(down))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await slot.wake.wait()

    def _lost(self, slot: _Slot, what: str) -> None:
        log.error(what)
        slot.worker = None
        slot.failures += 1

    def _ended(self, slot: _Slot, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("a worker's place is lost", exc_info=task.exception())
            slot.worker, slot.down = None, "an internal error; see the log"
            slot.settled.set()

    # --- a message --------------------------------------------------------------------------------

    def _next_job(self) -> _Job | None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():  # else whoever asked has gone
                return job
        return None

    async def _run(self, slot: _Slot, worker: WorkerProcess, job: _Job) -> None:
        job.attempts += 1
        try:
            verdict = await worker.scan(job.data, job.role, job.name)
        except asyncio.CancelledError:
            await worker.kill()
            if not job.answer.done():
                job.answer.set_exception(ScannerDownError("the scanner was stopped meanwhile"))
            raise
        except WorkerLostError as e:
            slot.worker = None
            self._retry_or_give_up(job, worker.version, e)
            return
        slot.failures = 0
        if not job.answer.done():
            job.answer.set_result(verdict)

    def _retry_or_give_up(self, job: _Job, version: str, lost: WorkerLostError) -> None:
        """S13: once more, on a worker that has nothing else; never for ever."""
        log.error("a worker was lost to a message", why=str(lost), attempt=job.attempts)
        if job.answer.done():
            return
        if job.attempts < _ATTEMPTS_MAX:
            self._jobs.appendleft(job)
            self._wake_workers()
            return
        reason = Reason.TIME if lost.late else Reason.CRASH
        detail = f"the worker that scanned it {lost}, {_ATTEMPTS_MAX} times"
        ms = (time.perf_counter() - job.began) * 1000
        job.answer.set_result(
            Verdict(unopened=(Unopened("message", reason, detail),), set=version, ms=ms)
        )

    # --- sets -------------------------------------------------------------------------------------

    async def _follow_pointer(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await self._look()

    async def _look(self) -> None:
        """Notice that another set was activated. What goes wrong there changes nothing (S5)."""
        try:
            stamp = self._store.pointer_stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            active = await asyncio.to_thread(self._store.active)
        except (MailwardError, OSError) as e:
            log.error("the definition store cannot be read; scanning goes on as it is", why=str(e))
            return
        if active is not None and active != self._wanted:
            self._wanted, self._refused = active, None
            for slot in self._slots:
                slot.wake.set()

    def _set_to_load(self) -> StoredSet | None:
        if self._good is not None and self._refused is not None:
            return self._good
        return self._wanted

    def _is_behind(self, worker: WorkerProcess) -> bool:
        """Whether it is to change its set now: one after the other, the others go on scanning."""
        return (
            self._wanted is not None
            and self._refused is None
            and worker.version != str(self._wanted.version)
            and not self._swap.locked()
        )

    async def _switch(self, worker: WorkerProcess) -> None:
        async with self._swap:
            stored = self._wanted
            if stored is None:
                return
            try:
                await self._load(worker, stored)
            except (FormatError, WorkerLostError) as e:
                self._refuse(stored, e)
        self._wake_workers()  # the next one's turn

    async def _load(self, worker: WorkerProcess, stored: StoredSet) -> None:
        """Raises FormatError, WorkerLostError; its old set stays in use, if the worker lives."""
        remade = self._remade.get(stored.prepared)
        prepared = Path(remade.name) if remade is not None else stored.prepared
        missing = await worker.load(str(stored.version), prepared)
        if missing:
            prepared = await self._prepare_anew(stored, missing)
            if await worker.load(str(stored.version), prepared):
                raise FormatError("engines find no prepared files even after preparing")
        self._good = stored
        versions = self.sets()
        if len(versions) == 1 and worker.version != self._announced:
            self._announced = worker.version
            log.info("scanning uses set", set=worker.version, workers=versions[worker.version])

    async def _prepare_anew(self, stored: StoredSet, missing: list[str]) -> Path:
        """The same set for engines that were changed since its trial, in a folder of our own.

        Made by a process that ends with it: those that scan may write nothing.
        """
        log.warning(
            "prepared files are missing, the engines are newer than the set's trial; preparing",
            set=str(stored.version),
            engines=missing,
        )
        async with self._preparing:
            if stored.prepared not in self._remade:  # else another worker did it meanwhile
                folder = tempfile.TemporaryDirectory(prefix="mailward-prepared-")
                try:
                    sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                    await self._prepare(sources, Path(folder.name))
                except BaseException:
                    folder.cleanup()
                    raise
                self._remade[stored.prepared] = folder
        return Path(self._remade[stored.prepared].name)

    async def _prepare(self, sources: list[Source], into: Path) -> None:
        try:
            preparer = await WorkerProcess.start(self._settings, self._engines, lambda: None)
        except OSError as e:
            raise WorkerLostError(f"could not be started: {e.strerror or e}") from e
        try:
            await preparer.prepare(sources, into)
        finally:
            await preparer.close()

    def _refuse(self, stored: StoredSet, why: Exception) -> None:
        log.error(
            "a set cannot be loaded; the one before it stays in use",
            set=str(stored.version),
            in_use=str(self._good.version) if self._good else None,
            why=str(why),
        )
        if stored is self._wanted and stored != self._good:
            self._refused = stored

    # --- all of them ------------------------------------------------------------------------------

    def _down(self) -> str:
        """Why no worker can scan; empty if one can, or will soon."""
        if self._closing or not self._slots:
            return "the scanner is not running"
        reasons = [slot.down for slot in self._slots]
        return reasons[0] if all(reasons) else ""

    def _wake_workers(self) -> None:
        for slot in self._slots:
            if slot.worker is not None:  # one that is down must not try at every message
                slot.wake.set()

    async def _close(self, timeout_s: float) -> None:
        self._closing = True
        follower = self._tasks.pop()
        follower.cancel()
        for slot in self._slots:
            slot.wake.set()
        await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, follower, return_exceptions=True)
        for job in self._jobs:
            if not job.answer.done():
                job.answer.set_exception(ScannerDownError("the scanner is not running"))
        for folder in self._remade.values():
            folder.cleanup()
