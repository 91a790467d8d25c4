"""Who gets the next slice of fuzzing."""

import os
import signal
from pathlib import Path

import pytest

from tests.fuzzing import seeds
from tests.fuzzing.parsers import PARSERS
from tests.fuzzing.rotation import Course, Rotation, run

LOG = b"""INFO: seed corpus: files: 9
#10\tINITED cov: 100 ft: 200 corp: 9/1Kb exec/s: 0 rss: 1Mb
#99\tDONE   cov: %d ft: 300 corp: 12/2Kb lim: 4 exec/s: 9 rss: 1Mb
"""


def course(edges: int) -> Course:
    made = Course()
    made.add(10, LOG % edges)
    return made


def test_what_libfuzzer_writes_is_understood() -> None:
    made = course(130)
    assert (made.runs, made.edges, made.new_edges, made.new_features) == (99, 130, 30, 100)
    made.add(10, LOG % 100)
    assert (made.still_s, made.seconds, made.new_edges) == (10, 20, 0)


def test_untried_ones_come_first_then_who_gained_most_and_never_who_stands_still(
    tmp_path: Path,
) -> None:
    rotation = Rotation(tmp_path, still_s=30)
    rotation.courses = {"a": course(110), "b": course(150), "still": Course(still_s=30)}
    assert rotation.next(["a", "new", "b", "still"]) == "new"
    assert rotation.next(["a", "b", "still"]) == "b"
    assert rotation.next(["still"]) is None


def test_who_failed_waits_until_it_is_mended(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path, still_s=30)
    found = tmp_path / "found" / "a-crash-0"
    found.write_bytes(b"")
    assert rotation.next(["a"]) is None
    found.unlink()
    assert rotation.next(["a"]) == "a"


def test_what_raises_is_kept_as_a_finding(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path, still_s=30)
    with pytest.raises(ValueError, match="invalid literal"):
        rotation.keeping("a", int)(b"none")
    [found] = rotation.found("a")
    assert found.read_bytes() == b"none"


def test_runs_of_which_no_code_is_seen_are_counted() -> None:
    made = Course()
    made.add(10, b"#99\tDONE   corp: 1/1b lim: 4 exec/s: 9 rss: 1Mb\n")
    assert (made.runs, made.edges, made.still_s) == (99, 0, 10)


@pytest.mark.parametrize("dies", [False, True])
def test_a_slice_that_dies_costs_itself_and_a_later_rotation_goes_on(
    tmp_path: Path, dies: bool
) -> None:
    def fuzz(target: str) -> None:
        os.write(2, LOG % 100)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    run(Rotation(tmp_path, still_s=1e-9), ["a", "b"], 1, 0, fuzz)
    later = Rotation(tmp_path, still_s=1e-9)
    assert {name: made.runs for name, made in later.courses.items()} == {"a": 99, "b": 99}
    assert later.next(["a", "b"]) is None
    assert "| a |" in later.table()


def test_literals_of_the_code_that_a_parser_comes_through_are_words_to_try() -> None:
    found = seeds.words(PARSERS["chm"], [b"ITSF\3" + bytes(200)])
    assert b"PMGL" in found
    assert '"\\x50\\x4d\\x47\\x4c"' in seeds.dictionary(found)


def test_seeds_are_for_parsers() -> None:
    named = {*seeds.STARTS, *seeds.LISTS, *seeds.LINES}
    assert named <= set(PARSERS)
