"""The unattended publisher: what it does by itself, and that nothing stops it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Channel, Gate, Level, QualityReport, Version
from mailward.errors import BusyError, ConfigError, FetchError
from mailward.publish import candidates, history, schedule, watch
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.publish.quality import Checked, Means
from mailward.publish.repository import Publisher
from mailward.publish.rotation import rotate
from mailward.publish.status import status
from mailward.publish.watch import Watch
from mailward.publish.watch_state import JobState, WatchState
from mailward.publish.watching import Lookout

RAPID, CERTIFIED = Channel.RAPID, Channel.CERTIFIED

_CONFIG = """
notify_command = ["sh", "-c", "cat >> {told}; echo $MAILWARD_JOB $MAILWARD_STATE >> {told}"]

[feeds.lists]
kind = "hashes"
place = "lists"

[schedule]
rapid_every = "15 min"
certified = "daily at 03:30"
"""


def _digest(number: int) -> str:
    return f"{number:064x}\n"


class Driver:
    """A watch whose clocks a test turns."""

    def __init__(self, publisher: Publisher, clock: Any) -> None:
        self.home = publisher.home
        self.clock = clock
        self.seconds = 0.0
        self.told = self.home.folder / "told"
        self.lists = self.home.folder / "lists"
        self.lists.mkdir()
        (self.lists / "one.txt").write_text("".join(map(_digest, range(200))))
        self.configure()
        self.watch = self.start()

    def configure(self, text: str = _CONFIG) -> None:
        (self.home.folder / "publisher.toml").write_text(text.format(told=self.told))

    def start(self) -> Watch:
        return Watch(self.home, now=self.clock, monotonic=lambda: self.seconds, poll_s=1.0)

    def go(self, seconds: float = 0.0) -> None:
        """Let time pass, tick, and wait for what that began."""
        self.seconds += seconds
        self.clock.advance(seconds=seconds)
        self.watch.tick()
        self.watch.finish(60)

    def add(self, number: int) -> None:
        with (self.lists / "one.txt").open("a") as file:
            file.write(_digest(number))

    def job(self, name: str) -> JobState:
        state = WatchState.load(self.home)
        assert state is not None
        return state.jobs[name]

    def offered(self, channel: Channel) -> Version | None:
        return history.current(self.home, Signed.load(self.home), channel).version

    def number(self, role: str) -> int:
        return next(each.number for each in status(self.home).roles if each.role == role)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, clock: Any) -> dict[Level, bool]:
    """Tests that pass at once, or fail as the returned settings say."""
    passes = {Level.BASIC: True, Level.STRINGENT: True}

    def check(
        home: Home, version: Version, level: Level, means: Means, *, now: datetime
    ) -> Checked:
        gate = Gate(name="known-good", passed=passes[level], culprits=("Bad.Rule",))
        report = QualityReport(level=level, checked_at=clock(), gates=(gate,))
        with home.lock():
            candidates.save_report(home, version, report)
        return Checked(version, report)

    monkeypatch.setattr(watch, "check_excluding", check)
    return passes


@pytest.fixture
def driver(publisher: Publisher, clock: Any, quick: dict[Level, bool]) -> Driver:
    # Agents' clocks are real: what a day long ago was signed with has expired.
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    clock.now = noon + timedelta(days=1)
    publisher.refresh_timestamp()
    return Driver(publisher, clock)


# --- rapid ----------------------------------------------------------------------------------------


def test_it_publishes_what_the_feeds_give_at_once_and_then_only_what_is_new(
    driver: Driver, client: Callable[[], Any]
) -> None:
    driver.go()
    first = driver.offered(RAPID)
    assert first is not None
    assert client().current(RAPID).version == first
    driver.go(901)
    assert driver.offered(RAPID) == first
    assert driver.job("rapid").result == f"{first} is offered, nothing new"
    driver.add(1000)
    driver.go(901)
    second = driver.offered(RAPID)
    assert second is not None
    assert second > first


def test_a_changed_file_is_published_once_nobody_writes_it_any_more(driver: Driver) -> None:
    driver.go()
    first = driver.offered(RAPID)
    driver.go(2)
    for number in range(1000, 1005):
        driver.add(number)
        driver.go(2)
        assert driver.offered(RAPID) == first  # still being written
    driver.go(2)
    second = driver.offered(RAPID)
    assert second != first
    assert candidates.load(driver.home, second or Version(0, 0)).signatures >= 205
    driver.go(2)
    driver.go(2)
    assert driver.offered(RAPID) == second


def test_a_set_that_fails_its_tests_is_not_published_and_is_told_once(
    driver: Driver, quick: dict[Level, bool]
) -> None:
    driver.go()
    first = driver.offered(RAPID)
    quick[Level.BASIC] = False
    driver.add(1000)
    for _ in range(3):
        driver.go(901)
    assert driver.offered(RAPID) == first
    job = driver.job("rapid")
    assert job.failing_since is not None
    assert "Bad.Rule" in job.result
    assert job.succeeded_at is not None
    assert driver.told.read_text().count("rapid failing") == 2  # the text, and the state
    quick[Level.BASIC] = True
    driver.go(901)
    assert driver.offered(RAPID) != first
    assert driver.job("rapid").failing_since is None
    assert driver.told.read_text().endswith("rapid recovered\n")


def test_a_feed_that_fails_keeps_its_last_content_and_is_told(driver: Driver) -> None:
    driver.go()
    first = driver.offered(RAPID)
    (driver.lists / "one.txt").write_text("<!DOCTYPE html><html>Not found</html>")
    driver.go(901)
    assert driver.offered(RAPID) == first
    assert driver.job("feeds").failing_since is not None
    assert "lists" in driver.job("feeds").result
    assert driver.job("rapid").failing_since is None
    assert "feeds failing" in driver.told.read_text()


def test_a_feed_that_was_never_there_stops_neither_the_loop_nor_the_timestamps(
    driver: Driver,
) -> None:
    driver.configure(_CONFIG.replace('place = "lists"', 'place = "nowhere"'))
    number = driver.number("timestamp")
    for _ in range(5):
        driver.go(3700)
    assert driver.job("rapid").failing_since is not None
    assert "nowhere" in driver.job("rapid").result
    assert driver.number("timestamp") == number + 5
    driver.configure(_CONFIG)
    driver.go(1)
    assert driver.offered(RAPID) is not None


def test_what_may_pass_by_itself_is_tried_again_soon(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise FetchError("https://example.org/list: the server answered 503")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "build", fails)
        driver.go()
        assert driver.offered(RAPID) is None
    driver.go(30)
    assert driver.offered(RAPID) is None
    driver.go(31)
    assert driver.offered(RAPID) is not None


def test_a_withdrawn_set_is_not_published_again(driver: Driver) -> None:
    driver.go()
    first = driver.offered(RAPID)
    assert first is not None
    Publisher(driver.home.folder, now=driver.clock).withdraw(first, "hits invoices")
    driver.go(901)
    assert driver.offered(RAPID) is None
    assert "hits invoices" in driver.job("rapid").result
    assert driver.job("rapid").failing_since is None


def test_a_defect_in_a_job_is_noted_and_the_rest_goes_on(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(watch, "build", breaks)
    number = driver.number("timestamp")
    driver.go(3700)
    assert driver.job("rapid").result.startswith("defect, see the log: KeyError")
    assert driver.number("timestamp") == number + 1


def test_a_roll_out_and_keys_come_from_the_configuration(driver: Driver, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    for path in driver.home.keys.glob("rapid-*"):
        path.rename(stick / path.name)
    driver.configure(f'keys = ["{stick}"]\n{_CONFIG}\n[channels.rapid]\nrollout_hours = 6\n')
    driver.go(1)
    offer = history.current(driver.home, Signed.load(driver.home), RAPID)
    assert offer.rollout is not None
    assert offer.rollout.hours == 6


# --- certified ------------------------------------------------------------------------------------


def test_certified_gets_what_passes_when_its_time_comes(
    driver: Driver, quick: dict[Level, bool]
) -> None:
    driver.go()
    due = schedule.calendar("daily at 03:30", "x").next_after(driver.clock())
    driver.go((due - driver.clock()).total_seconds() - 60)
    assert driver.offered(CERTIFIED) is None
    quick[Level.STRINGENT] = False
    driver.go(61)
    assert driver.offered(CERTIFIED) is None
    assert "failed the stringent tests: known-good (Bad.Rule)" in driver.job("certified").result
    assert "certified failing" in driver.told.read_text()
    quick[Level.STRINGENT] = True
    driver.go(3600)
    assert driver.offered(CERTIFIED) is None  # not before its time
    driver.go(86_400)
    assert driver.offered(CERTIFIED) == driver.offered(RAPID)
    driver.go(86_400)
    assert driver.job("certified").result.endswith("nothing new")


def test_a_turn_that_was_missed_while_it_was_off_is_made_up_for(driver: Driver) -> None:
    driver.go()
    driver.go(86_400)
    first = driver.offered(CERTIFIED)
    assert first is not None
    driver.add(1000)
    driver.clock.advance(days=3)
    driver.watch = driver.start()
    driver.go()
    driver.go(901)  # its turn came before there was something new
    assert driver.job("certified").ran_at > driver.clock() - timedelta(hours=1)


def test_long_tests_hold_up_neither_rapid_nor_the_timestamps(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    check: Callable[..., Checked] = vars(watch)["check_excluding"]

    def slow(home: Home, version: Version, level: Level, means: Means, *, now: datetime) -> Checked:
        if level is Level.STRINGENT:
            release.wait(60)
        return check(home, version, level, means, now=now)

    monkeypatch.setattr(watch, "check_excluding", slow)
    driver.go()
    first, number = driver.offered(RAPID), driver.number("timestamp")
    driver.seconds += 86_400
    driver.clock.advance(days=1)
    driver.add(1000)
    driver.watch.tick()
    _until(lambda: driver.offered(RAPID) != first and driver.number("timestamp") > number + 1)
    assert driver.offered(CERTIFIED) is None
    release.set()
    driver.watch.finish(60)
    assert driver.offered(CERTIFIED) == first


# --- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [365, -365], ids=["ahead", "back"])
def test_a_clock_that_jumps_a_year_stops_nothing(driver: Driver, days: int) -> None:
    driver.go()
    first = driver.offered(RAPID)
    numbers = [driver.number("timestamp")]
    for jump in (days, -days):
        driver.clock.advance(days=jump)
        driver.add(1000 + jump)
        driver.go(1000)
        numbers.append(driver.number("timestamp"))
        second = driver.offered(RAPID)
        assert first is not None
        assert second is not None
        assert second > first  # versions only go up
        first = second
        expires = Signed.load(driver.home).timestamp.signed.expires
        assert timedelta(hours=23) < expires - driver.clock() <= timedelta(hours=24)
    assert numbers == sorted(set(numbers))
    assert driver.job("rapid").failing_since is None


def test_certified_keeps_its_time_after_the_clock_was_set_back(driver: Driver) -> None:
    driver.clock.advance(days=365)
    driver.watch = driver.start()
    driver.go()
    driver.clock.advance(days=-365)
    driver.go(1)
    assert driver.offered(CERTIFIED) is None
    driver.go(86_400)
    assert driver.offered(CERTIFIED) == driver.offered(RAPID)


def test_timestamps_are_signed_again_every_hour_and_roles_when_half_their_time_is_over(
    driver: Driver,
) -> None:
    driver.go()
    number = driver.number("timestamp")
    for _ in range(30):
        driver.go(600)
    assert driver.number("timestamp") == number + 5
    numbers = {role: driver.number(role) for role in ("root", "targets", "snapshot", "certified")}
    driver.clock.advance(days=16)
    driver.go(60)
    assert driver.number("certified") > numbers["certified"]
    assert driver.number("snapshot") > numbers["snapshot"]
    driver.clock.advance(days=170)
    driver.go(60)
    assert driver.number("root") == numbers["root"] + 1
    assert driver.number("targets") == numbers["targets"] + 1
    assert status(driver.home, driver.clock()).problems() == [
        f"watch: process {os.getpid()} is gone without having been told to stop"
    ]


def test_a_role_whose_key_cannot_be_opened_does_not_hold_up_the_timestamp(driver: Driver) -> None:
    driver.go()
    path = next(driver.home.keys.glob("root-*"))
    path.write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nxxxx\n")
    driver.clock.advance(days=200)
    number = driver.number("timestamp")
    driver.go(60)
    assert driver.number("timestamp") > number
    assert "MAILWARD_KEY_PASSPHRASE" in driver.job("refresh").result


# --- configuration --------------------------------------------------------------------------------


def test_a_configuration_that_became_wrong_changes_nothing(driver: Driver) -> None:
    driver.go()
    driver.configure(_CONFIG.replace("15 min", "15 bananas"))
    driver.add(1000)
    driver.go(901)
    assert "15 bananas" in driver.job("configuration").result
    assert driver.job("rapid").result.endswith("is published")
    driver.configure(_CONFIG.replace("15 min", "16 min"))
    driver.go(1)
    assert driver.job("configuration").failing_since is None


def test_it_does_not_begin_with_a_wrong_configuration(driver: Driver) -> None:
    driver.configure(_CONFIG.replace("daily at 03:30", "now and then"))
    with pytest.raises(ConfigError, match=r"schedule\.certified: 'now and then'"):
        driver.start()


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("15 min", timedelta(minutes=15)),
        ("every 2 hours", timedelta(hours=2)),
        ("1 day", timedelta(days=1)),
        ("90s", timedelta(seconds=90)),
        ("1.5 h", timedelta(minutes=90)),
        ("Every  30  Minutes", timedelta(minutes=30)),
    ],
)
def test_spans(text: str, span: timedelta) -> None:
    assert schedule.span(text, "x") == span


@pytest.mark.parametrize(
    "text", ["", "0 s", "min", "-5 min", "1 year", "9999 days", "5", "5 mins!"]
)
def test_what_is_no_span_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="key: "):
        schedule.span(text, "key")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daily at 03:30", "2026-11-24 03:30"),
        ("Mon, Thu at 12:00", "2026-11-26 12:00"),
        ("sun at 6:05", "2026-11-29 06:05"),
        ("30 3 1 * *", "2026-12-01 03:30"),
        ("*/20 * * * *", "2026-11-23 18:20"),
        ("30 3 * * 1", "2026-11-30 03:30"),  # Monday, as crontab counts
    ],
)
def test_calendars(text: str, expected: str) -> None:
    local = datetime(2026, 11, 23, 18, 0).astimezone()
    found = schedule.calendar(text, "x").next_after(local)
    assert f"{found.astimezone():%Y-%m-%d %H:%M}".startswith(expected)
    assert found > local


@pytest.mark.parametrize(
    "text",
    ["", "daily at 25:00", "daily", "* * * *", "99 * * * *", "x" * 99, "0 0 30 2 *", "1 2 3 * 4"],
)
def test_what_is_no_calendar_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match="key: "):
        schedule.calendar(text, "key")


# --- looking at files -----------------------------------------------------------------------------


def test_every_kind_of_change_is_noticed_once(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    file = tmp_path / "deep/er/file"
    file.write_bytes(b"one")
    lookout, at, places = Lookout(1.0), 0.0, (tmp_path / "deep", tmp_path / "single")

    def noticed() -> list[bool]:
        nonlocal at
        found = []
        for _ in range(4):
            at += 100
            found.append(lookout.has_changed(places, at))
        return found

    assert noticed() == [False] * 4
    once = [False, True, False, False]
    file.write_bytes(b"longer")
    assert noticed() == once
    (tmp_path / "deep/new").write_bytes(b"")
    assert noticed() == once
    (tmp_path / "single").write_bytes(b"x")
    assert noticed() == once
    os.replace(tmp_path / "single", tmp_path / "deep/other")
    assert noticed() == once
    file.unlink()
    assert noticed() == once


# --- the process ----------------------------------------------------------------------------------

_CODE = "from mailward.cli.repo import app; app()"


def _until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"


@pytest.fixture
def process(publisher: Publisher, home: Home) -> Iterator[subprocess.Popen[str]]:
    """The command, with real tests, on a feed of rules."""
    (home.folder / "rules").mkdir()
    (home.folder / "rules/one.yar").write_text(
        'rule One { strings: $a = "a very bad thing indeed" condition: $a }'
    )
    config = '[feeds.rules]\nkind = "yara"\nplace = "rules"\n'
    (home.folder / "publisher.toml").write_text(config)
    with subprocess.Popen(
        [sys.executable, "-uc", _CODE, "watch", "--repo", str(home.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as started:
        assert started.stdout is not None
        assert "Watching" in started.stdout.readline()
        yield started
        started.kill()


def test_the_command_publishes_a_new_rule_in_seconds_and_stops_when_told(
    process: subprocess.Popen[str], home: Home
) -> None:
    def offered() -> Version | None:
        return history.current(home, Signed.load(home), RAPID).version

    _until(lambda: offered() is not None)
    first = offered()
    (home.folder / "rules/two.yar").write_text(
        'rule Two { strings: $a = "another very bad thing" condition: $a }'
    )
    _until(lambda: offered() != first)
    other = subprocess.run(
        [sys.executable, "-c", f"from mailward.cli import main\nimport sys\n"
         f"sys.argv = ['mailward', 'repo', 'watch', '--repo', {str(home.folder)!r}]\nmain()"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert other.returncode == BusyError.exit_code
    assert f"process {process.pid}) is watching" in other.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 0
    state = json.loads((home.folder / "watch.json").read_text())
    assert state["stopped_at"]
    assert state["jobs"]["rapid"]["failing_since"] is None
    assert status(home).problems() == []


def test_a_watch_that_is_killed_leaves_a_whole_repository_and_can_begin_again(
    process: subprocess.Popen[str], publisher: Publisher, home: Home, client: Callable[[], Any]
) -> None:
    _until(lambda: (home.folder / "candidates").is_dir())
    process.kill()
    process.wait(timeout=20)
    client()
    assert any("is gone" in problem for problem in status(home).problems())
    rotate(publisher, "rapid")  # the lock is free
    again = Watch(home)
    again.tick()
    again.finish(60)
    assert client().current(RAPID).version is not None
