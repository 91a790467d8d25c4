"""The pool with real worker processes and the fake engine."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.definitions.model import Version
from mailward.definitions.store import Store
from mailward.errors import ScannerDownError
from mailward.scan import forking, seccomp, worker_parent
from mailward.scan.part import Role
from mailward.scan.pool import ALL_ENGINES, ScanPool
from mailward.scan.verdict import Reason, VerdictKind
from mailward.settings.scan import ScanSettings
from mailward.testing import (
    CRASH,
    EICAR,
    HANG,
    LEAK,
    LOAD_CRASHES,
    LOAD_FAILS,
    Attachment,
    FakeEngine,
    message,
    zipped,
)

Activate = Callable[..., Version]
MakePool = Callable[..., ScanPool]

OLD, NEW = "20261123.001", "20261123.002"
MAIL = message(Attachment("a.zip", zipped(Attachment("b.exe", EICAR))))
CLEAN = message()


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.01)


def children() -> list[int]:
    """Worker processes of ours, zombies too."""
    return [pid for parent in parents() for pid in below(parent)]


def parents() -> list[int]:
    """The processes that workers are forked from, zombies too."""
    return below(os.getpid())


def below(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat[1]) == parent and (stat[0] == "Z" or b"mailward.scan.forking" in command):
                found.append(int(entry.name))
    return found


def process_status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def test_a_message_is_scanned_in_a_worker(activate: Activate, make_pool: MakePool) -> None:
    activate(OLD, EICAR)
    async with make_pool() as pool:
        verdict = await pool.scan(MAIL)
        assert [risk.part for risk in verdict.risks] == ["message/2:a.zip/b.exe"]
        assert verdict.set == OLD
        assert (await pool.scan(EICAR, role=Role.FILE, name="e.com")).risks[0].part == "e.com"
        assert pool.sets() == {OLD: 2}
        assert len(children()) == 2
    assert children() == parents() == []


async def test_hundreds_of_messages_at_once_are_answered_each_with_its_own(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, *(b"<%03d>" % number for number in range(200)))
    async with make_pool() as pool:
        verdicts = await asyncio.gather(*(pool.scan(b"\r\n<%03d>" % n) for n in range(200)))
    assert [v.risks[0].name for v in verdicts] == [f"<{n:03d}>" for n in range(200)]


async def test_no_active_set_is_said_at_once_and_ends_with_the_first(
    activate: Activate, make_pool: MakePool
) -> None:
    async with make_pool() as pool:
        with pytest.raises(ScannerDownError, match="mailward update"):
            await pool.scan(CLEAN)
        activate(OLD, EICAR)
        await until(lambda: pool.sets() == {OLD: 2})
        assert (await pool.scan(MAIL)).set == OLD


async def test_a_set_is_swapped_under_load_and_every_answer_is_of_one_set(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, b"first", b"second")
    data = b"\r\nfirst second third fourth"
    wanted = {OLD: {"first", "second"}, NEW: {"third", "fourth"}}
    async with make_pool() as pool:
        seen: list[str] = []
        done = asyncio.Event()

        async def sender() -> None:
            while not done.is_set():
                verdict = await pool.scan(data)
                assert {risk.name for risk in verdict.risks} == wanted[verdict.set]
                assert {risk.set for risk in verdict.risks} == {verdict.set}
                seen.append(verdict.set)

        senders = [asyncio.create_task(sender()) for _ in range(8)]
        await until(lambda: len(seen) > 50)
        activate(NEW, b"third", b"fourth")
        await until(lambda: pool.sets() == {NEW: 2})
        swapped_at = len(seen)
        await until(lambda: len(seen) > swapped_at + 50)
        done.set()
        await asyncio.gather(*senders)
        assert seen[-1] == NEW
        assert len(children()) == 2


@pytest.mark.parametrize("trouble", [LOAD_FAILS, LOAD_CRASHES])
async def test_a_set_that_does_not_load_leaves_the_old_one_in_use(  # S5
    activate: Activate, make_pool: MakePool, trouble: bytes
) -> None:
    activate(OLD, EICAR)
    async with make_pool() as pool:
        with capture_logs() as logged:
            activate(NEW, b"other", trouble)
            await until(lambda: any("cannot be loaded" in entry["event"] for entry in logged))
            await until(lambda: pool.sets() == {OLD: 2})
        assert (await pool.scan(MAIL)).set == OLD
        activate("20261123.003", EICAR, b"whole")
        await until(lambda: pool.sets() == {"20261123.003": 2})


async def test_a_first_set_that_does_not_load_is_said(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, LOAD_FAILS)
    async with make_pool() as pool:
        with pytest.raises(ScannerDownError, match=f"{OLD} cannot be loaded"):
            await pool.scan(CLEAN)
        activate(NEW, EICAR)
        await until(lambda: pool.sets() == {NEW: 2})


async def test_workers_that_do_not_start_are_said_and_not_started_for_ever(
    activate: Activate, store: Store
) -> None:
    activate(OLD, EICAR)
    settings = ScanSettings(workers=2)
    async with ScanPool(store, settings, "mailward.testing:not_there") as pool:
        with pytest.raises(ScannerDownError, match="exit code 1"):
            await pool.scan(CLEAN)


@pytest.mark.parametrize(
    ("marker", "reason", "words"),
    [(CRASH, Reason.CRASH, "exit code 86"), (HANG, Reason.TIME, "longer than"),
     (LEAK, Reason.CRASH, "exit code 1")],
)  # fmt: skip
async def test_a_message_that_costs_two_workers_is_unscannable(  # S13
    activate: Activate, make_pool: MakePool, marker: bytes, reason: Reason, words: str
) -> None:
    activate(OLD, EICAR)
    async with make_pool(1, message_timeout_s=1.5 if marker == HANG else 60) as pool:
        bad = asyncio.create_task(pool.scan(b"\r\n" + marker))
        good = [asyncio.create_task(pool.scan(MAIL)) for _ in range(5)]
        verdict = await bad
        assert verdict.kind is VerdictKind.UNSCANNABLE
        assert [u.reason for u in verdict.unopened] == [reason]
        assert words in verdict.unopened[0].detail
        assert {verdict.kind for verdict in await asyncio.gather(*good)} == {VerdictKind.INFECTED}
        assert (await pool.scan(CLEAN)).kind is VerdictKind.CLEAN
        assert len(children()) == 1


async def test_a_worker_killed_in_the_middle_costs_nothing_but_time(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool(1) as pool:
        slow = asyncio.create_task(pool.scan(b"\r\n" + EICAR + b"x" * 20_000_000))
        [pid] = children()
        await until(lambda: _has_used_cpu(pid))
        os.kill(pid, signal.SIGKILL)
        assert (await slow).kind is VerdictKind.INFECTED
        assert children() != [pid]


async def test_an_idle_worker_that_is_gone_is_replaced(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool() as pool:
        before = children()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: len(set(children()) - set(before)) == 2)
        await until(lambda: pool.sets() == {OLD: 2})
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED


async def test_a_lost_parent_of_workers_is_replaced_and_so_are_they(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool(1) as pool:
        slow = asyncio.create_task(pool.scan(b"\r\n" + EICAR + b"x" * 20_000_000))
        [parent], [worker] = parents(), children()
        await until(lambda: _has_used_cpu(worker))
        os.kill(parent, signal.SIGKILL)
        assert (await slow).kind is VerdictKind.INFECTED
        assert parent not in parents()
        assert not _is_running(worker)


async def test_a_worker_is_ended_even_if_its_parent_is_stuck(
    activate: Activate, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_parent, "KILL_TIMEOUT_S", 0.2)
    activate(OLD, EICAR)
    async with make_pool(1, message_timeout_s=1) as pool:
        [parent], [worker] = parents(), children()
        os.kill(parent, signal.SIGSTOP)
        assert (await pool.scan(b"\r\n" + HANG)).unopened[0].reason is Reason.TIME
        assert not _is_running(worker)
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED


async def test_a_worker_has_nothing_open_that_its_parent_or_another_worker_listens_to(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool(2) as pool:
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED
        for worker in children():
            links = [os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir()]
            inherited = [link for link in links if link.startswith(("pipe:", "socket:"))]
            ours = {os.readlink(f"/proc/{worker}/fd/{standard}") for standard in (0, 1, 2)}
            assert len([link for link in inherited if link not in ours]) == 1  # to be asked by


def test_what_workers_are_forked_from_has_a_single_thread() -> None:
    """Locks that another thread holds at the moment of a fork stay held in the worker for ever."""
    code = "import os; print(len(os.listdir('/proc/self/task')))"
    imports = f"import {', '.join(forking.LATER)}; from mailward.scan import forking; "
    imports += f"forking.engines({ALL_ENGINES!r}); "
    told = subprocess.run([sys.executable, "-c", imports + code], capture_output=True, check=True)
    assert told.stdout.strip() == b"1"


async def test_closing_finishes_what_is_being_scanned(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool() as pool:
        begun = [asyncio.create_task(pool.scan(MAIL)) for _ in range(20)]
        await asyncio.sleep(0)
    assert all(task.done() for task in begun)
    assert all(task.result().kind is VerdictKind.INFECTED for task in begun)
    assert children() == parents() == []
    with pytest.raises(ScannerDownError):
        await pool.scan(MAIL)


async def test_whoever_stops_waiting_stops_nobody_else(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool(1) as pool:
        tasks = [asyncio.create_task(pool.scan(MAIL)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in results[::2])
        assert not any(isinstance(r, BaseException) for r in results[1::2])
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED


async def test_newer_engines_prepare_the_set_anew_and_go_on(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR, engines=(FakeEngine(fingerprint="0"),))
    async with make_pool() as pool:
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED
        assert pool.sets() == {OLD: 2}


@pytest.mark.skipif(not seccomp.available(), reason="this kernel has no seccomp")
async def test_workers_are_confined(activate: Activate, make_pool: MakePool) -> None:
    activate(OLD, EICAR)
    async with make_pool(1):
        [pid] = children()
        status = process_status(pid)
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status


async def test_a_message_over_the_limit_goes_to_no_worker(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool(1, max_message_bytes=1000) as pool:
        [pid] = children()
        os.kill(pid, signal.SIGSTOP)
        assert (await pool.scan(bytes(1001))).unopened[0].reason is Reason.LIMIT
        os.kill(pid, signal.SIGCONT)


async def test_signals_for_everybody_leave_the_workers_to_the_pool(
    activate: Activate, make_pool: MakePool
) -> None:
    activate(OLD, EICAR)
    async with make_pool() as pool:
        before = children()
        for pid in before:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert (await pool.scan(MAIL)).kind is VerdictKind.INFECTED
        assert children() == before


async def test_workers_end_when_their_pool_is_killed(activate: Activate, store: Store) -> None:
    activate(OLD, EICAR)
    await _kill_a_pool(store, b"")


async def test_hanging_workers_end_when_their_pool_is_killed(
    activate: Activate, store: Store
) -> None:
    activate(OLD, EICAR)
    await _kill_a_pool(store, HANG)


async def _kill_a_pool(store: Store, data: bytes) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(store.folder), data, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    await parent.stdout.readline()
    processes = below(parent.pid)
    processes += [pid for each in processes for pid in below(each)]
    assert len(processes) == 3
    parent.kill()
    await parent.wait()
    await until(lambda: not any(_is_running(pid) for pid in processes))


_PARENT = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from mailward.settings.scan import ScanSettings
    from mailward.definitions.store import Store
    from mailward.scan.pool import ALL_ENGINES, ScanPool
    import structlog
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

    async def main():
        store = Store(Path(sys.argv[1]))
        settings = ScanSettings(workers=2, message_timeout_s=1)
        async with ScanPool(store, settings, "mailward.testing:fake_engines") as pool:
            scans = [asyncio.create_task(pool.scan(sys.argv[2].encode())) for _ in range(2)]
            await asyncio.wait(scans, timeout=0.3)
            print(flush=True)
            await asyncio.sleep(100)

    asyncio.run(main())
    """
)


def _is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _has_used_cpu(pid: int, ticks: list[int] = []) -> bool:  # noqa: B006 (remembers the first look)
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    ticks.append(int(fields[11]) + int(fields[12]))
    return ticks[-1] > ticks[0]


async def test_what_the_administrator_ignores_is_not_reported_within_a_second(
    activate: Activate, make_pool: MakePool, store: Store
) -> None:
    activate(OLD, EICAR, b"another")
    both = message(Attachment("a.txt", EICAR), Attachment("b.txt", b"another"))
    async with make_pool() as pool:
        found = await pool.scan(both)
        (name,) = {risk.name for risk in found.risks if risk.part.endswith("a.txt")}

        async def reported() -> set[str]:
            return {risk.part for risk in (await pool.scan(both)).risks}

        async def is_ignored() -> bool:
            return await reported() == {"message/3:b.txt"}

        async def is_heeded() -> bool:
            return len(await reported()) == 2

        assert await is_heeded()
        with store.writer("test") as writer:
            writer.ignore(name, "false")
        await until(is_ignored)
        (store.folder / "ignored.json").write_bytes(b"{")  # S5: what was ignored still is
        assert (await pool.scan(both)).kind is VerdictKind.INFECTED
        (store.folder / "ignored.json").unlink()
        await until(is_heeded)
        activate(NEW, EICAR, b"another")
        await until(lambda: pool.sets() == {NEW: 2})
