"""A trial with real children: what passes, what does not, and what is measured."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailward.definitions.model import Channel, Manifest, Measured, Shard, ShardKind, Trial, Version
from mailward.errors import ConfigError, TrialError
from mailward.scan import sandbox
from mailward.scan.measure import measure
from mailward.settings.update import UpdateSettings
from mailward.testing import message
from mailward.update import trial

SLOW = "for all i in (0..filesize) : (for all j in (0..400) : (uint8(i) + j >= 0)) and #a == 100000"
"""A condition that takes its time with every file, and never holds."""


def run(
    folder: Path, condition: str, settings: UpdateSettings | None = None, before: Path | None = None
) -> tuple[Trial, Path]:
    """A trial of a set with one rule, and its prepared files."""
    folder.mkdir()
    source = f'rule Example {{ strings: $a = "a threat" condition: {condition} }}'
    raw = json.dumps({"namespace": "test", "source": source}).encode() + b"\n"
    path = folder / "rules"
    path.write_bytes(raw)
    shard = Shard(
        name="rules",
        kind=ShardKind.YARA,
        sha256="0" * 64,
        size_bytes=len(raw),
        object_bytes=len(raw),
        signatures=1,
    )
    now = datetime.now(UTC)
    manifest = Manifest(
        version=Version.parse("20261123.001"),
        channel=Channel.RAPID,
        built_at=now,
        engine_level=1,
        shards=(shard,),
    )
    prepared = folder / "prepared"
    prepared.mkdir()
    settings = settings or UpdateSettings()
    return trial.run(manifest, [(shard, path)], prepared, settings, before), prepared


def test_what_a_set_costs_is_measured_beside_the_set_in_use(tmp_path: Path) -> None:
    first, prepared = run(tmp_path / "first", "$a")
    assert first.passed
    assert first.measured is not None
    assert first.measured.load_ms > 0
    assert first.measured.memory_bytes > 0
    assert first.measured.message_ms > 0
    assert first.measured_before is None
    second, _ = run(tmp_path / "second", "$a", before=prepared)
    assert second.passed
    assert second.measured_before is not None
    assert second.measured_before.message_ms > 0


def test_what_did_not_change_is_taken_from_the_set_in_use(tmp_path: Path) -> None:
    _, prepared = run(tmp_path / "first", "$a")
    (summary,) = prepared.glob("yara-*/preparation.json")
    marked = json.loads(summary.read_text()) | {"signatures": 5}
    summary.write_text(json.dumps(marked))

    def signatures(result: Trial) -> list[int]:
        assert result.passed
        return [engine.signatures for engine in result.engines if engine.engine == "yara"]

    assert signatures(run(tmp_path / "same", "$a", before=prepared)[0]) == [5]
    assert signatures(run(tmp_path / "other", "$a and true", before=prepared)[0]) == [1]
    (rules,) = prepared.glob("yara-*/rules")
    with rules.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert signatures(run(tmp_path / "damaged", "$a", before=prepared)[0]) == [1]


def test_a_trial_keeps_what_it_was_confined_by(tmp_path: Path) -> None:
    result, _ = run(tmp_path / "set", "$a")
    assert result.confinement["files"] == sandbox.supported().files
    again = Trial.from_json(result.model_dump_json().encode())
    assert again == result


def test_a_set_in_use_that_cannot_be_measured_stops_nothing(tmp_path: Path) -> None:
    result, _ = run(tmp_path / "set", "$a", before=tmp_path / "missing")
    assert result.passed
    assert result.measured_before is None


def test_a_set_that_finds_something_in_the_administrators_own_mail_fails(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.eml").write_bytes(message() + b"\r\nis this a threat?\r\n")
    (own / "taken away").symlink_to(tmp_path / "missing")
    result, _ = run(tmp_path / "set", "$a", UpdateSettings(known_good=own))
    assert not result.passed
    assert any("Example in" in p and "letter.eml" in p for p in result.problems)
    assert result.engines != ()


def test_own_mail_that_is_not_there_is_not_the_sets_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="known_good"):
        run(tmp_path / "set", "$a", UpdateSettings(known_good=tmp_path / "missing"))


def test_a_set_that_slows_scanning_down_fails(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.txt").write_bytes(b"dear all\r\n" * 5000)
    settings = UpdateSettings(known_good=own)
    fast, prepared = run(tmp_path / "fast", "$a", settings)
    assert fast.passed
    slow, _ = run(tmp_path / "slow", SLOW, settings, before=prepared)
    assert [engine.refused_count for engine in slow.engines if engine.signatures] == [0]
    assert not slow.passed
    assert any("ms a message" in problem for problem in slow.problems)


@pytest.mark.parametrize(
    ("now_ms", "before_ms", "refused"),
    [
        (31.0, 10.0, True),
        (30.0, 10.0, False),
        (4.9, 0.1, False),  # nobody notices
        (5.1, 0.1, True),
    ],
)
def test_three_times_as_slow_is_too_slow(now_ms: float, before_ms: float, refused: bool) -> None:
    now, before = (Measured(load_ms=1, memory_bytes=1, message_ms=ms) for ms in (now_ms, before_ms))
    assert bool(trial.slower(now, before)) is refused
    assert trial.slower(now, None) == ()


def test_prepared_files_that_do_not_load_in_another_process_fail(tmp_path: Path) -> None:
    _, prepared = run(tmp_path / "set", "$a")
    for path in prepared.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:10])
    memory_bytes = UpdateSettings().trial_memory_bytes
    with pytest.raises(TrialError, match="cannot be used"):
        measure(prepared, timeout_s=60, memory_bytes=memory_bytes)
