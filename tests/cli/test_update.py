"""`mailward update`, `status` and `config`, as an administrator meets them."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.definitions.model import Level, Version
from mailward.definitions.store import Store
from mailward.errors import BusyError, ConfigError, FetchError, UsageError
from mailward.publish import quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher


@pytest.fixture
def published(tmp_path: Path) -> Version:
    rules = tmp_path / "one.yar"
    rules.write_text('rule One { strings: $a = "a threat" condition: $a }', encoding="utf-8")
    publisher = Publisher(tmp_path / "publisher")
    publisher.init()
    version = build(publisher.home, parse_specs([f"yara={rules}"])).version
    quality.check(publisher.home, version, Level.BASIC)
    publisher.publish(version)
    return version


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "mailward.toml"
    public = tmp_path / "publisher/public"
    file.write_text(
        f'state_dir = "{tmp_path}/state"\n'
        f'[update]\nrepository = "{public.as_uri()}"\n'
        f'root = "{public}/metadata/1.root.json"\n'
        "certified = {enabled = false}\nrapid = {enabled = true}\n"
        "[store]\nmin_free_bytes = 1\n",
        encoding="utf-8",
    )
    return file


def _run(config_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--config", str(config_file), *arguments])


def test_update_says_what_it_did_and_status_that_the_server_is_protected(
    config_file: Path, published: Version
) -> None:
    before = _run(config_file, "status")
    assert before.exit_code == 1
    assert "ALERT" in before.output
    assert _run(config_file, "update", "--check").exit_code == 1

    done = _run(config_file, "update")
    assert done.exit_code == 0, done.output
    assert f"rapid: activated ({published} is new); active set {published}" in done.output
    assert _run(config_file, "update", "--check").exit_code == 0

    after = _run(config_file, "status", "--json")
    assert after.exit_code == 0, after.output
    found = json.loads(after.output)
    assert found["active"]["version"] == str(published)
    assert found["channels"]["rapid"]["last_result"].startswith("up to date")
    assert found["engines"]["yara"]["signatures"] >= 1
    assert (found["stale"], found["alerts"]) == (False, [])
    assert "Protected" in _run(config_file, "status").output


def test_a_failed_update_is_seen_in_status(config_file: Path, published: Version) -> None:
    _run(config_file, "update")
    (config_file.parent / "publisher/public/metadata/timestamp.json").unlink()
    failed = _run(config_file, "update")
    assert isinstance(failed.exception, FetchError)
    found = json.loads(_run(config_file, "status", "--json").output)
    assert "no such file" in found["channels"]["rapid"]["last_result"]
    assert found["active"]["version"] == str(published)


def test_config_show_prints_toml_that_can_be_read_again(config_file: Path, tmp_path: Path) -> None:
    shown = _run(config_file, "config", "show")
    assert shown.exit_code == 0
    again = tmp_path / "again.toml"
    again.write_text(shown.output, encoding="utf-8")
    assert _run(again, "config", "show").output == shown.output
    assert "state_dir" in _run(config_file, "config", "show", "--changed").output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("state_dir = ", "not valid TOML"),
        ("[smtp]\nlissten = 'x'", r"smtp\.lissten"),
        ("[smtp]\nlisten = 'nowhere'", r"smtp\.listen"),
        ("[policy]\ninfected = 'shred'", r"policy\.infected"),
        ("[scan]\nworkers = 0", r"scan\.workers"),
    ],
)
def test_a_wrong_configuration_is_refused_and_the_key_named(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text, encoding="utf-8")
    checked = _run(file, "config", "check")
    assert isinstance(checked.exception, ConfigError)
    assert checked.exception.exit_code == 2
    with pytest.raises(ConfigError, match=words):
        raise checked.exception


def test_a_configuration_that_is_named_but_not_there_is_an_error(tmp_path: Path) -> None:
    assert isinstance(_run(tmp_path / "none.toml", "config", "check").exception, ConfigError)


def test_update_from_a_folder_takes_a_copy_of_the_repository(
    config_file: Path, published: Version, tmp_path: Path
) -> None:
    public = next(tmp_path.rglob("objects")).parent
    stick = shutil.copytree(public, tmp_path / "a stick")
    shutil.rmtree(public / "objects")
    assert isinstance(_run(config_file, "update").exception, FetchError)
    done = _run(config_file, "update", "--from", str(stick))
    assert done.exit_code == 0, done.output
    assert str(published) in done.output


def test_update_from_a_folder_that_holds_no_repository_is_wrong_use(
    config_file: Path, tmp_path: Path
) -> None:
    done = _run(config_file, "update", "--from", str(tmp_path / "nothing"))
    assert isinstance(done.exception, UsageError)


def test_history_tells_checks_trials_activations_and_failures(
    config_file: Path, published: Version
) -> None:
    assert "Nothing has happened yet" in _run(config_file, "update", "history").output
    _run(config_file, "update")
    (config_file.parent / "publisher/public/metadata/timestamp.json").unlink()
    _run(config_file, "update")
    lines = _run(config_file, "update", "history", "--json").output.splitlines()
    told = [json.loads(line) for line in lines]
    assert [e["event"] for e in told] == ["staged", "proved", "activated", "checked", "failed"]
    assert all(told[n]["bytes"] > 0 and told[n]["requests"] > 0 for n in (0, 2, 3))
    assert all(told[n]["ms"] > 0 for n in range(5))
    assert "no such file" in told[4]["reason"]
    last = _run(config_file, "update", "history", "-n", "1")
    assert "failed" in last.output
    assert "activated" not in last.output


def test_update_says_who_writes_the_store_and_gives_up_in_time(
    config_file: Path, published: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailward.cli.patience.BUSY_WAIT_S", 0.0)
    with Store(config_file.parent / "state/definitions").writer("update certified"):
        done = _run(config_file, "update")
    assert isinstance(done.exception, BusyError)
    assert "update certified" in str(done.exception)


def test_update_waits_for_the_running_service(
    config_file: Path, published: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as service:
        service.enter_context(
            Store(config_file.parent / "state/definitions").writer("update rapid")
        )
        monkeypatch.setattr("mailward.cli.patience.time.sleep", lambda seconds: service.close())
        done = _run(config_file, "update")
    assert done.exit_code == 0, done.output
    assert "is being written by" in done.output
    assert f"active set {published}" in done.output


def test_a_schedule_that_is_none_is_refused_and_the_key_named(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("[update.rapid]\nschedule = 'now and then'", encoding="utf-8")
    refused = str(_run(file, "config", "check").exception)
    assert "update.rapid.schedule" in refused
    assert "every 15 min" in refused
