"""`mailward license`: both sides of it, as typed."""

import json
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward import main
from mailward.cli.app import app
from mailward.config import load
from mailward.console.metrics import Metrics
from mailward.definitions.model import Channel
from mailward.errors import LicenseError, MailwardError, UsageError
from mailward.license import Terms
from mailward.publish import licensing
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.home import Home
from mailward.publish.repository import Publisher

UNTIL = f"{datetime.now(UTC) + timedelta(days=400):%Y-%m-%d}"


class Desk:
    """A publisher's folder and an administrator's computer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "repo"
        self.publisher = Publisher(self.repo)
        root = self.publisher.init()
        rules = folder / "rules"
        rules.mkdir()
        (rules / "a.yar").write_text('rule A { strings: $a = "a threat" condition: $a }')
        self.config = folder / "mailward.toml"
        self.config.write_text(
            f'state_dir = "{folder / "state"}"\n'
            f'[update]\nrepository = "{(self.repo / "public").as_uri()}"\nroot = "{root}"\n'
            "[update.certified]\nenabled = false\n[update.rapid]\nenabled = true\n"
            "[store]\nmin_free_bytes = 1\n"
        )

    def run(self, *words: str | Path) -> Result:
        return CliRunner().invoke(app, ["--config", str(self.config), *map(str, words)])

    def good(self, *words: str | Path) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.output

    def json(self, *words: str | Path) -> Any:
        return json.loads(self.run(*words).stdout)

    def publish(self) -> None:
        version = build(self.publisher.home, parse_specs([f"yara={self.folder / 'rules'}"])).version
        self.publisher.publish(version, forced="a test", license_required=True)

    def issue(self, *words: str) -> Path:
        output = self.good(
            "license", "issue", "--repo", self.repo, "--to", "Example Hospital", "--until", UNTIL,
            "--out", self.folder / "out", *words,
        )  # fmt: skip
        return self.folder / "out" / f"{_id_in(output)}.mwlic"


def _id_in(output: str) -> str:
    return output.splitlines()[1].split()[0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.good("license", "init", "--repo", made.repo, "--publisher", "Example Ltd")
    made.publish()
    return made


def test_from_nothing_to_an_update(desk: Desk) -> None:
    refused = desk.run("update")
    assert isinstance(refused.exception, LicenseError)
    assert refused.exception.exit_code == 4
    assert "mailward license install FILE" in str(refused.exception)
    assert desk.run("license", "show").exit_code == 1
    installed = desk.good("license", "install", desk.issue())
    assert "VALID: rapid is licensed to Example Hospital until" in installed
    assert "activated" in desk.good("update")
    shown = desk.json("license", "show", "--json")
    assert (shown["state"], shown["channels"], shown["allows"]) == ("valid", ["rapid"], True)
    assert shown["installed"][0]["licensee"] == "Example Hospital"


def test_status_tells_how_far_behind_a_computer_is_without_one(desk: Desk) -> None:
    desk.run("update")
    status = desk.json("status", "--json")
    assert status["license"]["state"] == "missing"
    assert not status["stale"]
    offered = status["channels"]["rapid"]["latest"]
    (alert,) = [text for text in status["alerts"] if text.startswith("license")]
    assert f"rapid offers {offered}, active is no set" in alert
    desk.good("license", "install", desk.issue())
    desk.good("update")
    status = desk.json("status", "--json")
    assert [text for text in status["alerts"] if text.startswith("license")] == []


def test_a_check_says_that_a_license_is_missing(desk: Desk) -> None:
    checked = desk.run("update", "--check")
    assert checked.exit_code == 1
    assert "is new; rapid needs a license" in checked.output


def test_many_from_a_list(desk: Desk) -> None:
    orders = desk.folder / "orders.csv"
    orders.write_text(f"to,until,id\nA,{UNTIL},A-1\nB,{UNTIL},B-1\n")
    out = desk.folder / "many"
    issued = desk.json(
        "license", "issue", "--repo", desk.repo, "--csv", orders, "--out", out, "--json"
    )
    assert [each["jti"] for each in issued] == ["A-1", "B-1"]
    for each in issued:
        path = Path(each["file"])
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in json.dumps(issued)
    again = desk.run("license", "issue", "--repo", desk.repo, "--csv", orders, "--out", out)
    assert "nothing was written" in str(again.exception)


@pytest.mark.parametrize(
    "words",
    [
        [], ["--to", "A"], ["--to", "A", "--until", "soon"], ["--to", "A", "--until", "9999-12-31"],
        ["--to", "A", "--until", UNTIL, "--csv", "x.csv"], ["--csv", "not-there.csv"],
        ["--to", "A", "--until", UNTIL, "--from", "2099-01-01"],
        ["--to", "A", "--until", UNTIL, "--id", "../A"],
        ["--to", "A", "--until", UNTIL, "--grace-days", "-1"],
    ],
)  # fmt: skip
def test_orders_that_make_no_sense(desk: Desk, words: Sequence[str]) -> None:
    result = desk.run("license", "issue", "--repo", desk.repo, "--out", desk.folder / "out", *words)
    assert isinstance(result.exception, MailwardError), result.output
    assert not (desk.folder / "out").exists() or not list((desk.folder / "out").iterdir())


def test_undo(desk: Desk) -> None:
    desk.good("license", "install", desk.issue())
    desk.good("license", "install", desk.issue("--channel", "rapid"))
    assert len(desk.json("license", "show", "--json")["installed"]) == 2
    desk.good("license", "undo")
    assert len(desk.json("license", "show", "--json")["installed"]) == 1
    desk.good("license", "undo")
    assert len(desk.json("license", "show", "--json")["installed"]) == 2


def test_revoking_and_replacing_keys(desk: Desk) -> None:
    path = desk.issue()
    desk.good("license", "revoke", path.stem, "--reason", "not paid", "--repo", desk.repo)
    result = desk.run("license", "install", path)
    assert "not paid" in str(result.exception)
    before = licensing.read(desk.publisher.home)
    assert before is not None
    desk.good("license", "rotate", "--repo", desk.repo)
    old = desk.issue()
    left = desk.good("license", "rotate", "--repo", desk.repo, "--drop", before.keys[0].keyid[:16])
    assert left.count("license key") == 1
    desk.good("license", "install", old)  # by the new key
    assert not list((desk.repo / "keys").glob(f"license-{before.keys[0].keyid[:16]}*"))


def test_issuing_needs_the_license_key_alone(desk: Desk) -> None:
    for key in (desk.repo / "keys").iterdir():
        if not key.name.startswith("license-"):
            key.unlink()
    path = desk.issue()
    desk.good("license", "install", path)
    result = desk.run("license", "revoke", path.stem, "--reason", "x", "--repo", desk.repo)
    assert "private key of targets is not here" in str(result.exception)


def test_a_license_key_that_others_can_read_is_refused(desk: Desk) -> None:
    (key,) = (desk.repo / "keys").glob("license-*")
    key.chmod(0o644)
    result = desk.run("license", "issue", "--repo", desk.repo, "--to", "A", "--until", UNTIL)
    assert "others can read this private file" in str(result.exception)


def test_usage_of_a_repository_that_nobody_used(desk: Desk) -> None:
    assert desk.json("license", "usage", "--repo", desk.repo, "--json") == []
    assert isinstance(
        desk.run("license", "usage", "--repo", desk.folder / "no").exception, UsageError
    )


def test_commands_print_no_token(desk: Desk) -> None:
    path = desk.issue()
    token = path.read_text().strip()
    said = [
        desk.good("license", "install", path), desk.run("license", "show").output,
        desk.run("license", "show", "--json").output, desk.run("status", "--json").output,
        desk.good("update", "--json"), desk.run("update", "history", "--json").output,
    ]  # fmt: skip
    for output in said:
        assert token[-30:] not in output
        assert token.split(".")[1][:40] not in output


def test_the_publishers_commands_work_as_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/license.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Publisher(tmp_path / "definitions").init()
    (tmp_path / "orders.csv").write_text(f"to,until\nA,{UNTIL}\n")
    walked = []
    for command in re.findall(r"^mailward (license .*--repo.*)$", text, re.MULTILINE):
        words = shlex.split(command)
        if "--drop" in words:
            known = licensing.read(Home(tmp_path / "definitions"))
            assert known is not None
            words[words.index("--drop") + 1] = known.keys[0].keyid[:12]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (command, result.output, result.exception)
        walked.append(words[1])
    assert walked == ["init", "issue", "issue", "usage", "revoke", "rotate", "rotate"]


def test_the_terms_are_documented_with_their_defaults() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/license.md").read_text(encoding="utf-8")
    table = text[text.index("| `Terms` |") :]
    documented = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", table, re.MULTILINE)
    assert [name for name, _ in documented] == list(Terms.model_fields)
    for name, what in documented:
        default = Terms.model_fields[name].default
        if isinstance(default, int):
            assert what.endswith(f"; {default}"), name


def test_metrics_tell_when_a_license_ends(desk: Desk) -> None:
    desk.good("license", "install", desk.issue())
    config = load(desk.config)
    ends = main.licenses(config).ends([Channel.RAPID], datetime.now(UTC))
    metrics = Metrics(
        config.update, main.store(config), None, dict, lambda: (0, 0), lambda: ends
    ).render()
    name = 'mailward_license_end_timestamp_seconds{channel="rapid"}'
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", metrics.decode(), re.MULTILINE)
    assert float(value) == ends[Channel.RAPID].timestamp()
