"""A publisher that is killed, meets a full disk, or is not alone: what is published stays whole."""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailward import durable
from mailward.definitions.model import Channel, Version
from mailward.errors import PublishError
from mailward.publish import pruning, rotation
from mailward.publish.build import build
from mailward.publish.home import Home
from mailward.publish.repository import Publisher
from mailward.publish.status import status

RAPID = Channel.RAPID
Built = Callable[[], Version]
Clients = Callable[[], Any]


def _killed_at(step: int, work: Callable[[], object]) -> int:
    """Do ``work`` in a process that is killed before its ``step``-th rename; how that ended."""
    child = os.fork()
    if child == 0:
        left, real = step, durable.publish

        def dying(temporary: Path, path: Path) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            real(temporary, path)

        durable.publish = dying
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_publisher_killed_at_any_write_leaves_a_whole_repository(
    publisher: Publisher, built: Built, home: Home, client: Clients, tmp_path: Path
) -> None:
    old, new = built(), built()
    publisher.publish(old)
    steps: dict[str, Callable[[], object]] = {
        "publish": lambda: publisher.publish(new),
        "promote": lambda: publisher.promote(old),
        "withdraw": lambda: publisher.withdraw(old, "hits invoices"),
        "refresh": publisher.refresh_timestamp,
        "rotate timestamp": lambda: rotation.rotate(publisher, "timestamp"),
        "rotate targets": lambda: rotation.rotate(publisher, "targets"),
        "rotate root": lambda: rotation.rotate(publisher, "root"),
        "rotate rapid": lambda: rotation.rotate(publisher, "rapid"),
        "prune": lambda: pruning.prune(home, publisher.signing().now),
    }
    shutil.copytree(home.folder, tmp_path / "saved")
    for name, work in steps.items():
        for step in range(1, 30):
            shutil.rmtree(home.folder)
            shutil.copytree(tmp_path / "saved", home.folder)
            ended = _killed_at(step, work)
            if ended == 0:
                break
            assert ended == -signal.SIGKILL, (name, step)
            seen = client()
            offered = {channel: seen.current(channel).version for channel in Channel}
            assert offered[RAPID] in (old, new, None), (name, step)
            if offered[RAPID] is not None:
                assert seen.manifest(RAPID).version == offered[RAPID]
            publisher.refresh_timestamp()  # finishes what was begun
            seen = client()
            assert {channel: seen.current(channel).version for channel in Channel} == offered
        assert step > 1, name


def test_publishers_of_several_processes_lose_none_of_each_others_work(
    publisher: Publisher, home: Home, client: Clients, feed: Any
) -> None:
    lines = type(feed)
    number = {role.role: role.number for role in status(home).roles}["timestamp"]
    children = []
    for worker in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for turn in range(6):
                    feed = lines([f"{worker * 100 + turn:064x}:*:Test"], f"lines{worker}")
                    version = build(home, [feed]).version
                    publisher.publish(version, forced="a test")
                    publisher.refresh_timestamp()
                code = 0
            except PublishError:
                code = 3  # another was faster: it offers a newer set already
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 3}
    assert 0 in codes
    found = status(home)
    seen = client()
    newest = found.channels[RAPID].offer.version
    assert seen.manifest(RAPID).version == newest == max(found.channels[RAPID].versions)
    # Each set and each refresh was one number of the timestamp.
    numbers = {role.role: role.number for role in found.roles}
    assert numbers["timestamp"] >= number + 12
    assert numbers["rapid"] - 1 == len(found.channels[RAPID].versions)
    publisher.refresh_timestamp()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_full_or_broken_disk_at_any_step_is_said_and_leaves_a_whole_repository(
    publisher: Publisher,
    built: Built,
    home: Home,
    client: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: int,
) -> None:
    old, new = built(), built()
    publisher.publish(old)
    works: list[Callable[[], object]] = [
        lambda: publisher.publish(new),
        publisher.refresh_timestamp,
        lambda: rotation.rotate(publisher, "snapshot"),
        lambda: pruning.prune(home, publisher.signing().now),
    ]
    shutil.copytree(home.folder, tmp_path / "saved")
    real, left = durable.write_all, 0

    def writing(fd: int, content: bytes | memoryview) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            real(fd, bytes(content)[: len(content) // 2])
            raise OSError(error, os.strerror(error))
        real(fd, content)

    monkeypatch.setattr(durable, "write_all", writing)
    for work in works:
        for step in range(1, 30):
            shutil.rmtree(home.folder)
            shutil.copytree(tmp_path / "saved", home.folder)
            left = step
            try:
                work()
            except PublishError as e:
                said = str(e)
            else:
                break
            left = 0
            assert "the disk failed" in said
            assert "make room or repair it" in said
            assert client().current(RAPID).version == old
            assert not list(home.folder.rglob(".tmp-*"))
            publisher.refresh_timestamp()
            assert client().manifest(RAPID).version == old
        assert step > 1
    left = 0


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 99, b'{"files": [{"path": "../x", "content": ""}]}']
)
def test_a_damaged_list_of_pending_files_is_said_and_nothing_is_written(
    publisher: Publisher, home: Home, content: bytes
) -> None:
    (home.folder / "pending.json").write_bytes(content)
    before = {p: p.read_bytes() for p in home.folder.rglob("*") if p.is_file()}
    with pytest.raises(PublishError, match=r"pending\.json is damaged"):
        publisher.refresh_timestamp()
    after = {p: p.read_bytes() for p in home.folder.rglob("*") if p.is_file()}
    assert {p for p in after if after[p] != before.get(p)} <= {home.folder / "lock"}
