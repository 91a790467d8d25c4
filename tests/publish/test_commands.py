"""`mailward repo` as a publisher types it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from typer.testing import CliRunner, Result

from mailward.cli.repo import app
from mailward.definitions.model import Version
from mailward.errors import PublishError, UsageError
from mailward.publish.home import Home
from mailward.publish.repository import Publisher


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yar"
    path.write_text('rule Test { strings: $a = "a very bad thing indeed" condition: $a }')
    return path


def test_init_says_which_file_to_hand_out(tmp_path: Path) -> None:
    result = _run("init", "--repo", tmp_path / "new")
    assert result.exit_code == 0
    assert str(tmp_path / "new/public/metadata/1.root.json") in result.output


def test_build_as_json_says_everything(home: Home, rules: Path) -> None:
    (rules.parent / "list.csv").write_text("nothing here\n")
    words = ["build", "--repo", home.folder, "--feed", f"yara={rules}", "--json"]
    plain = json.loads(_run(*words, "--feed", f"hashes={rules.parent / 'list.csv'}").stdout)
    assert plain["new"]
    assert {shard["name"] for shard in plain["shards"]} >= {"yara/rules.jsonl", "hashes/list.txt"}
    assert plain["left_out"][0]["reason"] == "no digest in it"
    again = json.loads(_run(*words, "--feed", f"hashes={rules.parent / 'list.csv'}").stdout)
    assert again["version"] == plain["version"]
    assert not again["new"]


def test_a_check_that_fails_exits_1_and_names_the_culprits(home: Home, tmp_path: Path) -> None:
    (tmp_path / "broad.yar").write_text('rule Broad { strings: $a = "Subject" condition: $a }')
    words = ["--repo", home.folder, "--json"]
    version = json.loads(_run("build", "--feed", f"yara={tmp_path}", *words).stdout)["version"]
    result = _run("check", version, "--repo", home.folder)
    assert result.exit_code == 1
    assert "Broad in " in result.output
    result = _run("check", version, *words)
    assert result.exit_code == 1
    assert not json.loads(result.stdout)["passed"]
    assert isinstance(_run("publish", version, "--repo", home.folder).exception, PublishError)


def test_force_and_reason_go_together(home: Home) -> None:
    for words in (["--force"], ["--reason", "why not"]):
        result = _run("publish", "20261123.001", "--repo", home.folder, *words)
        assert isinstance(result.exception, UsageError)


def test_status_as_json(home: Home, publisher: Publisher, built: Callable[[], Version]) -> None:
    version = built()
    publisher.publish(version)
    publisher.withdraw(version, "hits invoices")
    newer = built()
    publisher.promote(newer)
    result = _run("status", "--repo", home.folder, "--json")
    assert result.exit_code == 0
    plain = json.loads(result.stdout)
    rapid, certified = plain["channels"]["rapid"], plain["channels"]["certified"]
    assert rapid["version"] is None
    assert rapid["withdrawn"] == {str(version): "hits invoices"}
    assert certified["version"] == str(newer)
    assert certified["age_s"] >= 0
    assert certified["set"]["report"]["passed"]
    assert certified["set"]["signatures"] > 200
    assert set(plain["roles"]) == {
        "root", "targets", "snapshot", "timestamp", "certified", "rapid"
    }  # fmt: skip
    assert not plain["roles"]["timestamp"]["expired"]
    assert [each["version"] for each in plain["sets"]] == [str(version), str(newer)]


def test_status_for_people_names_channels_roles_and_sets(
    home: Home, publisher: Publisher, built: Callable[[], Version]
) -> None:
    version = built()
    publisher.publish(version)
    result = _run("status", "--repo", home.folder)
    assert result.exit_code == 0
    for expected in (str(version), "certified", "timestamp", "basic passed", "here"):
        assert expected in result.output


def test_status_exits_1_once_a_signature_has_expired(
    home: Home, publisher: Publisher, clock: Any
) -> None:
    clock.advance(days=-2)
    publisher.refresh_timestamp()
    result = _run("status", "--repo", home.folder)
    assert result.exit_code == 1
    assert "EXPIRED" in result.output


def test_withdrawing_says_what_is_offered_instead(
    home: Home, publisher: Publisher, built: Callable[[], Version]
) -> None:
    first, second = built(), built()
    publisher.publish(first)
    publisher.publish(second)
    result = _run("withdraw", second, "--reason", "hits invoices", "--repo", home.folder)
    assert f"{second} is withdrawn from rapid, which offers {first} now" in result.output


@pytest.mark.parametrize("listen", ["8080", ":8080", "localhost:http", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_said(home: Home, listen: str) -> None:
    result = _run("serve", "--repo", home.folder, "--listen", listen)
    assert isinstance(result.exception, UsageError)
    assert "HOST:PORT" in str(result.exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_it_is_told_to_stop(home: Home, number: signal.Signals) -> None:
    code = "from mailward.cli.repo import app; app()"
    words = ["serve", "--repo", str(home.folder), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http://"))
        answer = urllib3.request("GET", f"{address}metadata/timestamp.json", retries=False)
        assert answer.data == (home.metadata / "timestamp.json").read_bytes()
        server.send_signal(number)
        assert server.wait(timeout=20) == 0
