import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.errors import StoreError
from mailward.scan.containers import libarchive
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.prepared import prepare
from mailward.testing import EICAR, Attachment, encrypted_zip, message, zipped
from tests.scan.containers import archives

VERSION = "20261123.001"
RISK = "Test.Eicar"

Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state/definitions")
    shard = f"{hashlib.sha256(EICAR).hexdigest()}:{len(EICAR)}:{RISK}\n".encode()
    with store.writer("test") as writer:
        stored = stage(writer, sample_set(VERSION, {"eicar": shard}))
        with writer.workspace() as workspace:
            sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
            prepare(sources, all_engines(), workspace)
            writer.record_trial(stored.version, sample_trial(stored.version), workspace)
        writer.activate(stored.version, "test")
    return store


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = tmp_path / "mailward.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/state"\n[scan]\nworkers = 2\nmax_message_bytes = 100000\n'
    )

    def invoke(*arguments: str | Path, data: bytes = b"") -> Result:
        runner = CliRunner(env={"MAILWARD_CONFIG": str(config), "COLUMNS": "200"})
        result = runner.invoke(app, ["scan", *map(str, arguments)], input=data)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mail"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.eml").write_bytes(message(Attachment("a.zip", zipped(Attachment("b", EICAR)))))
    (folder / "sub/clean.txt").write_bytes(b"hello")
    (folder / "sub/locked.zip").write_bytes(encrypted_zip(Attachment("x", b"secret")))
    return folder


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.usefixtures("store")
def test_a_folder_is_scanned_with_everything_below(run: Run, folder: Path) -> None:
    result = run(folder)
    assert result.exit_code == 1
    risk, locked, summary = result.stdout.splitlines()
    assert risk == f"{folder}/a.eml: infected: {RISK} in a.eml/2:a.zip/b (hashes)"
    assert locked.startswith(f"{folder}/sub/locked.zip: unscannable: locked.zip/x: encrypted")
    assert summary.startswith("3 files in ")
    assert summary.endswith(
        f"1 infected, 0 suspicious, 1 unscannable, 1 clean; definitions {VERSION}"
    )


@pytest.mark.usefixtures("store")
def test_json_is_one_object_a_line_in_the_order_of_the_files(run: Run, folder: Path) -> None:
    result = run("--json", folder / "sub/clean.txt", folder)
    assert result.exit_code == 1
    found = lines(result)
    assert [Path(one["path"]).name for one in found] == [
        "clean.txt", "a.eml", "clean.txt", "locked.zip",
    ]  # fmt: skip
    infected = found[1]
    assert (infected["verdict"], infected["parts"], infected["set"]) == ("infected", 4, VERSION)
    assert infected["ms"] > 0
    [risk] = infected["risks"]
    assert (risk["name"], risk["engine"], risk["set"]) == (RISK, "hashes", VERSION)
    assert found[3]["unopened"][0]["reason"] == "encrypted"


@pytest.mark.usefixtures("store")
def test_standard_input(run: Run) -> None:
    assert run("-", data=EICAR).exit_code == 1
    assert run("-", data=b"hello").exit_code == 0


@pytest.mark.usefixtures("store")
def test_what_cannot_be_read_is_named_and_the_rest_is_scanned(run: Run, folder: Path) -> None:
    clean = folder / "sub/clean.txt"
    result = run("--json", folder / "missing", clean)
    assert result.exit_code == 2
    missing, scanned = lines(result)
    assert missing == {"path": str(folder / "missing"), "error": "No such file or directory"}
    assert scanned["verdict"] == "clean"
    result = run(folder / "missing", clean)
    assert f"{folder}/missing: No such file or directory" in result.stderr
    assert "1 could not be read" in result.stdout


@pytest.mark.usefixtures("store")
def test_a_file_over_the_limit_is_unscannable_and_not_read(run: Run, folder: Path) -> None:
    huge = folder / "huge"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    [verdict] = lines(run("--json", huge))
    assert verdict["verdict"] == "unscannable"
    assert "scan.max_message_bytes" in verdict["unopened"][0]["detail"]


@pytest.mark.usefixtures("store")
def test_names_of_files_cannot_play_with_the_terminal(run: Run, folder: Path) -> None:
    (folder / "\x1b[2J\udcff[bold]").write_bytes(EICAR)
    out = run(folder).stdout
    assert "\x1b" not in out
    assert "?[2J?[bold]: infected" in out


@pytest.mark.usefixtures("store")
def test_nothing_to_scan_is_fine(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(tmp_path / "empty")
    assert result.exit_code == 0
    assert result.stdout.startswith("0 files")


def test_without_definitions_it_says_what_to_do(run: Run, folder: Path) -> None:
    with pytest.raises(StoreError, match="mailward update"):
        run(folder)


@pytest.mark.usefixtures("store")
def test_explain_shows_every_part_and_what_is_the_matter_with_it(run: Run, tmp_path: Path) -> None:
    inner = zipped(Attachment("a.com", EICAR), Attachment("b.txt", b"hello"))
    locked = encrypted_zip(Attachment("secret.txt", b"not to be seen"))
    mail = tmp_path / "a.eml"
    mail.write_bytes(message(Attachment("a.zip", inner), Attachment("locked.zip", locked)))
    result = run("--explain", mail)
    assert result.exit_code == 1
    shown = [line.strip() for line in result.stdout.splitlines()]
    assert shown[0] == f"{mail}: infected"
    at = next(n for n, line in enumerate(shown) if "a.com: text, 68 B" in line)
    assert f"sha256 {hashlib.sha256(EICAR).hexdigest()}" in shown[at + 1]
    assert shown[at + 2] == f"infected: {RISK} (hashes)"
    at = next(n for n, line in enumerate(shown) if "locked.zip: zip archive" in line)
    assert shown[at + 2].startswith("unscannable: secret.txt: encrypted")


@pytest.mark.usefixtures("store")
def test_explain_for_programs(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(zipped(Attachment("a.com", EICAR)))
    [told] = lines(run("--explain", "--json", file))
    assert (told["verdict"], told["path"]) == ("infected", str(file))
    outer, inner = told["tree"]
    assert (outer["path"], outer["kind"], outer["depth"]) == ("a.zip", "zip archive", 0)
    assert (inner["path"], inner["role"], inner["depth"]) == ("a.zip/a.com", "member", 1)
    assert inner["md5"] == hashlib.md5(EICAR).hexdigest()
    assert inner["sha1"] == hashlib.sha1(EICAR).hexdigest()
    assert inner["size"] == len(EICAR)


@pytest.mark.usefixtures("store")
def test_explain_says_what_is_too_large_or_not_there(run: Run, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    result = run("--explain", huge, tmp_path / "missing")
    assert result.exit_code == 2
    assert "scan.max_message_bytes" in result.stdout
    assert "No such file" in result.stderr


@pytest.mark.usefixtures("store")
def test_explain_opens_what_only_the_systems_library_opens_in_a_confined_worker(
    run: Run, tmp_path: Path
) -> None:
    if not libarchive.version():
        pytest.skip("needs libarchive (Debian: libarchive13), which is not installed")
    file = tmp_path / "a.rar"
    file.write_bytes(archives.rar5("a.com", EICAR))
    assert "a.rar/a.com" in run("--explain", file).stdout
    assert run(file).exit_code == 1
