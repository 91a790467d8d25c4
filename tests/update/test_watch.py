"""The watch after an activation: the judgement on counters, and the deed with real workers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.definitions.history import Event
from mailward.definitions.model import Version
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.scan.counts import SetCounts, Tally
from mailward.scan.engine import Source
from mailward.scan.pool import ScanPool
from mailward.scan.prepared import prepare
from mailward.scan.verdict import Reason, VerdictKind
from mailward.settings.scan import ScanSettings
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.testing import (
    BURN_ON,
    CRASH,
    CRASH_ON,
    EICAR,
    HANG_ON,
    LOAD_FAILS,
    fake_engines,
    message,
)
from mailward.update.watch import (
    ENOUGH,
    LEFT_MAX,
    WATCH_MAX,
    Judgement,
    Standing,
    Watch,
    judge,
    must_stay,
)

MINUTES = timedelta(minutes=1)
TEN = 10 * MINUTES


def counted(
    scans: list[tuple[int, float]] | None = None, *, times: int = 1, **counts: int
) -> SetCounts:
    tally = Tally()
    for size, ms in (scans or []) * times:
        tally.scanned(size, ms)
    for name, count in counts.items():
        setattr(tally, name, count)
    return tally.now()


NONE = SetCounts()


def standing(after: SetCounts, before: SetCounts = NONE, elapsed: timedelta = MINUTES) -> Standing:
    return judge(after, before, elapsed, TEN).standing


SMALL, LARGE = 3_000, 3_000_000
QUICK = [(SMALL, 2.0)]
BIG = (LARGE, 900.0)


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (counted(blamed=3, messages=10), counted()),
        (counted(blamed=3, messages=0), counted()),
        (counted(blamed=3, blamed_late=3, messages=200), counted(messages=10_000)),
        (counted(load_failures=1), counted()),
        (counted(by_chance=5, messages=100), counted(by_chance=1, messages=1000)),
        (counted(by_chance=5, messages=0), counted(messages=100)),
        (counted([(SMALL, 7.0)], times=100), counted(QUICK, times=100)),
        (counted([(SMALL, 7.0), BIG], times=60), counted([(SMALL, 2), (LARGE, 90)], times=60)),
    ],
    ids=["crashes", "crashes at once", "hangs", "not loaded", "workers end", "workers end idle",
         "slow", "slow by class"],
)  # fmt: skip
def test_a_set_that_is_worse_than_the_one_before_is_bad(
    after: SetCounts, before: SetCounts
) -> None:
    assert standing(after, before) is Standing.BAD


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (counted(), counted()),
        (counted(blamed=2, messages=2), counted()),
        (counted(blamed=3, messages=1000), counted()),
        (counted(not_blamed=500, messages=500), counted(messages=10_000)),
        (counted(blamed=5, blamed_late=5, messages=95), counted(by_chance=40, messages=1000)),
        (counted(by_chance=4, messages=10), counted(messages=1000)),
        (counted(by_chance=50, messages=1000), counted(by_chance=20, messages=1000)),
        (counted(by_chance=50, messages=1000), counted(messages=99)),
        (counted([(SMALL, 900)], times=99), counted(QUICK, times=10_000)),
        (counted([(SMALL, 900)], times=10_000), counted(QUICK, times=99)),
        (counted([(SMALL, 4.5)], times=500), counted([(SMALL, 0.1)], times=500)),
        (counted([(SMALL, 10.0)], times=500), counted([(SMALL, 5.0)], times=500)),
        (counted([(LARGE, 900)], times=500), counted(QUICK, times=500)),
        (counted([(SMALL, 6), (SMALL, 6), BIG], times=200), counted([(SMALL, 5)], times=600)),
    ],
    ids=["nothing yet", "two messages", "three in a thousand", "poison", "out of breath",
         "few workers",
         "as many workers", "no rate before", "too few after", "too few before", "negligible",
         "twice as slow", "larger mail", "a few very slow messages"],
)  # fmt: skip
def test_noise_and_messages_that_every_set_fails_on_are_not_held_against_it(
    after: SetCounts, before: SetCounts
) -> None:
    assert standing(after, before) is Standing.WATCHED


def test_it_is_good_when_the_time_is_over_and_enough_messages_were_scanned() -> None:
    some, enough = counted(messages=ENOUGH - 1), counted(messages=ENOUGH)
    assert standing(enough, elapsed=9 * MINUTES) is Standing.WATCHED
    assert standing(enough, elapsed=TEN) is Standing.GOOD
    assert standing(some, elapsed=TEN) is Standing.WATCHED
    assert standing(some, elapsed=WATCH_MAX) is Standing.GOOD


def test_who_sends_crash_messages_after_each_update_holds_back_two_sets_and_no_more() -> None:
    by_messages = judge(counted(blamed=3, messages=3), counted(), MINUTES, TEN)
    left = [Event(datetime.now(UTC), "rolled-back")] * LEFT_MAX
    before = Version.parse("20260101.001")
    assert must_stay(by_messages, chosen="", before=before, left=left[1:]) is None
    assert "hold definitions back" in str(
        must_stay(by_messages, chosen="", before=before, left=left)
    )
    not_loaded = judge(counted(load_failures=1), counted(), MINUTES, TEN)
    assert must_stay(not_loaded, chosen="", before=before, left=left) is None


def test_what_the_administrator_chose_stays_and_so_does_what_has_nothing_before_it() -> None:
    bad = Judgement(Standing.BAD, "hangs")
    before = Version.parse("20260101.001")
    assert must_stay(bad, chosen="chosen", before=before, left=()) == "chosen"
    assert "no set to go back to" in str(must_stay(bad, chosen="", before=None, left=()))


# --- with real workers ----------------------------------------------------------------------------

OLD, NEW, NEXT = "20261123.001", "20261123.002", "20261123.003"
ODD = b"an odd attachment"
ODD_MAIL = message(text=ODD.decode())
CLEAN = message()


class Site:
    """A store, a pool of real workers, and a watch with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
        self.pool: ScanPool
        self.watch: Watch
        self.ahead = timedelta(0)
        self.workers = 1

    def activate(self, version: str, *patterns: bytes, by_administrator: bool = False) -> None:
        with self.store.writer("test") as writer:
            stored = stage(writer, sample_set(version, {"fake": b"\n".join(patterns)}))
            with writer.workspace() as workspace:
                sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                prepare(sources, fake_engines(), workspace)
                writer.record_trial(stored.version, sample_trial(stored.version), workspace)
            writer.activate(stored.version, "test", by_administrator=by_administrator)

    @asynccontextmanager
    async def scanning(self, **settings: float) -> AsyncIterator[None]:
        limits = ScanSettings.model_validate({"workers": 1, **settings})
        self.workers = limits.workers
        pool = ScanPool(self.store, limits, "mailward.testing:fake_engines")
        async with pool:
            self.pool = pool
            self.watch = Watch(
                UpdateSettings(), self.store, pool, lambda: datetime.now(UTC) + self.ahead
            )
            await self.watch.look()
            yield

    async def until_it_scans_with(self, version: str) -> None:
        await _until(lambda: self.pool.sets() == {version: self.workers})
        await self.watch.look()

    async def scan(self, data: bytes, times: int = 1) -> set[VerdictKind]:
        return {v.kind for v in await asyncio.gather(*(self.pool.scan(data) for _ in range(times)))}

    async def blame(self, version: str) -> None:
        """Odd mail, until the set has cost three messages their workers.

        A worker that has just compared scans with the set before until its turn to change comes.
        """
        async with asyncio.timeout(30):
            while self.pool.counts(version).blamed < 3:
                await self.scan(ODD_MAIL)

    def active(self) -> str:
        pointer = self.store.pointer()
        assert pointer is not None
        return str(pointer.version)

    def last(self, event: str) -> Event:
        return next(e for e in reversed(self.store.history()) if e.event == event)

    def refused(self) -> list[str]:
        pointer = self.store.pointer()
        assert pointer is not None
        return list(pointer.refused)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("prefix", "reason", "words"),
    [(CRASH_ON, Reason.CRASH, "the others crashed"), (HANG_ON, Reason.TIME, "3 took too long")],
)
async def test_a_set_that_crashes_or_hangs_workers_is_left_by_itself_and_not_taken_again(  # S7
    site: Site, prefix: bytes, reason: Reason, words: str
) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning(message_timeout_s=0.5):
        site.activate(NEW, EICAR, prefix + ODD)
        await site.until_it_scans_with(NEW)
        verdict = await site.pool.scan(message(text=ODD.decode() + "\n" + EICAR.decode()))
        assert verdict.kinds == (VerdictKind.INFECTED, VerdictKind.UNSCANNABLE)  # S11
        assert [u.reason for u in verdict.unopened] == [reason]
        await site.watch.look()
        assert site.active() == NEW
        await site.blame(NEW)
        await site.watch.look()
        assert site.active() == OLD
        await site.until_it_scans_with(OLD)
        assert await site.scan(ODD_MAIL, 4) == {VerdictKind.CLEAN}
    assert site.refused() == [NEW]
    event = site.last("rolled-back")
    assert (event.details["by"], event.details["left"]) == ("watch", NEW)
    assert words in event.reason


async def test_a_hang_is_blamed_on_the_set_also_when_the_client_has_gone(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning(message_timeout_s=0.5):
        site.activate(NEW, EICAR, HANG_ON + ODD)
        await site.until_it_scans_with(NEW)
        client = asyncio.create_task(site.pool.scan(ODD_MAIL))
        for _ in range(10):  # until the worker has it
            await asyncio.sleep(0)
        client.cancel()
        await _until(lambda: site.pool.counts(NEW).blamed == 1)


async def test_a_set_that_slows_workers_threefold_is_left_by_itself(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        await site.scan(ODD_MAIL, 110)
        site.activate(NEW, EICAR, BURN_ON + ODD)
        await site.until_it_scans_with(NEW)
        assert await site.scan(ODD_MAIL, 110) == {VerdictKind.CLEAN}
        await site.watch.look()
    assert site.active() == OLD
    assert "ms of processor time" in site.last("rolled-back").reason


async def test_a_set_that_workers_cannot_load_is_left_by_itself(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        site.activate(NEW, LOAD_FAILS)
        await _until(lambda: site.pool.counts(NEW).load_failures > 0)
        await site.watch.look()
        assert site.active() == OLD
        assert await site.scan(EICAR) == {VerdictKind.INFECTED}
    assert site.refused() == [NEW]


async def test_a_message_that_crashes_every_set_rolls_nothing_back(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        site.activate(NEW, EICAR)
        await site.until_it_scans_with(NEW)
        assert await site.scan(b"\r\n" + CRASH, 4) == {VerdictKind.UNSCANNABLE}
        await site.watch.look()
        assert site.pool.counts(NEW).not_blamed == 4
        assert site.pool.counts(NEW).blamed == 0
    assert site.active() == NEW


async def test_the_third_set_in_a_week_that_messages_crash_stays_and_is_named(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        for number in (2, 3, 4):
            version = f"20261123.{number:03}"
            site.activate(version, EICAR, CRASH_ON + ODD)
            await site.until_it_scans_with(version)
            await site.blame(version)
            with capture_logs() as logged:
                await site.watch.look()
            assert site.active() == (OLD if number < 4 else version)
        assert any("stays in use" in entry["event"] for entry in logged)
        assert await site.scan(CLEAN) == {VerdictKind.CLEAN}
    assert "hold definitions back" in site.last("misbehaves").reason


async def test_with_nothing_to_go_back_to_it_goes_on_scanning_and_says_so(site: Site) -> None:
    site.activate(OLD, LOAD_FAILS)
    async with site.scanning():
        await site.watch.look()
    assert site.active() == OLD
    assert "no set to go back to" in site.last("misbehaves").reason
    site.activate(NEW, EICAR)
    async with site.scanning():
        assert await site.scan(EICAR) == {VerdictKind.INFECTED}


async def test_while_somebody_writes_the_store_workers_leave_at_once_and_the_pointer_later(
    site: Site,
) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning(workers=2):
        site.activate(NEW, EICAR, CRASH_ON + ODD)
        await site.until_it_scans_with(NEW)
        await site.blame(NEW)
        with site.store.writer("a long update"):
            await site.watch.look()
            await site.until_it_scans_with(OLD)
            assert await site.scan(ODD_MAIL) == {VerdictKind.CLEAN}
            assert site.active() == NEW
        await site.watch.look()
        assert site.active() == OLD
    assert site.refused() == [NEW]


async def test_a_newer_set_that_came_meanwhile_stays_and_only_the_bad_one_is_refused(
    site: Site,
) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        site.activate(NEW, EICAR, CRASH_ON + ODD)
        await site.until_it_scans_with(NEW)
        await site.blame(NEW)
        with site.store.writer("a long update"):
            await site.watch.look()
        site.activate(NEXT, EICAR)
        await site.watch.look()
        await site.until_it_scans_with(NEXT)
        pointer = site.store.pointer()
    assert pointer is not None
    assert (str(pointer.version), list(pointer.refused)) == (NEXT, [NEW])
    assert [str(version) for version in pointer.before] == [OLD]


async def test_the_watch_goes_on_after_a_restart_and_ends_when_it_was_judged(site: Site) -> None:
    site.activate(OLD, EICAR)
    site.activate(NEW, EICAR, CRASH_ON + ODD)
    site.ahead = 9 * MINUTES
    async with site.scanning():
        await site.blame(NEW)
        await site.watch.look()
        assert site.active() == OLD
    site.activate(NEXT, EICAR)
    async with site.scanning():
        await site.scan(CLEAN, ENOUGH)
        site.ahead = 12 * MINUTES
    async with site.scanning():
        await site.scan(CLEAN, ENOUGH)
        await site.watch.look()
    assert site.last("watched").version == Version.parse(NEXT)
    async with site.scanning():
        await site.watch.look()
    assert [e.event for e in site.store.history()].count("watched") == 1


async def test_after_a_day_a_restart_begins_no_watch(site: Site) -> None:
    site.activate(OLD, EICAR)
    site.activate(NEW, EICAR, CRASH_ON + ODD)
    site.ahead = WATCH_MAX + MINUTES
    async with site.scanning():
        await site.scan(ODD_MAIL, 3)
        await site.watch.look()
    assert site.active() == NEW


async def test_a_set_that_the_administrator_chose_stays(site: Site) -> None:
    site.activate(OLD, EICAR)
    async with site.scanning():
        site.activate(NEW, EICAR, CRASH_ON + ODD, by_administrator=True)
        await site.until_it_scans_with(NEW)
        await site.blame(NEW)
        await site.watch.look()
    assert site.active() == NEW
    assert "administrator" in site.last("misbehaves").reason


async def test_an_active_set_that_no_worker_can_load_leaves_the_one_before_scanning(  # S5
    site: Site,
) -> None:
    site.activate(OLD, EICAR)
    site.activate(NEW, LOAD_FAILS)
    async with site.scanning():
        await site.until_it_scans_with(OLD)
        assert await site.scan(EICAR) == {VerdictKind.INFECTED}


async def test_damaged_prepared_files_are_made_anew(site: Site) -> None:
    site.activate(OLD, EICAR)
    stored = site.store.active()
    assert stored is not None
    for path in stored.prepared.rglob("*"):
        if path.is_file():
            path.write_bytes(b"\0edited")
    async with site.scanning():
        assert site.pool.sets() == {OLD: 1}
        assert await site.scan(EICAR) == {VerdictKind.INFECTED}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)
