"""Content that is not what was promised, disks that are full, folders that cannot be written."""

import errno
import hashlib
import itertools
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Version
from mailward.definitions.store import Store
from mailward.definitions.testing import put, sample_set, stage
from mailward.errors import FetchError, MailwardError, StoreError, TrustError, UsageError
from mailward.settings.update import StoreSettings

CONTENT = b"a shard's content, as its publisher signed it\n" * 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))
    with store.writer("test") as writer:
        writer.activate(put(writer, sample_set("20260101.001")).version, "test")
    return store


@pytest.fixture
def unchanged(store: Store) -> Iterator[None]:
    """Whatever the test does, the store stays as it was and scanning goes on (S5)."""
    before = tree(store)
    yield
    assert tree(store) == before
    active = store.active()
    assert active is not None
    assert active.version == Version(20260101, 1)
    assert store.verify() == []


def tree(store: Store) -> dict[str, bytes]:
    ours = (p for p in store.folder.rglob("*") if p.is_file() and not p.name.startswith("history"))
    return {str(path): path.read_bytes() for path in ours}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([CONTENT[:-1] + b"?"], "other content"),
        ([bytes([CONTENT[0] ^ 1]), CONTENT[1:]], "other content"),
        ([CONTENT[:-1]], f"ends after {SIZE - 1}"),
        ([], "ends after 0"),
        ([b""] * 5, "ends after 0"),
        ([CONTENT, b"x"], "goes on after"),
        ([CONTENT * 10], "goes on after"),
        (itertools.repeat(b"\0" * 100), "goes on after"),
    ],
    ids=["last byte", "first bit", "short", "none", "empty", "long", "repeated", "endless"],
)
def test_a_shard_that_is_not_what_was_signed_leaves_nothing_behind(
    store: Store, chunks: Any, message: str
) -> None:
    with store.writer("test") as writer, pytest.raises(TrustError, match=message):
        writer.add_object(SHA256, SIZE, chunks)
    assert not store.has_object(SHA256)


@pytest.mark.usefixtures("unchanged")
def test_an_endless_shard_is_given_up_after_its_size_not_after_the_disk(store: Store) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 100
            yield b"\0" * 100

    with store.writer("test") as writer, pytest.raises(TrustError):
        writer.add_object(SHA256, SIZE, endless())
    assert taken <= SIZE + 100


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "error", [FetchError("reset"), ConnectionResetError("reset"), TimeoutError("late")]
)
def test_a_transfer_that_breaks_off_is_not_called_a_failure_of_the_disk(
    store: Store, error: Exception
) -> None:
    def breaks_off() -> Iterator[bytes]:
        yield CONTENT[:50]
        raise error

    with store.writer("test") as writer, pytest.raises(type(error)):
        writer.add_object(SHA256, SIZE, breaks_off())


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "sha256", ["", "../../../../etc/passwd", "/etc/passwd", SHA256.upper(), SHA256 + "\n", "a" * 63]
)
def test_a_name_that_is_no_hash_reaches_no_file(store: Store, sha256: str) -> None:
    with store.writer("test") as writer, pytest.raises(UsageError, match="not a SHA-256"):
        writer.add_object(sha256, 0, [])
    with pytest.raises(UsageError, match="not a SHA-256"):
        store.has_object(sha256)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("what", ["link", "fifo"])
def test_prepared_files_that_point_elsewhere_are_not_taken(store: Store, what: str) -> None:
    stored = store.get(Version(20260101, 1))
    assert stored.trial is not None
    with store.writer("test") as writer, writer.workspace() as workspace:
        (workspace / "fake-1").mkdir()
        if what == "link":
            (workspace / "fake-1/patterns").symlink_to("/etc/passwd")
        else:
            os.mkfifo(workspace / "fake-1/patterns")
        with pytest.raises(StoreError, match="neither a file nor a folder"):
            writer.record_trial(stored.version, stored.trial, workspace)


# Full disks


@pytest.mark.usefixtures("unchanged")
def test_too_little_room_refuses_the_update_before_it_begins(store: Store) -> None:
    free = shutil.disk_usage(store.folder).free
    with store.writer("test") as writer, pytest.raises(StoreError, match="no room"):
        writer.require_room(free + 1)
    strict = Store(store.folder, StoreSettings(min_free_bytes=free * 2))
    with (
        strict.writer("test") as writer,
        pytest.raises(StoreError, match=r"are to stay free \(store.min_free_bytes\)"),
    ):
        writer.add_object(SHA256, SIZE, [CONTENT])


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fails_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with store.writer("test") as writer:
        monkeypatch.setattr(os, call, fail)
        expected = os.strerror(number) if number == errno.EIO else "no room to"
        with pytest.raises(StoreError, match=expected):
            writer.add_object(SHA256, SIZE, [CONTENT])
        with pytest.raises(StoreError, match=expected):
            writer.refuse(Version(20260101, 9), "withdrawn")
        certified = sample_set("20260101.001").manifest
        with pytest.raises(StoreError, match=expected):
            writer.stage(certified)
        monkeypatch.undo()


@pytest.mark.usefixtures("unchanged")
def test_a_real_limit_of_the_operating_system_is_told_as_no_room(store: Store) -> None:
    def job() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        big = b"x" * 100_000
        with store.writer("test") as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
            with pytest.raises(StoreError, match="no room to"):
                writer.add_object(hashlib.sha256(big).hexdigest(), len(big), [big])

    in_child(job)


def test_a_full_disk_does_not_keep_the_administrator_from_seeing_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with store.writer("test") as writer:
        assert writer.prune() == [], "which is how room is made"
    assert store.active() is not None


# Folders that cannot be written


def test_a_folder_that_cannot_be_written_can_be_read_and_says_so() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mailward-test-"))
    try:
        store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
        with store.writer("test") as writer:
            writer.activate(put(writer, sample_set("20260101.001")).version, "test")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        in_child(lambda: _reads_but_does_not_write(store))
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _reads_but_does_not_write(store: Store) -> None:
    if os.geteuid() == 0:  # whom no mode holds back
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    active = store.active()
    assert active is not None
    assert active.version == Version(20260101, 1)
    assert store.verify() == []
    with pytest.raises(StoreError, match="Permission denied"), store.writer("test"):
        raise AssertionError("written")
    with pytest.raises(StoreError, match="Permission denied"):  # noqa: SIM117 (two stores)
        with Store(store.folder.parent / "another").writer("test"):
            raise AssertionError("written")


def test_a_file_where_the_store_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "definitions").write_text("not a folder")
    store = Store(tmp_path / "definitions")
    with pytest.raises(StoreError, match="definitions"), store.writer("test"):
        raise AssertionError("written")
    assert store.active() is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shutil.rmtree(folder / "objects"),
        lambda folder: shutil.rmtree(folder / "sets"),
        lambda folder: shutil.rmtree(folder / "work"),
        lambda folder: (folder / "lock").unlink(),
        lambda folder: (folder / "history.jsonl").write_bytes(os.urandom(5000)),
        lambda folder: shutil.rmtree(folder / "sets/20260101.001/prepared"),
        lambda folder: (folder / "sets/20260101.001/trial.json").write_bytes(b"\0" * 5000),
        lambda folder: (folder / "sets/20260101.001/manifest.json").write_bytes(b"[" * 10**6),
        lambda folder: (folder / "sets/20260101.002").symlink_to("/nowhere"),
        lambda folder: (folder / "sets/20260101.003").write_text("a file"),
        lambda folder: (folder / "active").write_bytes(b"\xff" * 10**6),
    ],
)
def test_the_next_update_mends_whatever_was_done_to_the_folder(
    store: Store, damage: Callable[[Path], object]
) -> None:
    damage(store.folder)
    with store.writer("update") as writer:
        for number in (2, 3):
            sample = sample_set(f"20260101.00{number}")
            stage(writer, sample)
            writer.activate(put(writer, sample).version, "update")
        writer.prune()
    active = store.active()
    assert active is not None
    assert active.version == Version(20260101, 3)
    assert store.verify(active.version) == []


def in_child(job: Callable[[], None]) -> None:
    """Run what changes the process for good. Its failure is told in the test's output."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job()
            code = 0
        except (MailwardError, AssertionError, pytest.fail.Exception, OSError) as e:
            os.write(2, repr(e).encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
