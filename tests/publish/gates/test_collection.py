"""Files through a set: found, resumed, and never done twice."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mailward.errors import UsageError
from mailward.publish.gates.base import Subject
from mailward.publish.gates.collection import forget_old, scan_all
from mailward.publish.gates.files import (
    BATCH_BYTES,
    BATCH_FILES,
    File,
    Found,
    batches,
    below,
    identify,
    judged,
)
from mailward.publish.gates.local import LocalWorkers
from mailward.publish.home import Home
from mailward.scan.verdict import Reason, Unopened, Verdict
from tests.publish.gates.sets import no_progress, rule

MakeSubject = Callable[..., Subject]


class Pretend:
    """Workers that find nothing, and note what they were given; stopped after ``stop_after``."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.scanned: list[str] = []
        self._stop_after = stop_after

    def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
        for file in files:
            if len(self.scanned) >= self._stop_after:
                raise KeyboardInterrupt
            self.scanned.append(Path(file.path).name)
            told([Found(file.path, file.key)])


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"harmless {number}")
    return folder


def test_the_real_workers_find_what_is_there(subject: MakeSubject, clean: Path) -> None:
    it = subject(a=rule("Broad", "harmless 7"), b=rule("Fine", "not there"))
    found = scan_all(it, "test", [clean], LocalWorkers(it), no_progress)
    assert len(found) == 20
    (hit,) = [each for each in found if each.risks]
    assert Path(hit.path).name == "07.txt"
    assert hit.risks == ("Broad",)
    assert hit.signatures == ("yara:a:Broad",)


def test_what_was_scanned_before_an_interruption_is_not_scanned_again(
    subject: MakeSubject, clean: Path
) -> None:
    it = subject(a=rule("A", "x1"))
    first = Pretend(stop_after=13)
    with pytest.raises(KeyboardInterrupt):
        scan_all(it, "test", [clean], first, no_progress)
    second = Pretend()
    assert len(scan_all(it, "test", [clean], second, no_progress)) == 20
    assert len(second.scanned) == 7
    assert sorted(first.scanned + second.scanned) == sorted(p.name for p in clean.iterdir())
    third = Pretend()
    assert len(scan_all(it, "test", [clean], third, no_progress)) == 20
    assert third.scanned == []


def test_a_line_that_was_cut_off_is_scanned_again(subject: MakeSubject, clean: Path) -> None:
    it = subject(a=rule("A", "x1"))
    scan_all(it, "test", [clean], Pretend(), no_progress)
    (journal,) = it.home.checks.glob("*/*.jsonl")
    content = journal.read_bytes()
    journal.write_bytes(content[:-20])
    again = Pretend()
    scan_all(it, "test", [clean], again, no_progress)
    assert len(again.scanned) == 1
    last = Pretend()
    scan_all(it, "test", [clean], last, no_progress)
    assert last.scanned == []


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"[]\n{}\nnull\n", b"[" * 100_000 + b"\n"])
def test_a_damaged_journal_only_costs_time(subject: MakeSubject, clean: Path, junk: bytes) -> None:
    it = subject(a=rule("A", "x1"))
    scan_all(it, "test", [clean], Pretend(), no_progress)
    (journal,) = it.home.checks.glob("*/*.jsonl")
    journal.write_bytes(junk)
    again = Pretend()
    assert len(scan_all(it, "test", [clean], again, no_progress)) == 20
    assert len(again.scanned) == 20


def test_a_file_that_changed_is_scanned_again(subject: MakeSubject, clean: Path) -> None:
    it = subject(a=rule("A", "x1"))
    scan_all(it, "test", [clean], Pretend(), no_progress)
    (clean / "03.txt").write_text("something else")
    (clean / "04.txt").rename(clean / "04.exe")  # rules ask for names
    again = Pretend()
    scan_all(it, "test", [clean], again, no_progress)
    assert sorted(again.scanned) == ["03.txt", "04.exe"]


def test_a_file_that_moved_is_known_by_its_new_path(subject: MakeSubject, clean: Path) -> None:
    it = subject(a=rule("A", "x1"))
    scan_all(it, "test", [clean], Pretend(), no_progress)
    moved = clean.rename(clean.with_name("moved"))
    again = Pretend()
    found = scan_all(it, "test", [moved], again, no_progress)
    assert again.scanned == []
    assert all(Path(each.path).parent == moved for each in found)


def test_another_set_is_scanned_with_from_the_start(subject: MakeSubject, clean: Path) -> None:
    scan_all(subject(a=rule("A", "x1")), "test", [clean], Pretend(), no_progress)
    other = Pretend()
    scan_all(subject(a=rule("A", "x2")), "test", [clean], other, no_progress)
    assert len(other.scanned) == 20


def test_the_same_content_and_name_is_scanned_once_and_answered_twice(
    subject: MakeSubject, clean: Path
) -> None:
    (clean / "copy").mkdir()
    (clean / "copy/07.txt").write_bytes((clean / "07.txt").read_bytes())
    once = Pretend()
    found = scan_all(subject(a=rule("A", "x1")), "test", [clean], once, no_progress)
    assert len(once.scanned) == 20
    assert len(found) == 21


def test_what_no_worker_answered_for_is_trouble(subject: MakeSubject, clean: Path) -> None:
    class Lazy:
        def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
            pass

    found = scan_all(subject(a=rule("A", "x1")), "test", [clean], Lazy(), no_progress)
    assert all(each.trouble for each in found)


def test_what_had_trouble_is_tried_again(subject: MakeSubject, clean: Path) -> None:
    class Crashing(Pretend):
        def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
            for file in files:
                told([Found(file.path, file.key, trouble="crash")])

    it = subject(a=rule("A", "x1"))
    assert all(f.trouble for f in scan_all(it, "test", [clean], Crashing(), no_progress))
    again = Pretend()
    assert not any(f.trouble for f in scan_all(it, "test", [clean], again, no_progress))
    assert len(again.scanned) == 20


def test_progress_goes_from_what_is_known_to_all(subject: MakeSubject, clean: Path) -> None:
    it = subject(a=rule("A", "x1"))
    with pytest.raises(KeyboardInterrupt):
        scan_all(it, "test", [clean], Pretend(stop_after=5), no_progress)
    said: list[tuple[str, int, int]] = []
    scan_all(it, "test", [clean], Pretend(), lambda *what: said.append(what))
    assert said[0] == ("test", 5, 20)
    assert said[-1] == ("test", 20, 20)


def test_only_the_newest_journals_are_kept(home: Home) -> None:
    for number in range(8):
        folder = home.checks / f"2026112{number}.001"
        folder.mkdir(parents=True)
        os.utime(folder, (number, number))
    forget_old(home)
    assert sorted(p.name for p in home.checks.iterdir()) == [f"2026112{n}.001" for n in range(3, 8)]


def test_a_place_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        below([tmp_path / "nowhere"])


def test_files_are_named_once_and_nothing_but_files(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").touch()
    (tmp_path / "a/link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "a/pipe")
    assert below([tmp_path, tmp_path / "a", tmp_path / "a/b/file"]) == [tmp_path / "a/b/file"]


def test_batches_are_bounded_in_number_and_size() -> None:
    small = [File(str(n), str(n), 1) for n in range(BATCH_FILES * 2 + 1)]
    assert [len(batch) for batch in batches(small)] == [BATCH_FILES, BATCH_FILES, 1]
    large = [File(str(n), str(n), BATCH_BYTES) for n in range(3)]
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert list(batches([])) == []


def test_what_the_scanner_could_not_stand_is_trouble_and_what_is_locked_is_not() -> None:
    file = File("a", "k", 1)
    for reason in Reason:
        verdict = Verdict(unopened=(Unopened("a", reason, "why"),))
        assert bool(judged(file, verdict).trouble) is (reason in (Reason.TIME, Reason.CRASH))


def test_the_key_is_of_name_and_content(tmp_path: Path) -> None:
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(content)
    keys = {identify(tmp_path / name).key for name in "abc"}
    assert len(keys) == 3
    json.dumps(sorted(keys))


def test_a_file_that_goes_away_is_trouble(subject: MakeSubject, tmp_path: Path) -> None:
    it = subject(a=rule("A", "x1"))
    path = tmp_path / "gone.txt"
    path.write_text("x")
    file = identify(path)
    path.unlink()
    found: list[Found] = []
    LocalWorkers(it).run(iter([file]), found.extend)
    assert "cannot be read" in found[0].trouble
