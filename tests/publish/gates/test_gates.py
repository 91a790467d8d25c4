"""Gates with real sets, engines, child processes and command lines."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from mailward.definitions.model import Gate, Patch, ShardKind
from mailward.definitions.sets import StoredSet
from mailward.publish.gates import measure
from mailward.publish.gates import readable as readable_module
from mailward.publish.gates.base import Limits, NotRun, Subject
from mailward.publish.gates.journeys import journeys, kept_sets
from mailward.publish.gates.local import LocalWorkers
from mailward.publish.gates.patches import patches
from mailward.publish.gates.performance import performance
from mailward.publish.gates.readable import readable
from mailward.publish.gates.samples import samples
from mailward.publish.gates.swap import swap
from mailward.publish.repository import Publisher
from mailward.scan.remade import Remade
from tests.publish.gates.sets import no_progress, rule

MakeSubject = Callable[..., Subject]

_MANY = {
    f"n{n}": rule(f"R{n}", f"text number {n} of many, to make a patch worth it") for n in range(60)
}


def _gate(outcome: Gate | NotRun) -> Gate:
    assert isinstance(outcome, Gate), outcome
    return outcome


# --- engine level ---


def test_what_the_oldest_agents_can_read_passes(subject: MakeSubject) -> None:
    assert readable(subject(a=rule("A", "x1"))).passed


def test_a_newer_engine_level_fails(subject: MakeSubject) -> None:
    it = subject(a=rule("A", "x1"))
    newer = it.manifest.model_copy(update={"engine_level": readable_module.OLDEST_LEVEL + 1})
    verdict = readable(replace(it, manifest=newer))
    assert not verdict.passed
    assert "engine_level 2" in verdict.culprits[0]


def test_a_kind_of_shard_that_the_oldest_do_not_know_fails(
    subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = subject(a=rule("A", "x1"))
    monkeypatch.setattr(
        readable_module, "KINDS_OF_LEVEL", {1: frozenset({ShardKind.HASHES, ShardKind.PROBES})}
    )
    assert any("yara/rules.jsonl" in culprit for culprit in readable(it).culprits)


# --- patches ---


def test_without_a_set_before_there_is_no_patch_to_test(subject: MakeSubject) -> None:
    assert isinstance(patches(subject(a=rule("A", "x1")), no_progress), NotRun)


def test_good_patches_pass(publisher: Publisher, subject: MakeSubject) -> None:
    publisher.publish(subject(**_MANY).manifest.version, forced="test")
    verdict = _gate(patches(subject(**_MANY, z=rule("Z", "one more")), no_progress))
    assert verdict.passed
    assert verdict.detail.startswith("1 of 1 applied")


@pytest.mark.parametrize("damage", ["other content", "truncated", "longer", "no frame", "missing"])
def test_a_patch_that_gives_wrong_content_is_caught(
    publisher: Publisher, subject: MakeSubject, damage: str
) -> None:
    old = subject(**_MANY)
    publisher.publish(old.manifest.version, forced="test")
    new = subject(**_MANY, z=rule("Z", "one more"))
    (patch,) = new.manifest.patches
    path = publisher.home.patch_path(patch.old, patch.new)
    good, (shard,) = path.read_bytes(), [s for s in new.manifest.shards if s.sha256 == patch.new]
    wrong = {
        "other content": zstd.compress(bytes(shard.size_bytes)),
        "truncated": good[:-5],
        "longer": good + good,
        "no frame": bytes(len(good)),
        "missing": b"",
    }[damage]
    path.unlink()
    if wrong:
        path.write_bytes(wrong)
    size = len(wrong) if damage == "other content" else patch.size_bytes
    changed = new.manifest.model_copy(
        update={"patches": (Patch(old=patch.old, new=patch.new, size_bytes=size),)}
    )
    if damage == "missing":
        # Its old content is gone too: it cannot be made anew.
        publisher.home.object_path(patch.old).unlink()
    verdict = _gate(patches(replace(new, manifest=changed), no_progress))
    assert not verdict.passed
    assert "yara/rules.jsonl: patch from" in verdict.culprits[0]


# --- signatures with samples of their own ---


def test_the_starters_samples_are_found_as_attachments(subject: MakeSubject, home: Any) -> None:
    it = subject(a=rule("A", "x1"))
    verdict = _gate(samples(it, (), LocalWorkers(it), no_progress))
    assert verdict.passed
    assert verdict.detail == "1 of 1 found as attachments"


def test_a_sample_that_its_signature_misses_fails_unless_it_is_excluded(
    subject: MakeSubject, tmp_path: Path
) -> None:
    it = subject(a=rule("A", "x1"))
    (probes,) = [s for s in it.sources if s.kind is ShardKind.PROBES]
    (tmp_path / "probes").write_bytes(
        probes.path.read_bytes().replace(b"Mailward.Probe.Yara", b"Lost")
    )
    other = replace(it, sources=(replace(probes, path=tmp_path / "probes"),), work=tmp_path / "w")
    other.work.mkdir()
    verdict = _gate(samples(other, (), LocalWorkers(it), no_progress))
    assert verdict.culprits == ("Lost is not found in canary-yara",)
    other = replace(other, work=tmp_path / "w2")
    other.work.mkdir()
    assert isinstance(samples(other, ("Lost",), LocalWorkers(it), no_progress), NotRun)


# --- performance ---

_SLOW = "rule Slow { condition: for all i in (1..3000000) : (i > 0) and filesize < 0 }"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROUND_MIN_S", 0.01)


@pytest.mark.usefixtures("short")
def test_a_slow_rule_is_caught_by_the_time_that_it_takes(subject: MakeSubject) -> None:
    before, slow = subject(a=rule("A", "x1")), subject(a=rule("A", "x1"), s=_SLOW)
    verdict = _gate(performance(slow, before, (), Limits(time_ratio=3), no_progress))
    assert not verdict.passed
    assert "times as long" in verdict.culprits[0]
    assert str(before.manifest.version) in verdict.detail


@pytest.mark.usefixtures("short")
def test_a_set_of_the_same_speed_passes(subject: MakeSubject, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean/a.txt").write_text("harmless " * 1000)
    before, new = subject(a=rule("A", "x1")), subject(a=rule("A", "x2"))
    verdict = _gate(performance(new, before, [tmp_path / "clean"], Limits(), no_progress))
    assert verdict.passed
    assert "(9 files)" in verdict.detail


@pytest.mark.usefixtures("short")
def test_the_first_set_is_measured_and_compared_with_nothing(subject: MakeSubject) -> None:
    outcome = performance(subject(a=rule("A", "x1")), None, (), Limits(), no_progress)
    assert isinstance(outcome, NotRun)
    assert "ms of processor time a file" in outcome.why


@pytest.mark.usefixtures("short")
def test_a_set_that_cannot_be_loaded_fails(subject: MakeSubject) -> None:
    it = subject(a=rule("A", "x1"))
    for path in it.prepared.glob("yara-*/rules"):
        path.write_bytes(b"junk")
    assert not _gate(performance(it, None, (), Limits(), no_progress)).passed


# --- agents ---


def test_an_agent_goes_there_and_back_and_leaves_other_configurations_alone(
    publisher: Publisher, subject: MakeSubject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAILWARD_STATE_DIR", str(tmp_path / "theirs"))
    old = subject(**_MANY)
    publisher.publish(old.manifest.version, forced="test")
    new = subject(**_MANY, z=rule("Z", "one more"))
    olds = kept_sets(new)
    assert [m.version for m in olds] == [old.manifest.version]
    verdict = journeys(new, olds, no_progress)
    assert verdict.passed, verdict
    assert verdict.detail.startswith("2 of 2 arrived: a fresh one, and 1 from other sets")
    assert not list(new.work.glob("journey-*"))
    assert not (tmp_path / "theirs").exists()


def test_an_agent_that_cannot_take_the_set_fails(
    publisher: Publisher, subject: MakeSubject
) -> None:
    broad = subject(a=rule("A", "Subject"))
    verdict = journeys(broad, (), no_progress)
    assert not verdict.passed
    assert "failed its trial" in verdict.culprits[0]


def test_an_object_that_is_damaged_fails_on_the_way(
    publisher: Publisher, subject: MakeSubject
) -> None:
    new = subject(b=rule("B", "something entirely different"))
    shard = next(s for s in new.manifest.shards if s.name == "yara/rules.jsonl")
    path = publisher.home.object_path(shard.sha256)
    path.write_bytes(zstd.compress(hashlib.sha256(b"").digest() * 3).ljust(shard.object_bytes))
    verdict = journeys(new, (), no_progress)
    assert not verdict.passed
    assert verdict.culprits[0].startswith("from nothing: ")


def test_sets_of_the_same_content_are_visited_once(
    publisher: Publisher, subject: MakeSubject
) -> None:
    old = subject(a=rule("A", "x1")).manifest.version
    publisher.publish(old, forced="test")
    publisher.promote(old, forced="test")
    assert [m.version for m in kept_sets(subject(a=rule("A", "x2")))] == [old]


def test_the_first_set_is_taken_by_a_fresh_computer(subject: MakeSubject) -> None:
    it = subject(a=rule("A", "x1"))
    verdict = journeys(it, kept_sets(it), no_progress)
    assert verdict.passed
    assert verdict.detail.startswith("1 of 1 arrived: a fresh one;")


# --- hot swap ---


def test_a_gateway_under_load_changes_its_set(subject: MakeSubject) -> None:
    before, new = subject(a=rule("A", "x1")), subject(a=rule("A", "x2"))
    verdict = _gate(swap(new, before, no_progress))
    assert verdict.passed, verdict
    assert str(before.manifest.version) in verdict.detail


def test_a_set_that_no_worker_can_load_fails_the_swap(
    subject: MakeSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_better(_: Remade, stored: StoredSet, _why: list[str]) -> Path:
        return stored.prepared  # as if preparing it anew had given the same

    monkeypatch.setattr(Remade, "make", no_better)
    monkeypatch.setattr("mailward.publish.gates.swap._TIMEOUT_S", 3.0)
    before, new = subject(a=rule("A", "x1")), subject(a=rule("A", "x2"))
    for path in new.prepared.glob("yara-*/rules"):
        path.write_bytes(b"junk")
    verdict = _gate(swap(new, before, no_progress))
    assert not verdict.passed
    assert any("no message was scanned with" in culprit for culprit in verdict.culprits)


def test_without_a_set_before_nothing_is_swapped(subject: MakeSubject) -> None:
    assert isinstance(swap(subject(a=rule("A", "x1")), None, no_progress), NotRun)
