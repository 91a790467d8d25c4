"""Worker processes that scan: one message to one worker at a time, first come, first served.

What can go wrong stays here: a worker that crashes or hangs is replaced and the message tried once
more (S13); a set that does not load leaves the old one in use (S5); a set is changed in one worker
after the other, between two messages; and when nobody can scan, that is said at once.

While a fresh set is watched (``compare_with``), a message that costs it workers is also tried with
the set before: so the watch knows whether the message or the set is at fault.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import structlog

from mailward.definitions.ignored import IgnoreList, is_ignored
from mailward.definitions.sets import StoredSet
from mailward.definitions.store import Store
from mailward.errors import FormatError, MailwardError, ScannerDownError
from mailward.scan.counts import SetCounts, Tallies
from mailward.scan.jobs import Job, Slot
from mailward.scan.part import Role
from mailward.scan.remade import Remade
from mailward.scan.scanner import too_large
from mailward.scan.verdict import Reason, Unopened, Verdict
from mailward.scan.worker_parent import WorkerParent
from mailward.scan.worker_process import WorkerLostError, WorkerProcess
from mailward.settings.scan import ScanSettings

ALL_ENGINES = "mailward.scan.engines:all_engines"

_POLL_S = 0.2
"""How often the store's pointer is looked at: one stat."""
_ATTEMPTS_MAX = 2
"""S13: a message that cost two workers is unscannable."""
_LOAD_ATTEMPTS_MAX = 2
"""A worker that ends while it loads a set may have been ended by something else."""
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MAX_S = 30.0
"""Between attempts to start a worker that does not start, doubling."""
_CLOSE_TIMEOUT_S = 20.0
"""For messages that are being scanned when the pool is closed."""

log = structlog.get_logger(__name__)


class ScanPool:
    """The workers. An async context manager; ``scan`` may be called by any number of tasks.

    ``engines``: ``module:callable`` that gives the engines, imported once for all workers.
    """

    def __init__(self, store: Store, settings: ScanSettings, engines: str = ALL_ENGINES) -> None:
        self._store = store
        self._settings = settings
        self._parent = WorkerParent(settings, engines)
        self._jobs: deque[Job] = deque()
        self._slots: list[Slot] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted: StoredSet | None = None
        """The active set, as far as we know."""
        self._good: StoredSet | None = None
        """The last one that a worker loaded."""
        self._refused: StoredSet | None = None
        """The active set, if a worker could not load it, or if it was left."""
        self._instead: StoredSet | None = None
        """An earlier one, if the active set cannot be loaded and nothing else was."""
        self._unloadable: set[str] = set()
        """Versions, of the active set and of those before it."""
        self._compared: StoredSet | None = None
        """The set before, while the active one is watched."""
        self._stamp: tuple[int, int, int] | None = None
        self._ignore_list = IgnoreList(store.folder)
        self._ignored_stamp: tuple[int, int, int] | None = None
        self._ignored: frozenset[str] = frozenset()
        self._tallies = Tallies()
        self._verdicts = Counter[str]()
        self._workers_lost = 0
        self._announced = ""
        """Version of the last set that all workers were seen to use (S9)."""
        self._swap = asyncio.Lock()
        self._remade = Remade(self._parent)
        self._closing = False

    async def __aenter__(self) -> "ScanPool":
        """Start the workers. Returns when each has a set loaded, or cannot have one for now."""
        await self._look()
        self._slots = [Slot() for _ in range(self._settings.workers)]
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
        down = self.down()
        if down:
            raise ScannerDownError(down)
        job = Job(data, role, name, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wake_workers()
        return await job.answer

    def sets(self) -> Mapping[str, int]:
        """The version of each set that scans now, and how many workers scan with it (S9)."""
        return Counter(s.worker.version for s in self._slots if s.worker and s.worker.version)

    def counts(self, version: str) -> SetCounts:
        """How scanning with a set has gone since the pool was made."""
        return self._tallies.now(version)

    @property
    def verdicts(self) -> Mapping[str, int]:
        """How many messages got each verdict."""
        return self._verdicts

    @property
    def workers_lost(self) -> int:
        """How many workers ended, or had to be ended, since the pool was made."""
        return self._workers_lost

    def down(self) -> str:
        """Why no worker can scan; empty if one can, or will soon."""
        if self._closing or not self._slots:
            return "the scanner is not running"
        reasons = [slot.down for slot in self._slots]
        return reasons[0] if all(reasons) else ""

    def compare_with(self, before: StoredSet | None) -> None:
        """Try what costs the active set its workers with this set, too; None: no longer."""
        self._compared = before

    def leave(self, version: str, before: StoredSet) -> None:
        """Scan with ``before`` until another set than ``version`` is activated.

        What the watch does at once; the pointer follows when the store can be written (S5).
        """
        if self._wanted is None or str(self._wanted.version) != version:
            return
        self._refused, self._good, self._compared = self._wanted, before, None
        for slot in self._slots:
            slot.wake.set()

    # --- a worker's life --------------------------------------------------------------------------

    async def _serve(self, slot: Slot) -> None:
        try:
            while not (self._closing and not self._jobs):
                slot.wake.clear()
                if slot.worker is None and self._closing:
                    return
                if slot.worker is None:
                    await self._start(slot)
                elif not slot.worker.alive:
                    self._lost_idle(slot, slot.worker)
                elif slot.comparing is not None:
                    compared, slot.comparing = slot.comparing[0], None
                    await self._run(slot, slot.worker, compared)
                elif self._is_behind(slot.worker):
                    await self._switch(slot.worker)
                elif (job := self._next_job()) is not None:
                    await self._run(slot, slot.worker, job)
                elif not self._closing:
                    await slot.wake.wait()
        finally:
            if slot.comparing is not None:
                self._give_up(slot.comparing[0])
            if slot.worker is not None:
                await slot.worker.close()

    async def _start(self, slot: Slot) -> None:
        if slot.comparing is not None:
            await self._start_comparing(slot, *slot.comparing)
            return
        stored = self._target()
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
            worker = await WorkerProcess.start(self._parent, slot.wake.set)
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
            if self._refused is not None and not await self._has_another(stored):
                slot.down = f"set {stored.version} cannot be loaded: {e}"
            return
        slot.down = ""
        slot.settled.set()

    async def _start_comparing(self, slot: Slot, job: Job, before: StoredSet) -> None:
        """A worker with the set before, for this message; then it changes to the active one."""
        try:
            worker = await WorkerProcess.start(self._parent, slot.wake.set)
            try:
                await self._load_into(worker, before)
            except BaseException:
                await worker.kill()
                raise
        except (FormatError, WorkerLostError, OSError) as e:
            log.warning("the set before cannot be tried", set=str(before.version), why=str(e))
            slot.comparing = None
            self._give_up(job)
            return
        slot.worker = worker

    async def _stay_down(self, slot: Slot, why: str, seconds: float | None) -> None:
        """Until something changes or the time is over. Nobody waits for what cannot come."""
        slot.down = why
        slot.settled.set()
        down = self.down()
        while down and self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():
                job.answer.set_exception(ScannerDownError(down))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await slot.wake.wait()

    def _lost_idle(self, slot: Slot, worker: WorkerProcess) -> None:
        log.error("a worker ended while it was idle", set=worker.version)
        self._workers_lost += 1
        self._tallies.of(worker.version).by_chance += 1
        slot.worker = None
        slot.failures += 1

    def _ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.critical("a worker's place is lost", exc_info=task.exception())
            slot.worker, slot.down = None, "an internal error; see the log"
            slot.settled.set()

    # --- a message --------------------------------------------------------------------------------

    def _next_job(self) -> Job | None:
        while self._jobs:
            job = self._jobs.popleft()
            if not job.answer.done():  # else whoever asked has gone
                return job
        return None

    async def _run(self, slot: Slot, worker: WorkerProcess, job: Job) -> None:
        try:
            verdict, cpu_ms = await worker.scan(job.data, job.role, job.name)
        except asyncio.CancelledError:
            await worker.kill()
            if not job.answer.done():
                job.answer.set_exception(ScannerDownError("the scanner was stopped meanwhile"))
            raise
        except WorkerLostError as e:
            slot.worker = None
            self._workers_lost += 1
            self._retry_or_give_up(slot, job, worker.version, e)
            return
        slot.failures = 0
        tally = self._tallies.of(worker.version)
        tally.scanned(len(job.data), cpu_ms)
        if job.lost_with:
            verdict = self._scanned_after_all(job, worker.version, verdict)
        self._answer(job, verdict)

    def _answer(self, job: Job, verdict: Verdict) -> None:
        if self._ignored and verdict.risks:
            verdict = verdict.without(lambda r: is_ignored(r.name, r.signatures, self._ignored))
        self._verdicts[verdict.kind.value] += 1
        if not job.answer.done():
            job.answer.set_result(verdict)

    def _retry_or_give_up(self, slot: Slot, job: Job, version: str, lost: WorkerLostError) -> None:
        """S13: once more, on a worker that has nothing else; never for ever.

        A fresh set's message is then tried with the set before, also if nobody waits for it any
        more: a hang costs a minute, and some clients are gone by then. One that took too long was
        no accident: it is tried with the set before at once.
        """
        job.lost_with.append(version)
        job.late, job.how = job.late or lost.late, str(lost)
        attempt = len(job.lost_with)
        log.error("a worker was lost to a message", why=str(lost), set=version, attempt=attempt)
        before = self._compared
        again = attempt < _ATTEMPTS_MAX
        if (
            before is not None
            and str(before.version) not in job.lost_with
            and (lost.late or not again)
        ):
            slot.comparing = job, before
        elif again and not job.answer.done():
            self._jobs.appendleft(job)
            self._wake_workers()
        else:
            self._give_up(job)

    def _give_up(self, job: Job) -> None:
        """It cost workers whatever it was scanned with, as far as could be tried."""
        for version in set(job.lost_with):
            self._tallies.of(version).not_blamed += 1
        ms = (time.perf_counter() - job.began) * 1000
        at_fault = self._unscannable(job)
        self._answer(job, Verdict(unopened=(at_fault,), set=job.lost_with[-1], ms=ms))

    def _scanned_after_all(self, job: Job, version: str, verdict: Verdict) -> Verdict:
        """Blames the set that it cost workers, if it was another one.

        What the set before found holds; what the fresh one would have found nobody knows, so the
        message is unscannable all the same (S11).
        """
        others = set(job.lost_with) - {version}
        compared = self._compared is not None and str(self._compared.version) == version
        if not others or not compared:
            for each in job.lost_with:
                self._tallies.of(each).by_chance += 1
            return verdict
        for other in others:
            tally = self._tallies.of(other)
            tally.blamed += 1
            tally.blamed_late += job.late
        return replace(verdict, unopened=(*verdict.unopened, self._unscannable(job)))

    def _unscannable(self, job: Job) -> Unopened:
        detail = (
            f"the worker that scanned it {job.how}, {len(job.lost_with)} times, "
            f"with set {' and '.join(dict.fromkeys(job.lost_with))}"
        )
        return Unopened("message", Reason.TIME if job.late else Reason.CRASH, detail)

    # --- sets -------------------------------------------------------------------------------------

    async def _follow_pointer(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            await self._look()

    async def _look(self) -> None:
        """Notice that another set was activated, or that the administrator ignores others.

        What goes wrong there changes nothing (S5).
        """
        try:
            ignored = self._ignore_list.stamp()
            if ignored != self._ignored_stamp:
                self._ignored_stamp = ignored
                self._ignored = frozenset(await asyncio.to_thread(self._ignore_list.read))
            stamp = self._store.pointer_stamp()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            active = await asyncio.to_thread(self._store.active)
        except (MailwardError, OSError) as e:
            log.error("the definition store cannot be read; scanning goes on as it is", why=str(e))
            return
        if active is not None and active != self._wanted:
            self._wanted, self._refused, self._compared = active, None, None
            self._instead, self._unloadable = None, set()
            for slot in self._slots:
                slot.wake.set()

    def _target(self) -> StoredSet | None:
        """The set that workers are to have."""
        if self._refused is not None:
            return self._good or self._instead or self._wanted
        return self._wanted

    def _is_behind(self, worker: WorkerProcess) -> bool:
        """Whether it is to change its set now: one after the other, the others go on scanning."""
        target = self._target()
        return (
            target is not None and worker.version != str(target.version) and not self._swap.locked()
        )

    async def _switch(self, worker: WorkerProcess) -> None:
        async with self._swap:
            stored = self._target()
            if stored is None:
                return
            try:
                await self._load(worker, stored)
            except (FormatError, WorkerLostError) as e:
                self._refuse(stored, e)
        self._wake_workers()  # the next one's turn

    async def _load(self, worker: WorkerProcess, stored: StoredSet) -> None:
        """Raises FormatError, WorkerLostError; its old set stays in use, if the worker lives."""
        await self._load_into(worker, stored)
        if stored != self._refused:  # else it was left while this worker was loading it
            self._good = stored
        versions = self.sets()
        if len(versions) == 1 and worker.version != self._announced:
            self._announced = worker.version
            log.info("scanning uses set", set=worker.version, workers=versions[worker.version])

    async def _has_another(self, failed: StoredSet) -> bool:
        """Whether there is a set to scan with while the active one cannot be loaded (S5)."""
        if self._good is not None:
            return True
        self._unloadable.add(str(failed.version))
        try:
            before = await asyncio.to_thread(self._store.whole_before)
        except (MailwardError, OSError) as e:
            log.error("the sets before cannot be read", why=str(e))
            return False
        left = (stored for stored in before if str(stored.version) not in self._unloadable)
        self._instead = next(left, None)
        return self._instead is not None

    async def _load_into(self, worker: WorkerProcess, stored: StoredSet) -> None:
        remade = self._remade.of(stored)
        try:
            missing = await worker.load(str(stored.version), remade or stored.prepared)
        except FormatError as e:
            if remade is not None:
                raise
            missing = [str(e)]
        if missing:
            prepared = await self._remade.make(stored, missing)
            if await worker.load(str(stored.version), prepared):
                raise FormatError("engines find no prepared files even after preparing")

    def _refuse(self, stored: StoredSet, why: Exception) -> None:
        log.error(
            "a set cannot be loaded; the one before it stays in use",
            set=str(stored.version),
            in_use=str(self._good.version) if self._good else None,
            why=str(why),
        )
        tally = self._tallies.of(str(stored.version))
        tally.load_failures += 1
        tally.load_error = str(why)
        once_more = isinstance(why, WorkerLostError) and tally.load_failures < _LOAD_ATTEMPTS_MAX
        if stored is self._wanted and stored != self._good and not once_more:
            self._refused = stored

    # --- all of them ------------------------------------------------------------------------------

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
        await self._parent.close()
        self._remade.cleanup()
