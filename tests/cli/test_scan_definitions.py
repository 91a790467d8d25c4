"""`mailward scan --definitions FOLDER`: one's own signatures, through the real worker pool."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.errors import UsageError

Run = Callable[..., Result]

MAIL = (
    b"From: a@example.org\nTo: b@example.org\nSubject: hello\nContent-Type: text/plain\n\n"
    b"hello, world of FooBar and its needle\n"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def invoke(*arguments: str | Path) -> Result:
        env = {"MAILWARD_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200"}
        return CliRunner(env=env).invoke(app, ["scan", *map(str, arguments)])

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "body.ndb").write_text("Test.Body:0:*:68656c6c6f{1-3}776f726c64\nBad:0:*:zz\n")
    (folder / "logic.ldb").write_text("Test.Logic;Target:0;0&(1=0);666f6f626172::i;6162736e74\n")
    (folder / "rule.yar").write_text('rule Test_Rule { strings: $a = "needle" condition: $a }')
    (folder / "notes.txt").write_text("not signatures")
    (tmp_path / "mail.eml").write_bytes(MAIL)
    return folder


def names(result: Result) -> set[str]:
    (line,) = result.stdout.splitlines()
    return {risk["name"] for risk in json.loads(line)["risks"]}


def test_plain_files_are_prepared_once_and_find(run: Run, folder: Path) -> None:
    mail = folder.parent / "mail.eml"
    first = run("--json", "--definitions", folder, mail)
    assert first.exit_code == 1
    assert names(first) == {"Test.Body", "Test.Logic", "Test_Rule"}
    assert "clamav/folder/body.ndb:1: Bad:0:*:zz: at character 1: cannot read 'zz'" in first.stderr
    assert "notes.txt: not a file of this feed" in first.stderr
    assert "body.ndb: not a file of this feed" not in first.stderr
    second = run("--json", "--definitions", folder, mail)
    assert names(second) == names(first)
    assert second.stderr == ""


def test_a_changed_file_is_prepared_anew(run: Run, folder: Path) -> None:
    mail = folder.parent / "mail.eml"
    run("--definitions", folder, mail)
    (folder / "body.ndb").write_text(
        "Test.Other:4:*:7375626a656374\nTest.Mail:4:*:5375626a656374\n"
    )
    assert names(run("--json", "--definitions", folder, mail)) == {
        "Test.Mail",
        "Test.Logic",
        "Test_Rule",
    }


def test_few_prepared_folders_are_kept(run: Run, folder: Path) -> None:
    home = folder.parent / "state/folders"
    for number in range(6):
        (home / f"old-{number}").mkdir(parents=True)
        os.utime(home / f"old-{number}", (number, number))
    run("--definitions", folder, folder.parent / "mail.eml")
    kept = {path.name for path in home.iterdir()}
    assert len(kept) == 4
    assert {"old-3", "old-4", "old-5"} < kept


def test_a_folder_without_signatures_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "missing"):
        result = run("--definitions", place, tmp_path)
        assert isinstance(result.exception, UsageError)
        assert str(place) in str(result.exception)


def test_a_signature_is_explained_in_words(folder: Path) -> None:
    runner = CliRunner(env={"MAILWARD_STATE_DIR": str(folder.parent / "state"), "COLUMNS": "200"})

    def explain(name: str, *options: str) -> Result:
        arguments = ["definitions", "explain", name, "--definitions", str(folder), *options]
        return runner.invoke(app, arguments)

    shown = explain("Test.Logic.UNOFFICIAL").stdout
    assert "Test.Logic (clamav/folder/logic.ldb, line 1)" in shown
    assert '0: "foobar" in any case' in shown
    assert "malformed" in explain("Bad").stdout
    unknown = explain("Nothing").exception
    assert isinstance(unknown, UsageError)
    assert f"{folder} is called Nothing" in str(unknown)
    assert isinstance(explain("Bad", "--set", "20261123.001").exception, UsageError)


def test_what_became_of_a_folder_is_shown_by_kind(run: Run, folder: Path) -> None:
    run("--definitions", folder, folder.parent / "mail.eml")
    (home,) = (folder.parent / "state/folders").iterdir()
    runner = CliRunner(env={"MAILWARD_STATE_DIR": str(home), "COLUMNS": "200"})
    listed = runner.invoke(app, ["definitions", "show"]).stdout
    assert ".ndb" in listed
    assert "cannot read 'zz'" in listed
