"""What gates make of what they found: values in, a gate out."""

from pathlib import Path

import pytest

from mailward.definitions.model import Gate
from mailward.errors import PublishError
from mailward.publish.gates import known_bad, known_good, performance, swap
from mailward.publish.gates.base import CULPRIT_MAX, CULPRITS_MAX, Limits, NotRun, gate
from mailward.publish.gates.files import Found
from mailward.publish.gates.known_bad import Sample
from mailward.publish.gates.measure import Measured
from mailward.publish.home import Home
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict

CLEAN = Found("/clean/a.txt", "k1")
HIT = Found("/clean/b.txt", "k2", ("Broad",), ("yara:x:Broad",))


# --- known-good ---


def test_an_empty_collection_does_not_pass() -> None:
    nothing = known_good.known_good([])
    assert not nothing.passed
    assert "not run" in nothing.detail


def test_a_clean_collection_passes() -> None:
    assert known_good.known_good([CLEAN]) == Gate(
        name="known-good-collection", passed=True, detail="0 of 1 files hit"
    )


def test_signatures_are_named_with_their_files_the_worst_first() -> None:
    many = [Found(f"/c/{n}", f"k{n}", ("Mass",), ("hashes:ff",)) for n in range(5)]
    verdict = known_good.known_good([CLEAN, HIT, *many])
    assert not verdict.passed
    assert verdict.culprits == (
        "hashes:ff in /c/0, /c/1, /c/2 and 2 more",
        "yara:x:Broad in /clean/b.txt",
    )
    assert known_good.at_fault([HIT, *many]) == {"yara:x:Broad", "hashes:ff"}


def test_a_clean_file_that_cannot_be_scanned_to_its_end_fails() -> None:
    verdict = known_good.known_good([CLEAN, Found("/c/slow", "k", trouble="time: 20 s are over")])
    assert not verdict.passed
    assert verdict.culprits == ("/c/slow: time: 20 s are over",)


def test_a_report_is_bounded_and_says_what_it_leaves_out() -> None:
    big = gate("x", False, "d" * 10_000, [f"{n}" + "c" * 10_000 for n in range(5000)])
    assert len(big.culprits) == CULPRITS_MAX
    assert max(map(len, big.culprits)) == CULPRIT_MAX
    small = gate("x", False, "d", map(str, range(CULPRITS_MAX + 7)))
    assert "7 more" in small.detail


# --- known-bad ---

BEFORE = {"k2": Sample("k2", "/bad/b.exe", ("yara:x:Trojan",))}


def test_without_any_sample_nothing_was_run() -> None:
    assert isinstance(known_bad.known_bad({}, []), NotRun)


def test_a_lost_detection_names_sample_and_signature() -> None:
    verdict = known_bad.known_bad(BEFORE, [Found("/bad/b.exe", "k2")])
    assert isinstance(verdict, Gate)
    assert not verdict.passed
    assert verdict.culprits == ("/bad/b.exe is lost; found before by yara:x:Trojan",)


def test_a_sample_that_another_signature_finds_is_still_found() -> None:
    verdict = known_bad.known_bad(BEFORE, [HIT])
    assert isinstance(verdict, Gate)
    assert verdict.passed


def test_a_sample_that_is_gone_is_no_pass() -> None:
    verdict = known_bad.known_bad(BEFORE, [])
    assert isinstance(verdict, Gate)
    assert not verdict.passed
    assert "is gone" in verdict.culprits[0]


def test_a_sample_that_was_never_found_is_counted_and_no_failure() -> None:
    verdict = known_bad.known_bad({}, [Found("/bad/new.exe", "k9")])
    assert isinstance(verdict, Gate)
    assert verdict.passed
    assert verdict.detail.startswith("0 of 1 samples found")


def test_samples_are_remembered_with_what_found_them(home: Home) -> None:
    known_bad.remember(home, BEFORE, [CLEAN, Found("/bad/c", "k3", ("C",), ("hashes:aa",))])
    index = known_bad.read(home)
    assert set(index) == {"k2", "k3"}
    assert index["k3"] == Sample("k3", "/bad/c", ("hashes:aa",))


def test_samples_are_looked_for_where_they_were(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    index = {n: Sample(n, str(tmp_path / n), ()) for n in ("there", "gone")}
    assert known_bad.places(index, [tmp_path]) == [tmp_path, tmp_path / "there"]


@pytest.mark.parametrize("line", [b"junk", b"{}", b"\0", b"[" * 100_000, b'{"key": 1}'])
def test_a_damaged_index_is_never_taken_for_an_empty_one(home: Home, line: bytes) -> None:
    home.known_bad.write_bytes(line + b"\n")
    with pytest.raises(PublishError, match="line 1"):
        known_bad.read(home)


# --- performance ---


def _measured(*ms: float, mib: float = 50) -> list[Measured]:
    return [Measured(each / 1000, int(mib * (1 << 20)), ("a.eml",), (each / 1000,)) for each in ms]


def test_a_set_that_takes_twice_as_long_is_too_slow_and_the_file_is_named() -> None:
    verdict = performance.judge(_measured(10, 10, 10), _measured(21, 21, 21), Limits(), "before")
    assert not verdict.passed
    assert "2.10 times as long" in verdict.culprits[0]
    assert "a.eml" in verdict.culprits[0]
    assert performance.judge(_measured(10), _measured(19.9), Limits(), "before").passed


def test_one_noisy_round_decides_nothing() -> None:
    old, new = _measured(10, 10, 10), _measured(10, 900, 10)
    assert performance.judge(old, new, Limits(), "before").passed


def test_what_nobody_would_notice_passes_whatever_the_ratio() -> None:
    assert performance.judge(_measured(0.01), _measured(0.4), Limits(), "before").passed
    old, new = _measured(10, mib=1), _measured(10, mib=20)
    assert performance.judge(old, new, Limits(), "before").passed


def test_a_set_that_needs_more_memory_than_allowed_fails() -> None:
    old, new = _measured(10, mib=50), _measured(10, mib=101)
    verdict = performance.judge(old, new, Limits(), "before")
    assert not verdict.passed
    assert "2.02 times the memory" in verdict.culprits[0]


def test_the_limits_are_the_publishers() -> None:
    old, new = _measured(10, mib=50), _measured(30, mib=150)
    assert performance.judge(old, new, Limits(time_ratio=4, memory_ratio=4), "before").passed
    assert not performance.judge(old, new, Limits(time_ratio=2.9, memory_ratio=4), "b").passed


# --- hot swap ---


def _verdict(version: str) -> Verdict:
    return Verdict(set=version)


def test_a_swap_without_a_failure_passes() -> None:
    assert swap.judge([_verdict("old"), _verdict("old"), _verdict("new")], "old", "new").passed


@pytest.mark.parametrize(
    ("outcomes", "culprit"),
    [
        ([_verdict("old"), "no worker can scan", _verdict("new")], "a scan failed: no worker"),
        ([_verdict("old"), _verdict("")], "name the set none"),
        ([_verdict("old"), _verdict("other"), _verdict("new")], "name the set other"),
        ([_verdict("old")], "no message was scanned with new"),
        ([_verdict("new")], "no message was scanned with old"),
        (
            [_verdict("old"), Verdict(set="new", risks=(Risk("A", "e", "p", "old"),))],
            "mixes new",
        ),
        (
            [_verdict("old"), Verdict(set="new", unopened=(Unopened("m", Reason.CRASH),))],
            "could not be scanned: crash",
        ),
    ],
)
def test_a_swap_that_costs_anything_fails(outcomes: list[Verdict | str], culprit: str) -> None:
    verdict = swap.judge(outcomes, "old", "new")
    assert not verdict.passed
    assert any(culprit in each for each in verdict.culprits)
