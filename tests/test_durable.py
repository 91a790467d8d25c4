import errno
import os
import stat
from pathlib import Path

import pytest

from mailward import durable


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"first", b"second" * 100_000):
        durable.write_atomic(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_the_mode_is_narrow_from_the_first_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = os.write

    def spy(fd: int, content: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return real(fd, content)

    monkeypatch.setattr(os, "write", spy)
    durable.write_atomic(tmp_path / "key", b"secret", mode=0o600)
    assert modes == [0o600]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="no room"):
            durable.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_call_that_writes_less_than_it_was_given_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:3]))
    durable.write_atomic(tmp_path / "file", b"in several pieces")
    assert (tmp_path / "file").read_bytes() == b"in several pieces"


def test_a_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"untouched")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    durable.write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "victim").read_bytes() == b"untouched"
    assert not (tmp_path / "link").is_symlink()


def test_an_unfinished_file_can_rest_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "final").mkdir()
    sources = []
    real = os.replace

    def spy(source: Path, target: Path) -> None:
        sources.append(source)
        real(source, target)

    monkeypatch.setattr(os, "replace", spy)
    durable.write_atomic(tmp_path / "final/file", b"content", scratch=scratch)
    assert [source.parent for source in sources] == [scratch]
    assert durable.is_temporary(sources[0])
    assert os.listdir(scratch) == []


def test_temporary_names_are_known_and_fresh(tmp_path: Path) -> None:
    path = tmp_path / "file"
    one, other = durable.temporary_beside(path), durable.temporary_beside(path)
    assert one != other
    assert durable.is_temporary(one)
    assert one.parent == tmp_path
    assert not durable.is_temporary(path)


def test_folders_are_made_with_all_above_them_and_may_exist(tmp_path: Path) -> None:
    folder = tmp_path / "a/b/c"
    durable.make_folder(folder)
    durable.make_folder(folder)
    assert folder.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        durable.make_folder(tmp_path / "file/below")


def test_everything_in_a_tree_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).write_text(name)
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))
    durable.fsync_tree(tmp_path)
    assert synced == {str(path) for path in [tmp_path, *tmp_path.rglob("*")]}


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_tree_with_more_than_files_and_folders_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "link").symlink_to("/etc/passwd")
    else:
        os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="neither a file nor a folder"):
        durable.fsync_tree(tmp_path)
