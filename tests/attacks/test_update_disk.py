"""The disk is full, read-only or broken, or no file can be opened, at every step of an update.

Whatever fails, and for how long: the store stays whole, the active set scans, and the next update
succeeds once the trouble is over.
"""

import builtins
import contextlib
import errno
import io
import itertools
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailward.errors import MailwardError, StoreError
from tests.attacks.faults import Computer, World

_WRITES = frozenset({"write", "fsync", "replace", "rename", "mkdir", "ftruncate", "create"})
_CHANGES = _WRITES | {"unlink", "rmdir", "change"}
_OPENS = frozenset({"create", "change", "read"})

_FAULTS = {
    "disk full": (errno.ENOSPC, _WRITES),
    "quota": (errno.EDQUOT, _WRITES),
    "read-only": (errno.EROFS, _CHANGES),
    "no file handles": (errno.EMFILE, _OPENS),
    "broken disk": (errno.EIO, _CHANGES),
}
_FOR_EVER = 1 << 30


@dataclass
class Faults:
    """From the n-th fitting call on, or only at it, the operating system says no."""

    code: int
    kinds: frozenset[str]
    at_call: int
    for_calls: int
    calls: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    reached: bool = False
    paused: bool = False

    def meets(self, kind: str, path: object) -> None:
        if self.paused or kind not in self.kinds:
            return
        if 0 <= next(self.calls) - self.at_call < self.for_calls:
            self.reached = True
            raise OSError(self.code, os.strerror(self.code), str(path))

    @contextlib.contextmanager
    def installed(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        with patch.context() as here:
            for name in ("write", "fsync", "replace", "rename", "mkdir", "ftruncate", "unlink"):
                here.setattr(os, name, self._before(name, getattr(os, name)))
            here.setattr(os, "rmdir", self._before("rmdir", os.rmdir))
            here.setattr(os, "open", self._opening(os.open))
            opened = self._opening_file(io.open)
            here.setattr(io, "open", opened)
            here.setattr(builtins, "open", opened)
            yield

    def _before(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.meets(kind, args[0])
            return real(*args, **kwargs)

        return call

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            new = flags & os.O_CREAT and not os.path.lexists(path)
            changes = flags & (os.O_WRONLY | os.O_RDWR)
            self.meets("create" if new else "change" if changes else "read", path)
            return real(path, flags, *args, **kwargs)

        return call

    def _opening_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not isinstance(file, int):
                new = mode[0] in "wax" and not os.path.lexists(file)
                self.meets("create" if new else "read" if mode[0] == "r" else "change", file)
            return real(file, mode, *args, **kwargs)

        return call


@pytest.mark.parametrize(
    ("what", "for_calls", "stride"),
    [
        ("disk full", _FOR_EVER, 1),
        ("quota", 1, 4),  # the same calls with another number
        ("read-only", _FOR_EVER, 2),
        ("no file handles", 1, 1),
        ("broken disk", 1, 2),
    ],
)
@pytest.mark.usefixtures("quick_trial")
def test_a_disk_that_fails_at_every_step(
    faults_world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    for_calls: int,
    stride: int,
) -> None:
    code, kinds = _FAULTS[what]
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # nobody cuts the power here
    clean = Computer(faults_world, tmp_path / "clean")
    clean.refresh()
    for at_call in itertools.count(1, stride):
        folder = tmp_path / f"{at_call}"
        computer = Computer(faults_world, folder)
        faults = Faults(code, kinds, at_call, for_calls)
        with computer.scanning() as scans:
            refused = _refused(computer, faults, monkeypatch)
        assert scans.failed == []
        assert computer.active() in (faults_world.old, faults_world.new), at_call
        assert computer.store.verify() == [], at_call
        if refused is not None:
            assert os.strerror(code) in str(refused), f"call {at_call}: {refused}"
            if computer.active() == faults_world.old:
                _is_told(computer, str(refused))
        computer.refresh()
        assert computer.active() == faults_world.new
        assert computer.status()["alerts"] == []
        assert computer.tree() == clean.tree(), f"call {at_call}: something leaked or is lost"
        shutil.rmtree(folder)
        if not faults.reached:
            break
    assert at_call > 10, "the update was never really disturbed"


def _refused(computer: Computer, faults: Faults, patch: pytest.MonkeyPatch) -> MailwardError | None:
    agent = computer.agent()
    with faults.installed(patch):
        try:
            agent.refresh(computer.channel)
        except MailwardError as e:
            return e
    return None


def _is_told(computer: Computer, why: str) -> None:
    """At once if the history could be written; that nothing is known, in any case."""
    told = computer.status()["channels"]["rapid"]["last_result"]
    assert told == f"failed: {why}" or told.startswith("activated")
    assert computer.later()["stale"]


# Real ones


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of its own, as large as is asked for."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(disk: Path, but_bytes: int) -> Path:
    filler = disk / "somebody's backup"
    free = shutil.disk_usage(disk).free
    with filler.open("wb") as file:
        file.write(bytes(max(0, free - but_bytes)))
    return filler


def _says_no_room(computer: Computer) -> None:
    """By what the last update said, or, if that could not be noted, by looking at the disk."""
    found = computer.status()
    told = [found["channels"]["rapid"]["last_result"], *found["alerts"]]
    assert any("no room" in words or "No space" in words for words in told), told
    assert computer.later()["stale"]


@pytest.mark.parametrize("left_kib", [0, 4, 64, 256])
@pytest.mark.usefixtures("quick_trial")
def test_a_full_disk(faults_world: World, small_disk: Callable[[str], Path], left_kib: int) -> None:
    """No byte more than that is left."""
    disk = small_disk("size=16m")
    computer = Computer(faults_world, disk)
    filler = _fill(disk, left_kib * 1024)
    with computer.scanning() as scans, pytest.raises(MailwardError, match=r"[Nn]o (space|room)"):
        computer.refresh()
    computer.kept_scanning(scans)
    _says_no_room(computer)
    filler.unlink()
    computer.recovers()


@pytest.mark.parametrize("left", [0, 1, 3, 6])
@pytest.mark.usefixtures("quick_trial")
def test_no_inodes_left(faults_world: World, small_disk: Callable[[str], Path], left: int) -> None:
    disk = small_disk("size=16m,nr_inodes=400")
    computer = Computer(faults_world, disk)
    fillers = _use_up_inodes(disk, left)
    with computer.scanning() as scans, pytest.raises(MailwardError, match=r"[Nn]o (space|room)"):
        computer.refresh()
    computer.kept_scanning(scans)
    _says_no_room(computer)
    shutil.rmtree(fillers)
    computer.recovers()


def _use_up_inodes(disk: Path, but: int) -> Path:
    fillers = disk / "mail"
    fillers.mkdir()
    for number in range(os.statvfs(disk).f_ffree - but):
        (fillers / str(number)).touch()
    return fillers


def test_a_disk_that_is_full_for_the_trial_says_nothing_about_the_set(
    faults_world: World, small_disk: Callable[[str], Path]
) -> None:
    """The download fits, what engines prepare does not: no reason never to take the set again."""
    disk = small_disk("size=16m,nr_inodes=400")
    computer = Computer(faults_world, disk)
    filler = _fill(disk, 460 * 1024)
    computer.withstands("the trial cannot be done: .*No space left on device", error=StoreError)
    filler.unlink()
    fillers = _use_up_inodes(disk, 18)
    computer.withstands("the trial cannot be done: .*No space left on device", error=StoreError)
    shutil.rmtree(fillers)
    computer.recovers()


def test_a_read_only_disk(faults_world: World, small_disk: Callable[[str], Path]) -> None:
    """As Linux does with a disk that has begun to fail."""
    disk = small_disk("size=16m")
    computer = Computer(faults_world, disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with computer.scanning() as scans, pytest.raises(StoreError, match="Read-only"):
        computer.refresh()
    computer.kept_scanning(scans)
    assert any("read-only" in alert for alert in computer.status()["alerts"])
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    computer.recovers()


@pytest.mark.usefixtures("quick_trial")
def test_no_file_handles_left_at_every_step(faults_world: World, tmp_path: Path) -> None:
    """For real: a child that may open just so many."""
    succeeded = []
    for left in range(40):
        computer = Computer(faults_world, tmp_path / str(left))
        said = _in_child(lambda computer=computer: computer.refresh(), left)  # type: ignore[misc]  # bound now
        with computer.scanning() as scans:
            pass
        assert scans.failed == []
        assert computer.store.verify() == []
        succeeded.append(said == "")
        if said:
            assert "Too many open files" in said, said
            assert computer.active() == faults_world.old
            _is_told(computer, said)
            computer.refresh()
        assert computer.active() == faults_world.new
        if succeeded[-3:] == [True] * 3:
            break
    assert succeeded[:3] == [False] * 3
    assert succeeded[-1]


def _in_child(job: Callable[[], object], files_left: int) -> str:
    """What a MailwardError says that ended the job; empty if none did."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said: Sequence[object] = ("",)
        try:
            most = max(int(fd) for fd in os.listdir("/proc/self/fd"))
            while (fd := os.open(os.devnull, os.O_RDONLY)) <= most:
                pass  # no number below is free then
            resource.setrlimit(resource.RLIMIT_NOFILE, (fd + files_left, fd + files_left))
            os.close(fd)
            job()
        except MailwardError as e:
            said = (e,)
        except BaseException as e:  # noqa: BLE001 (told to the parent)
            said = ("not ours", repr(e))
        os.write(write, " ".join(map(str, said)).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said_text = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0
    return said_text
