"""`repo status`: how it stands, and whether somebody has to look."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.repo import app
from mailward.definitions.model import Channel, Version
from mailward.errors import PublishError
from mailward.publish.home import Home, held
from mailward.publish.keys import ROLES
from mailward.publish.repository import Publisher
from mailward.publish.status import status
from mailward.publish.watch_state import JobState, WatchState

Built = Callable[[], Version]


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def _plain(home: Home) -> Any:
    return json.loads(_run("status", "--repo", home.folder, "--json").stdout)


def test_everything_is_there_as_json(publisher: Publisher, home: Home, built: Built) -> None:
    version = built()
    publisher.publish(version, rollout_hours=10)
    plain = _plain(home)
    assert plain["problems"] == []
    assert plain["watch"] is None
    assert set(plain["roles"]) == set(ROLES)
    for role in plain["roles"].values():
        assert role["threshold"] == len(role["keys"]) == 1
        assert (home.keys / role["keys"][0]["place"]).is_file()
        assert not role["expired"]
        assert not role["expires_soon"]
    rapid = plain["channels"]["rapid"]
    assert rapid["version"] == str(version)
    assert rapid["rollout"]["hours"] == 10
    assert 0 <= rapid["rollout_share"] < 0.01
    assert plain["channels"]["certified"]["rollout_share"] == 1
    sizes = plain["sizes"]
    objects = sum(p.stat().st_size for p in (home.public / "objects").rglob("*.zst"))
    assert sizes["objects_bytes"] == objects > 0
    assert sizes["public_bytes"] > sizes["objects_bytes"]
    secrets = [line for p in home.keys.iterdir() for line in p.read_text().splitlines()[1:-1]]
    assert not any(secret in json.dumps(plain) for secret in secrets)


def test_the_share_of_a_roll_out_grows_with_the_hours(
    publisher: Publisher, home: Home, built: Built, clock: Any
) -> None:
    publisher.publish(built(), rollout_hours=10)
    for hours, share in ((0, 0.0), (5, 0.5), (10, 1.0), (90, 1.0)):
        later = status(home, clock().replace(microsecond=0)).channels[Channel.RAPID]
        at = later.offer.published_at.timestamp() + hours * 3600
        moment = datetime.fromtimestamp(at, UTC)
        assert later.rollout_share(moment) == pytest.approx(share)


@pytest.mark.parametrize(
    ("days_ago", "code", "words"),
    [
        (0.0, 0, ""),
        (0.5, 0, ""),
        (0.8, 1, "timestamp expires soon"),
        (1.1, 1, "timestamp has expired"),
        (8.0, 1, "timestamp has expired"),
        (25.0, 1, "rapid expires soon"),
        (31.0, 1, "certified has expired"),
        (300.0, 1, "root expires soon"),
        (366.0, 1, "targets has expired"),
    ],
)
def test_it_exits_1_before_a_role_expires(
    tmp_path: Path, clock: Any, days_ago: float, code: int, words: str
) -> None:
    clock.advance(days=-days_ago)
    made = Publisher(tmp_path / "aged", now=clock)
    made.init()
    result = _run("status", "--repo", made.home.folder)
    assert result.exit_code == code
    assert words in result.output
    assert ("PROBLEM" in result.output) == bool(code)


def test_what_watch_could_not_do_is_a_problem(home: Home) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    good = JobState(ran_at=now, succeeded_at=now, result="nothing new")
    bad = JobState(ran_at=now, failing_since=now, result="feed lists: no such file")
    WatchState(pid=99, started_at=now, stopped_at=now, jobs={"refresh": good}).save(home)
    assert _run("status", "--repo", home.folder).exit_code == 0
    WatchState(pid=99, started_at=now, stopped_at=now, jobs={"rapid": bad}).save(home)
    result = _run("status", "--repo", home.folder)
    assert result.exit_code == 1
    assert "feed lists: no such file" in result.output
    assert _plain(home)["watch"]["jobs"]["rapid"]["failing_since"]


def test_a_watch_that_died_is_a_problem_and_one_that_runs_is_not(home: Home) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    WatchState(pid=99, started_at=now).save(home)
    result = _run("status", "--repo", home.folder)
    assert result.exit_code == 1
    assert "process 99 is gone" in result.output
    with held(home.watch_lock, "watching", 0):
        assert _run("status", "--repo", home.folder).exit_code == 0
        assert _plain(home)["watch"]["running"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 2_000_000, b'{"pid": "x"}'])
def test_a_damaged_watch_state_is_said(home: Home, content: bytes) -> None:
    (home.folder / "watch.json").write_bytes(content)
    with pytest.raises(PublishError, match=r"watch\.json is damaged"):
        status(home)


def test_files_that_are_pruned_while_it_counts_are_no_trouble(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = status(home).sizes
    real = Path.stat
    victim = home.metadata / "1.rapid.json"

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == victim:
            raise FileNotFoundError(path)
        return real(path, follow_symlinks=follow_symlinks)

    size = victim.stat().st_size
    monkeypatch.setattr(Path, "stat", stat)
    assert before.public - status(home).sizes.public == size
