"""The gates, with the proof's outcome made up; the last test lets the real engines do it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import (
    EngineTrial,
    Gate,
    Level,
    QualityReport,
    RefusedSignature,
    ShardKind,
    Version,
)
from mailward.errors import PublishError, TrialError, UsageError
from mailward.publish import candidates, quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_spec
from mailward.publish.gates.base import Limits
from mailward.publish.gates.means import BASIC_FILES_MAX
from mailward.publish.home import Home
from mailward.publish.quality import Means, check, check_excluding
from mailward.publish.repository import Publisher
from mailward.scan.engine import Source
from mailward.scan.proof import Proof

GOOD = Proof(
    engines=(
        EngineTrial(
            engine="hashes",
            fingerprint="1",
            signatures=200,
            refused_count=0,
            prepare_ms=1.0,
            load_ms=1.0,
        ),
    ),
    unused_signatures=0,
    probes_found=2,
    probes_missing=(),
    false_positives=(),
    known_good_scanned=8,
    duration_ms=5.0,
)


class MadeUp:
    """Stands for the child process."""

    def __init__(self) -> None:
        self.proof: Proof | TrialError = GOOD
        self.sources: dict[str, tuple[ShardKind, bytes]] = {}
        self.known_good: Sequence[Path] = ()
        self.before: list[list[str]] = []

    def __call__(
        self,
        sources: Sequence[Source],
        into: Path,
        *,
        known_good: Sequence[Path],
        before: Path | None,
        **_: object,
    ) -> Proof:
        assert not list(into.iterdir())
        self.before.append([p.read_text() for p in before.iterdir()] if before else [])
        (into / "file").write_text(f"made by {len(self.before)}")
        self.sources = {s.name: (s.kind, s.path.read_bytes()) for s in sources}
        self.known_good = known_good
        if isinstance(self.proof, TrialError):
            raise self.proof
        return self.proof


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made_up = MadeUp()
    monkeypatch.setattr(quality, "prove", made_up)
    return made_up


def _gate(report: QualityReport, name: str) -> Gate:
    (gate,) = [gate for gate in report.gates if gate.name == name]
    return gate


def _bad(count: int, good: int) -> tuple[EngineTrial, ...]:
    refused = RefusedSignature(signature="Bad.Rule", shard="yara/x.jsonl", line=7, reason="syntax")
    return (
        EngineTrial(
            engine="yara",
            fingerprint="1",
            signatures=good,
            refused_count=count,
            refused=(refused,) * count,
            prepare_ms=1.0,
            load_ms=1.0,
        ),
    )


def test_a_good_set_passes_and_its_report_is_kept(home: Home, feed: Any, child: MadeUp) -> None:
    manifest = build(home, [feed]).manifest
    report = check(home, manifest.version)
    assert report.passed
    assert [gate.name for gate in report.gates] == ["signatures", "probes", "known-good"]
    assert report.not_run == ("bounds: no set before it to compare with",)
    assert candidates.report(home, manifest.version, Level.BASIC) == report
    assert set(child.sources) == {shard.name for shard in manifest.shards}
    kind, content = child.sources["hashes/lines.txt"]
    assert kind is ShardKind.HASHES
    assert content == "".join(f"{line}\n" for line in sorted(feed.lines)).encode()


def test_a_check_is_given_what_the_one_before_has_prepared(
    home: Home, feed: Any, child: MadeUp
) -> None:
    version = build(home, [feed]).manifest.version
    for _ in range(2):
        check(home, version)
    shutil.rmtree(home.prepared)
    check(home, version)
    child.proof = TrialError("it crashed")
    check(home, version)
    assert child.before == [[], ["made by 1"], [], ["made by 3"]]
    assert [path.read_text() for path in home.prepared.iterdir()] == ["made by 3"]


def test_a_few_bad_signatures_are_named_and_more_than_one_percent_condemn(
    home: Home, feed: Any, child: MadeUp
) -> None:
    version = build(home, [feed]).version
    child.proof = replace(GOOD, engines=_bad(2, good=198))
    report = check(home, version)
    assert report.passed
    assert _gate(report, "signatures").culprits[0] == "Bad.Rule (yara/x.jsonl, line 7): syntax"
    child.proof = replace(GOOD, engines=_bad(3, good=197))
    assert not _gate(check(home, version), "signatures").passed


def test_a_single_bad_signature_never_condemns(home: Home, feed: Any, child: MadeUp) -> None:
    child.proof = replace(GOOD, engines=_bad(1, good=3))
    assert check(home, build(home, [feed]).version).passed


def test_a_set_in_which_nothing_is_active_fails(home: Home, feed: Any, child: MadeUp) -> None:
    child.proof = replace(GOOD, engines=_bad(0, good=0))
    assert not _gate(check(home, build(home, [feed]).version), "signatures").passed


def test_a_probe_that_is_not_found_fails(home: Home, feed: Any, child: MadeUp) -> None:
    child.proof = replace(GOOD, probes_missing=("Test.EICAR in eicar.com",))
    gate = _gate(check(home, build(home, [feed]).version), "probes")
    assert not gate.passed
    assert gate.culprits == ("Test.EICAR in eicar.com",)
    assert gate.detail == "2 of 3 found"


def test_a_hit_in_known_good_mail_fails_and_is_named(
    home: Home, feed: Any, child: MadeUp, tmp_path: Path
) -> None:
    child.proof = replace(GOOD, false_positives=("Over.Broad in minutes.eml",))
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean/minutes.eml").touch()
    means = Means(known_good=(tmp_path / "clean",))
    report = check(home, build(home, [feed]).version, means=means)
    assert not report.passed
    assert _gate(report, "known-good").culprits == ("Over.Broad in minutes.eml",)
    assert child.known_good == [tmp_path / "clean/minutes.eml"]


def test_of_a_large_collection_the_basic_tests_take_some_always_the_same(
    home: Home, feed: Any, child: MadeUp, tmp_path: Path
) -> None:
    (tmp_path / "clean").mkdir()
    for number in range(BASIC_FILES_MAX * 2 + 1):
        (tmp_path / f"clean/{number}").touch()
    version, means = build(home, [feed]).version, Means(known_good=(tmp_path / "clean",))
    check(home, version, means=means)
    first = child.known_good
    assert BASIC_FILES_MAX / 2 < len(first) <= BASIC_FILES_MAX
    check(home, version, means=means)
    assert child.known_good == first


def test_a_child_that_crashes_or_hangs_is_a_failed_gate(
    home: Home, feed: Any, child: MadeUp
) -> None:
    child.proof = TrialError("the trial took longer than 600 s")
    report = check(home, build(home, [feed]).version)
    assert not report.passed
    assert _gate(report, "trial").detail == "the trial took longer than 600 s"


@pytest.mark.parametrize(
    ("lines", "passes"), [(100, True), (99, False), (600, True), (601, False), (200, True)]
)
def test_a_set_that_halves_or_trebles_is_held(
    publisher: Publisher, home: Home, feed: Any, child: MadeUp, lines: int, passes: bool
) -> None:
    # The canary counts too, on both sides.
    feed.lines = [f"{n:032x}:*:Test.{n:04}" for n in range(199)]
    publisher.publish(build(home, [feed]).version, forced="test")
    feed.lines = [f"{n:032x}:*:Test.{n:04}" for n in range(1000, 1000 + lines - 1)]
    gate = _gate(check(home, build(home, [feed]).version), "bounds")
    assert gate.passed is passes
    assert bool(gate.culprits) is not passes


def test_how_much_a_set_may_grow_is_the_publishers_decision(
    publisher: Publisher, home: Home, feed: Any, child: MadeUp
) -> None:
    feed.lines = [f"{n:032x}:*:Test.{n:04}" for n in range(199)]
    publisher.publish(build(home, [feed]).version, forced="test")
    feed.lines = [f"{n:032x}:*:Test.{n:04}" for n in range(1000, 1900)]
    version = build(home, [feed]).version
    assert not check(home, version).passed
    assert check(home, version, means=Means(limits=Limits(max_share=5.0))).passed


def test_small_sets_may_grow_as_they_like(
    publisher: Publisher, home: Home, feed: Any, child: MadeUp
) -> None:
    feed.lines, all_lines = feed.lines[:5], feed.lines
    publisher.publish(build(home, [feed]).version, forced="test")
    feed.lines = all_lines
    assert check(home, build(home, [feed]).version).passed


def test_the_set_that_is_offered_is_not_compared_with_itself(
    publisher: Publisher, home: Home, feed: Any, child: MadeUp
) -> None:
    version = build(home, [feed]).version
    publisher.publish(version, forced="test")
    assert check(home, version).not_run == ("bounds: no set before it to compare with",)


def test_what_hits_known_good_mail_is_excluded_and_the_rebuilt_set_checked(
    home: Home, feed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = iter(
        [replace(GOOD, false_positives=("A in b",), at_fault=("yara:x:A", "hashes:ff")), GOOD]
    )
    monkeypatch.setattr(quality, "prove", lambda *_, **__: next(proofs))
    version = build(home, [feed]).version
    checked = check_excluding(home, version)
    assert checked.report.passed
    assert checked.version > version
    assert checked.excluded == ("hashes:ff", "yara:x:A")
    first = candidates.report(home, version, Level.BASIC)
    assert first is not None
    assert not first.passed


def test_excluding_gives_up_when_the_hits_stay(home: Home, feed: Any, child: MadeUp) -> None:
    child.proof = replace(GOOD, false_positives=("A in b",), at_fault=("yara:x:A",))
    version = build(home, [feed]).version
    checked = check_excluding(home, version)
    assert not checked.report.passed
    assert checked.excluded == ("yara:x:A",)
    assert len(candidates.versions(home)) == 2


def test_a_collection_that_half_the_signatures_hit_excludes_none(
    home: Home, feed: Any, child: MadeUp
) -> None:
    at_fault = tuple(f"hashes:{n:032x}" for n in range(quality.EXCLUDED_AT_ONCE_MAX + 1))
    child.proof = replace(GOOD, false_positives=("A in b",), at_fault=at_fault)
    version = build(home, [feed]).version
    checked = check_excluding(home, version)
    assert checked.version == version
    assert checked.excluded == ()
    assert not checked.report.passed
    assert not home.excluded.exists()


def test_a_set_that_was_not_built_cannot_be_checked(home: Home, child: MadeUp) -> None:
    with pytest.raises(UsageError, match=r"no set 20261123\.099 was built"):
        check(home, Version(20261123, 99))


def test_a_damaged_object_fails_the_check_loudly(home: Home, feed: Any, child: MadeUp) -> None:
    manifest = build(home, [feed]).manifest
    home.object_path(manifest.shards[0].sha256).write_bytes(b"")
    with pytest.raises(PublishError, match="build again"):
        check(home, manifest.version)


def test_a_check_leaves_no_files_behind(
    home: Home, feed: Any, child: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    check(home, build(home, [feed]).version)
    assert not list((tmp_path / "work").iterdir())


def test_the_starter_definitions_pass_the_real_engines_and_a_broad_rule_does_not(
    publisher: Publisher, home: Home, tmp_path: Path, client: Callable[[], Any]
) -> None:
    starter = parse_spec("starter")
    version = build(home, [starter]).version
    report = check(home, version)
    assert report.passed, report
    publisher.publish(version)
    (tmp_path / "broad.yar").write_text('rule Broad { strings: $a = "Subject" condition: $a }')
    broad = build(home, [starter, parse_spec(f"yara={tmp_path / 'broad.yar'}")]).version
    report = check(home, broad)
    assert any("Broad in " in culprit for culprit in _gate(report, "known-good").culprits)
    with pytest.raises(PublishError, match="known-good"):
        publisher.publish(broad)
