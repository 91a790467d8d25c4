"""The stringent tests from end to end: real engines, agents, workers and command lines."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.repo import app
from mailward.definitions.model import Channel, Level, QualityReport, Version
from mailward.errors import PublishError, TemporaryError, UsageError
from mailward.publish import candidates, quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_spec
from mailward.publish.gates import measure
from mailward.publish.home import Home
from mailward.publish.quality import Means, check
from mailward.publish.repository import Publisher

BAD = "words that only malware has"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "ROUND_MIN_S", 0.01)


class Place:
    """Rules, hashes and collections that tests change."""

    def __init__(self, folder: Path) -> None:
        self.rules = folder / "rules"
        self.clean = folder / "clean"
        self.bad = folder / "bad"
        self.hashes = folder / "hashes.txt"
        for each in (self.rules, self.clean, self.bad):
            each.mkdir()
        for number in range(30):
            (self.clean / f"{number}.txt").write_text(f"An ordinary document, number {number}.")
        (self.bad / "dropper.js").write_text(BAD)
        self.rule("trojan", BAD)
        self.hash(b"some other malware")

    def rule(self, name: str, text: str) -> None:
        source = f'rule {name} {{ strings: $a = "{text}" condition: $a }}'
        (self.rules / f"{name}.yar").write_text(source)

    def hash(self, content: bytes) -> None:
        with self.hashes.open("a") as file:
            file.write(f"{hashlib.sha256(content).hexdigest()}:{len(content)}:Feed.Malware\n")

    def build(self, home: Home) -> Version:
        specs = [f"yara:rules={self.rules}", f"hashes:list={self.hashes}"]
        return build(home, [parse_spec(spec) for spec in specs]).version

    @property
    def means(self) -> Means:
        return Means(known_good=(self.clean,), known_bad=(self.bad,))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def _culprits(report: QualityReport | None, name: str) -> tuple[str, ...]:
    assert report is not None
    (gate,) = [gate for gate in report.gates if gate.name == name]
    assert not gate.passed
    return gate.culprits


def test_a_false_positive_is_caught_named_excluded_and_the_rest_promoted(
    publisher: Publisher, home: Home, place: Place
) -> None:
    first = place.build(home)
    report = check(home, first, Level.STRINGENT, place.means)
    assert report.passed, report
    assert [each.partition(":")[0] for each in report.not_run] == [
        "bounds", "patches", "performance", "hot-swap"
    ]  # fmt: skip
    publisher.publish(first)  # stringent has run all of basic
    publisher.promote(first)

    place.rule("broad", "ordinary document, number 7")
    place.hash((place.clean / "3.txt").read_bytes())
    broad = place.build(home)
    words = ["--repo", home.folder, "--known-good", place.clean, "--exclude-failing", "--json"]
    result = _run("check", broad, "--level", "stringent", *words)
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert plain["version"] > str(broad)
    assert plain["not_run"] == ["bounds: no set before it to compare with"]
    digest = hashlib.sha256((place.clean / "3.txt").read_bytes()).hexdigest()
    assert plain["excluded"] == [f"hashes:{digest}", "yara:rules/broad.yar:broad"]
    named = _culprits(candidates.report(home, broad, Level.STRINGENT), "known-good-collection")
    assert f"yara:rules/broad.yar:broad in {place.clean / '7.txt'}" in named
    with pytest.raises(PublishError, match="failed the stringent tests"):
        publisher.promote(broad)
    promoted = publisher.promote(Version.parse(plain["version"]))
    assert promoted.channel is Channel.CERTIFIED
    assert not build_again(home, place), "the next build leaves them out too"


def build_again(home: Home, place: Place) -> bool:
    newest = candidates.versions(home)[-1]
    return place.build(home) != newest


def test_a_lost_detection_is_named_and_nothing_passes_without_a_known_good_collection(
    home: Home, place: Place
) -> None:
    assert check(home, place.build(home), Level.STRINGENT, place.means).passed
    (place.rules / "trojan.yar").unlink()
    place.rule("other", "something else entirely")
    version = place.build(home)
    report = check(home, version, Level.STRINGENT)  # the sample is remembered, not given again
    assert not report.passed
    (lost,) = _culprits(report, "known-bad")
    assert str(place.bad / "dropper.js") in lost
    assert "yara:rules/trojan.yar:trojan" in lost
    assert not _culprits(report, "known-good-collection")
    (gate,) = [gate for gate in report.gates if gate.name == "known-good-collection"]
    assert gate.detail.startswith("not run")


def test_every_stringent_gate_is_in_the_report_or_named_as_not_run(
    home: Home, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "_offered", lambda *_: None)
    report = check(home, place.build(home), Level.STRINGENT, place.means)
    named = {gate.name for gate in report.gates} | {n.partition(":")[0] for n in report.not_run}
    formats = Path(__file__).parents[2] / "docs/formats.md"
    (row,) = [r for r in formats.read_text().splitlines() if "`engine-level`" in r]
    documented = {word for word in row.split("`")[1::2] if word not in ("name", "trial")}
    assert named == documented


def test_a_set_that_the_engines_cannot_prepare_fails_and_nothing_else_is_claimed(
    home: Home, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "PROOF_TIMEOUT_S", 0.001)
    report = check(home, place.build(home), Level.STRINGENT, place.means)
    assert [(gate.name, gate.passed) for gate in report.gates] == [("trial", False)]


def test_a_collection_that_is_not_there_is_wrong_use(home: Home, place: Place) -> None:
    words = ["--repo", home.folder, "--known-good", place.clean / "nowhere"]
    result = _run("check", place.build(home), "--level", "stringent", *words)
    assert isinstance(result.exception, UsageError)
    assert "nowhere" in str(result.exception)


@pytest.fixture
def running(home: Home, place: Place, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A check in a process of its own, that finds much to scan."""
    version = place.build(home)
    for number in range(3000):
        (place.clean / f"more-{number}.txt").write_text(f"One of many, {number}. " * 200)
    (tmp_path / "work").mkdir()
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        # A shell that starts tests in the background has SIGINT ignored, and children inherit that.
        heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{heed}; from mailward.cli.repo import app; app()"
        words = ["check", str(version), "--repo", str(home.folder), "--level", "stringent"]
        words += ["--known-good", str(place.clean)]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"TMPDIR": str(tmp_path / "work")},
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_check_that_is_stopped_leaves_nothing_running_and_goes_on_later(
    home: Home, place: Place, running: Callable[[], Any], tmp_path: Path
) -> None:
    process = running()
    scanned: list[Path] = []
    while process.poll() is None and not (scanned and scanned[0].stat().st_size):
        scanned = list(home.checks.glob("*/*.jsonl"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not list((tmp_path / "work").iterdir())
    before = len(scanned[0].read_bytes().splitlines())
    assert 0 < before < 3000
    assert not list(home.candidates.glob("*/report-*"))
    steps: list[tuple[str, int, int]] = []
    version = candidates.versions(home)[-1]
    report = check(
        home,
        version,
        Level.STRINGENT,
        Means(known_good=(place.clean,), progress=lambda *step: steps.append(step)),
    )
    assert report.passed
    assert next(s for s in steps if s[0] == "known-good-collection")[1] >= before - 1


def test_a_scheduler_that_does_not_answer_is_said(
    home: Home, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs the extra mailward[dask]")
    monkeypatch.setattr("mailward.publish.gates.dask_workers._CONNECT_TIMEOUT_S", 1)
    words = ["--repo", home.folder, "--workers", "127.0.0.1:1", "--known-good", place.clean]
    result = _run("check", place.build(home), "--level", "stringent", *words)
    assert isinstance(result.exception, TemporaryError)
    assert "127.0.0.1:1" in str(result.exception)


def test_without_dask_the_extra_is_named(
    home: Home, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["--repo", home.folder, "--workers", "127.0.0.1:1", "--known-good", place.clean]
    result = _run("check", place.build(home), "--level", "stringent", *words)
    assert isinstance(result.exception, UsageError)
    assert "mailward[dask]" in str(result.exception)
