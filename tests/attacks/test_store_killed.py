"""The power fails, or somebody kills the writer, at any instant (S4, S8)."""

import itertools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Channel, Version
from mailward.definitions.store import Pointer, Store
from mailward.definitions.testing import PREPARED_FILE, put, sample_set
from mailward.errors import BusyError, UsageError
from mailward.settings.update import StoreSettings

CHANGING = ("open", "write", "fsync", "replace", "unlink", "mkdir", "rmdir", "ftruncate")
SETTINGS = StoreSettings(keep_sets=1, min_free_bytes=1)

Job = Callable[[Store], None]


def v(number: int) -> Version:
    return Version(20260101, number)


def sets_up_to(store: Store, number: int) -> None:
    with store.writer("test") as writer:
        for each in range(1, number + 1):
            writer.activate(put(writer, sample_set(str(v(each)))).version, "test")


# Killed


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written, so the disk need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def run_killed(job: Callable[[], None], at_call: int) -> bool:
    """Run ``job`` in a child that kills itself at its n-th call; whether it ended before that."""
    child = os.fork()
    if child == 0:
        try:
            _kill_at(at_call)
            job()
        finally:  # the child must end here, whatever happened
            os._exit(0 if sys.exc_info()[0] is None else 70)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the job failed instead of being killed"
    return True


def _kill_at(at_call: int) -> None:
    calls = itertools.count(1)

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == at_call:
                if name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CHANGING:
        setattr(os, name, counted(name, getattr(os, name)))


def update(store: Store) -> None:
    """What an update does: a new set comes, is proved, activated, and old ones go."""
    with store.writer("update") as writer:
        writer.activate(put(writer, sample_set(str(v(5)))).version, "update")
        writer.prune()


def go_back(store: Store) -> None:
    """What a bad set causes."""
    with store.writer("watch") as writer:
        if (store.pointer() or Pointer()).version == v(4):
            writer.rollback(None, "false alarms")
        writer.refuse(v(9), "withdrawn")
        writer.prune()


def certify(store: Store) -> None:
    """The same content gets better evidence."""
    with store.writer("update") as writer:
        writer.stage(sample_set(str(v(4)), channel=Channel.CERTIFIED).manifest)
        writer.activate(v(4), "certified")


@pytest.mark.parametrize(
    ("job", "may_be_active"),
    [(update, {v(4), v(5)}), (go_back, {v(4), v(3)}), (certify, {v(4)})],
    ids=lambda value: value.__name__ if callable(value) else "",
)
@pytest.mark.usefixtures("no_fsync")
def test_a_writer_killed_at_any_call_leaves_a_whole_store_that_the_next_one_finishes(
    tmp_path: Path, job: Job, may_be_active: set[Version]
) -> None:
    base, clean = Store(tmp_path / "base", SETTINGS), Store(tmp_path / "clean", SETTINGS)
    sets_up_to(base, 4)
    shutil.copytree(base.folder, clean.folder)
    job(clean)
    for at_call in itertools.count(1):
        store = Store(tmp_path / f"killed-{at_call}", SETTINGS)
        shutil.copytree(base.folder, store.folder)
        ended = run_killed(lambda store=store: job(store), at_call)  # type: ignore[misc]  # bound now
        assert_whole(store, may_be_active)
        job(store)
        assert_whole(store, may_be_active)
        assert tree(store) == tree(clean), f"killed at call {at_call}: something leaked or is lost"
        assert state_of(store) == state_of(clean)
        shutil.rmtree(store.folder)
        if ended:
            break
    assert at_call > 10, "the job was never really interrupted"


@pytest.mark.usefixtures("no_fsync")
def test_the_very_first_writer_killed_at_any_call(tmp_path: Path) -> None:
    clean = Store(tmp_path / "clean/definitions", SETTINGS)
    sets_up_to(clean, 1)
    for at_call in itertools.count(1):
        store = Store(tmp_path / f"killed-{at_call}/definitions", SETTINGS)
        ended = run_killed(lambda store=store: sets_up_to(store, 1), at_call)  # type: ignore[misc]  # bound now
        active = store.active()
        assert active is None or (active.version == v(1) and store.verify() == [])
        sets_up_to(store, 1)
        assert tree(store) == tree(clean)
        if ended:
            break
    assert at_call > 10, "the job was never really interrupted"


def assert_whole(store: Store, may_be_active: set[Version]) -> None:
    active = store.active()
    assert active is not None
    assert active.version in may_be_active
    assert active.defect() is None
    assert store.verify() == []
    assert [stored.version for stored in store.sets()] == store.versions()
    for stored in store.sets():
        assert stored.proved_at is None or _prepared_problem(stored.prepared) is None
    assert active.version == (store.pointer() or Pointer()).version
    assert store.history()


def tree(store: Store) -> set[str]:
    return {str(path.relative_to(store.folder)) for path in store.folder.rglob("*")}


def state_of(store: Store) -> tuple[Pointer, list[Channel]]:
    pointer = store.pointer() or Pointer()
    channels = [stored.manifest.channel for stored in store.sets()]
    return pointer.model_copy(update={"activated_at": None}), channels


# Power lost


class Disk:
    """Knows which inodes have changed since they were last fsynced, and watches every rename."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder = folder
        self._durable: set[int] = set()
        self.moved: list[str] = []
        self._open, self._write, self._fsync = os.open, os.write, os.fsync
        self._replace, self._mkdir = os.replace, os.mkdir
        for name in ("open", "write", "fsync", "replace", "mkdir"):
            monkeypatch.setattr(os, name, getattr(self, name))

    def open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        new = flags & os.O_CREAT and not os.path.lexists(path)
        fd = self._open(path, flags, *args, **kwargs)
        if new:
            self._changed(os.fstat(fd).st_ino, Path(path).parent.stat().st_ino)
        return fd

    def write(self, fd: int, content: bytes) -> int:
        self._changed(os.fstat(fd).st_ino)
        return self._write(fd, content)

    def fsync(self, fd: int) -> None:
        self._fsync(fd)
        self._durable.add(os.fstat(fd).st_ino)

    def mkdir(self, path: Any, *args: Any, **kwargs: Any) -> None:
        self._mkdir(path, *args, **kwargs)
        self._changed(Path(path).stat().st_ino, Path(path).parent.stat().st_ino)

    def replace(self, source: Path, target: Path) -> None:
        if target.parent.name != "work":
            assert self.not_durable(source) == [], f"{target} gets content that may be lost"
        if target.name == "active":
            for name in ("objects", "sets"):
                lost = self.not_durable(self._folder / name)
                assert lost == [], "the pointer names what may be lost"
        self._replace(source, target)
        self._changed(target.parent.stat().st_ino)
        self.moved.append(target.name)

    def not_durable(self, path: Path) -> list[Path]:
        return [p for p in (path, *path.rglob("*")) if p.stat().st_ino not in self._durable]

    def _changed(self, *inodes: int) -> None:
        self._durable.difference_update(inodes)


def test_power_lost_at_any_instant_never_leaves_a_name_without_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    disk = Disk(monkeypatch, store.folder)
    with store.writer("test") as writer:
        for number in range(1, 4):
            writer.activate(put(writer, sample_set(str(v(number)))).version, "test")
            assert disk.not_durable(store.folder / "active") == []
            assert store.folder not in disk.not_durable(store.folder), "the rename may be lost"
        writer.stage(sample_set(str(v(3)), channel=Channel.CERTIFIED).manifest)
        writer.rollback(None, "false alarms")
        assert store.folder not in disk.not_durable(store.folder), "the rename may be lost"
    assert disk.moved.count("active") == 4
    assert {"manifest.json", "trial.json", "fake-1", str(v(3))} <= set(disk.moved)


# Several at once


def test_the_lock_of_a_killed_writer_is_free_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with store.writer("doomed"):
            os.write(tell, b"x")
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    with pytest.raises(BusyError, match=rf"process {child} \(doomed\)"), store.writer("second"):
        raise AssertionError("two writers")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with store.writer("next") as writer:
        writer.activate(put(writer, sample_set(str(v(1)))).version, "test")
    for fd in (ready, tell):
        os.close(fd)


def test_of_many_writers_that_begin_together_one_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    begin, entered, leave = threading.Barrier(8), [], threading.Event()
    refused = threading.Semaphore(0)

    def write(number: int) -> None:
        begin.wait()
        try:
            with store.writer(f"writer {number}"):
                entered.append(number)
                leave.wait(30)
        except BusyError:
            refused.release()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(7):
        assert refused.acquire(timeout=30)
    leave.set()
    for thread in threads:
        thread.join()
    assert len(entered) == 1


@pytest.mark.usefixtures("no_fsync")
def test_readers_never_see_half_a_set_while_a_writer_activates_and_prunes(tmp_path: Path) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    sets_up_to(store, 1)
    done, wrong = threading.Event(), []
    seen: set[Version] = set()

    def read() -> None:
        for _ in _until(done):
            try:
                active = store.active()
                assert active is not None
                assert store.history(3)
                assert all(stored.manifest.version == stored.version for stored in store.sets())
                problem = active.defect() or _prepared_problem(active.prepared)
                if problem and _is_protected(store, active.version):
                    wrong.append(f"{active.version}: {problem}")
                seen.add(active.version)
            except Exception as e:  # noqa: BLE001 (reported by the test)
                wrong.append(repr(e))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(2, 102):
            with store.writer("test") as writer:
                writer.activate(put(writer, sample_set(str(v(number)))).version, "test")
                writer.prune()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(seen) > 5, "the readers read while the writer wrote"
    assert store.versions() == [v(101), v(100), v(99)]


def test_a_set_pruned_while_it_is_read_is_not_there_rather_than_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    sets_up_to(store, 4)
    real = Path.open

    def prune_first(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "trial.json" and path.parent.name == str(v(1)):
            monkeypatch.undo()
            with store.writer("other") as writer:
                assert writer.prune() == [v(1)]
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", prune_first)
    with pytest.raises(UsageError, match="not in the store"):
        store.get(v(1))


def test_the_active_set_is_the_new_one_when_the_old_one_goes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "definitions", SETTINGS)
    sets_up_to(store, 1)
    real = Path.open

    def others_first(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "manifest.json":
            monkeypatch.undo()
            with store.writer("other") as writer:
                for number in range(2, 6):
                    writer.activate(put(writer, sample_set(str(v(number)))).version, "test")
                assert v(1) in writer.prune()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", others_first)
    active = store.active()
    assert active is not None
    assert active.version == v(5)


def _until(done: threading.Event) -> Iterator[None]:
    while not done.is_set():
        yield


def _prepared_problem(prepared: Path) -> str | None:
    try:
        content = (prepared / PREPARED_FILE).read_bytes()
    except FileNotFoundError:
        return "prepared files are missing"
    return None if content == b"prepared" else "prepared files are cut short"


def _is_protected(store: Store, version: Version) -> bool:
    pointer = store.pointer() or Pointer()
    return version in (pointer.version, *pointer.before[:2])
