"""The agent is killed at any instant, meets another one, or loses files to somebody else."""

import builtins
import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.cli.app import app
from mailward.errors import BusyError, MailwardError, TemporaryError
from mailward.scan.part import Role
from mailward.scan.pool import ScanPool
from mailward.testing import EICAR
from tests.attacks.faults import Computer, World

_KILLS = 200
_KILLS_IN_TRIALS = 8
_SEED = int(os.environ.get("MAILWARD_TEST_SEED", "20261124"))


def _config_file(computer: Computer) -> Path:
    path = computer.state.parent / "mailward.toml"
    update = computer.config().update
    path.write_text(
        f'state_dir = "{computer.state}"\n[update]\nrepository = "{computer.address}"\n'
        f'root = "{update.root}"\ncertified = {{enabled = false}}\nrapid = {{enabled = true}}\n'
        "[store]\nmin_free_bytes = 1\n",
        encoding="utf-8",
    )
    return path


def _start(*arguments: str) -> int:
    """`mailward` in a process of its own, with everything imported already."""
    child = os.fork()
    if child:
        return child
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(silence, fd)
        app(list(arguments), standalone_mode=False)
        os._exit(0)
    except MailwardError as e:
        os._exit(e.exit_code)
    finally:
        os._exit(70)


def _update(computer: Computer) -> int:
    return _start("--config", str(_config_file(computer)), "update")


def _wait(child: int) -> int:
    """Its exit code; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("quick_trial")
def test_an_update_killed_at_200_random_instants(
    faults_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # a kill loses nothing that was written
    print(f"MAILWARD_TEST_SEED={_SEED}")
    chance = random.Random(_SEED)
    clean = Computer(faults_world, tmp_path / "clean")
    assert _wait(_update(clean)) == 0
    lasts_s = statistics.median(_lasts_s(faults_world, tmp_path / f"whole{n}") for n in range(5))
    killed, found = 0, set()
    for number in range(_KILLS):
        folder = tmp_path / str(number)
        computer = Computer(faults_world, folder)
        child = _update(computer)
        time.sleep(chance.uniform(0, lasts_s))  # the instant, not a wait for something
        os.kill(child, signal.SIGKILL)
        killed += _wait(child) == -signal.SIGKILL
        found.add((computer.active(), len(computer.tree())))
        _is_whole(computer)
        computer.refresh()
        assert computer.active() == faults_world.new
        assert computer.status()["alerts"] == []
        assert computer.tree() == clean.tree(), "something leaked or is lost"
        shutil.rmtree(folder)
    assert killed > _KILLS // 2
    assert len(found) > 5, "it was killed in many a state"


def _lasts_s(world: World, folder: Path) -> float:
    computer = Computer(world, folder)
    began = time.perf_counter()
    assert _wait(_update(computer)) == 0
    return time.perf_counter() - began


def _is_whole(computer: Computer) -> None:
    """What is active is whole, and a scanner that starts now finds what it should."""
    assert computer.active() in (computer.world.old, computer.world.new)
    assert computer.store.verify() == []
    with computer.scanning() as scans:
        pass
    assert scans.failed == []


def test_an_update_killed_in_its_trial_takes_the_trial_along(
    faults_world: World, tmp_path: Path
) -> None:
    """The real trial. What it started would otherwise compute on, for nobody."""
    print(f"MAILWARD_TEST_SEED={_SEED}")
    chance = random.Random(_SEED)
    for number in range(_KILLS_IN_TRIALS):
        computer = Computer(faults_world, tmp_path / str(number))
        child = _update(computer)
        (trial,) = _until(lambda child=child: _children(child))  # type: ignore[misc]  # bound now
        time.sleep(chance.uniform(0, 0.5))  # the instant, not a wait for something
        os.kill(child, signal.SIGKILL)
        assert _wait(child) == -signal.SIGKILL
        _until(lambda trial=trial: not _computes(trial))  # type: ignore[misc]  # bound now
        _is_whole(computer)
    computer.recovers()


def _until(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.005)
    return found


def _children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task")
    return [int(n) for path in tasks.glob("*/children") for n in path.read_text().split()]


def _computes(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, whether or not somebody has looked


def test_a_trial_ended_by_the_end_of_the_service_says_nothing_about_the_set(
    computer: Computer, faults_world: World
) -> None:
    """A service manager tells every process of a service to end, the trial's child too."""
    child = _update(computer)
    (trial,) = _until(lambda: _children(child))
    os.kill(trial, signal.SIGTERM)
    assert _wait(child) == TemporaryError.exit_code
    computer.says("the trial was stopped from outside")
    _is_whole(computer)
    computer.recovers()


# Locks


@pytest.mark.usefixtures("quick_trial")
def test_of_many_agents_at_once_one_updates_and_the_others_wait_for_it(
    computer: Computer, faults_world: World
) -> None:
    config = str(_config_file(computer))
    children = [_start("--config", config, "update") for _ in range(6)]
    assert [_wait(child) for child in children] == [0] * 6
    assert computer.active() == faults_world.new
    happened = [event.event for event in computer.store.history()]
    assert happened.count("activated") == 2, "the old set, then the new one, once"
    assert happened.count("checked") == 1 + 6


def test_while_another_agent_works_an_update_changes_nothing_and_says_who_works(
    computer: Computer,
) -> None:
    told_before = computer.status()["channels"]
    with (
        computer.store.writer("update rapid"),
        computer.scanning() as scans,
        pytest.raises(BusyError, match=rf"process {os.getpid()} \(update rapid\)"),
    ):
        computer.refresh()
    computer.kept_scanning(scans)
    now = computer.status()["channels"]
    assert now["rapid"]["last_result"] == told_before["rapid"]["last_result"]


@pytest.mark.parametrize("owner", ["dead", "reused", "rubbish"])
@pytest.mark.usefixtures("quick_trial")
def test_a_stale_lock_also_of_a_number_that_another_process_has_now(
    computer: Computer, owner: str
) -> None:
    """Who wrote the file does not matter: the kernel knows whether somebody holds it."""
    pids = {"dead": 2**22 + 1, "reused": os.getpid(), "rubbish": "x"}
    lock = computer.store.folder / "lock"
    said = {"pid": pids[owner], "purpose": "update rapid", "since": "2026-11-24T00:00:00+00:00"}
    lock.write_text(json.dumps(said) if owner != "rubbish" else "\0" * 100)
    computer.recovers()


# Somebody else's hands


@pytest.mark.parametrize(
    "pattern",
    [
        "definitions/objects/*/*",
        "definitions/sets/*",
        "definitions/sets/*/trial.json",
        "update/timestamp.json",
        "update/snapshot.json",
    ],
)
@pytest.mark.usefixtures("quick_trial")
def test_files_that_another_scanner_removes_as_soon_as_they_are_there(
    computer: Computer, faults_world: World, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """Definitions look like malware to some. It takes them once; then it was told not to."""
    with (
        _taking(monkeypatch, str(computer.state / pattern)) as taken,
        computer.scanning() as scans,
        contextlib.suppress(MailwardError),
    ):
        computer.refresh()
    assert taken
    assert scans.failed == []
    assert computer.store.verify(faults_world.old) == []
    computer.recovers_or_has_recovered()


@contextlib.contextmanager
def _taking(monkeypatch: pytest.MonkeyPatch, pattern: str) -> Iterator[list[Path]]:
    """Removes what fits as soon as it has its name."""
    taken: list[Path] = []

    def after(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: Any, target: Any, **more: Any) -> Any:
            done = real(source, target, **more)
            path = Path(target)
            if path.match(pattern) and path.exists():
                taken.append(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            return done

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", after(os.replace))
        patch.setattr(os, "rename", after(os.rename))
        yield taken


@pytest.mark.usefixtures("quick_trial")
async def test_prepared_files_that_another_scanner_removes(
    computer: Computer, faults_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that start now make them anew, for themselves."""
    pattern = str(computer.state / "definitions/sets/*/prepared/*")
    with _taking(monkeypatch, pattern) as taken:
        computer.refresh()
    assert taken
    async with ScanPool(computer.store, computer.config().scan) as pool:
        verdict = await pool.scan(EICAR, role=Role.FILE)
    assert [risk.name for risk in verdict.risks] == ["Eicar-Test"]
    assert verdict.set == str(faults_world.new)


@pytest.mark.usefixtures("quick_trial")
def test_the_active_set_taken_away_by_another_scanner(computer: Computer) -> None:
    """Who has loaded it scans on; the next set mends it."""
    active = computer.store.active()
    assert active is not None
    with computer.scanning() as scans:
        shutil.rmtree(active.folder)
        assert computer.refresh().active == computer.world.new
    assert scans.failed == []
    assert computer.status()["alerts"] == []


@pytest.mark.parametrize("name", ["objects", "manifest.json", "history.jsonl", "lock", "timestamp"])
@pytest.mark.usefixtures("quick_trial")
def test_files_that_another_scanner_keeps_locked(
    computer: Computer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whoever opens them meanwhile is told: not permitted (fanotify)."""
    refused: list[object] = []

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **more: Any) -> Any:
            if not isinstance(path, int) and name in str(path) and str(path).startswith(mine):
                refused.append(path)
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
            return real(path, *args, **more)

        return call

    mine = str(computer.state)
    with computer.scanning() as scans, monkeypatch.context() as patch:
        for module, called in ((os, "open"), (io, "open"), (builtins, "open")):
            patch.setattr(module, called, guarded(getattr(module, called)))
        with contextlib.suppress(MailwardError):
            computer.refresh()
    assert refused
    assert scans.failed == []
    assert computer.store.verify(computer.world.old) == []
    computer.recovers_or_has_recovered()
