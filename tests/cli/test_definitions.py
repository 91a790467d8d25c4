import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.definitions import app
from mailward.definitions.model import Channel, Version
from mailward.definitions.store import Store
from mailward.definitions.testing import put, sample_set, sample_trial, stage
from mailward.errors import BusyError, StoreError, UsageError

V1, V2, V3 = "20260101.001", "20260101.002", "20260101.003"

Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state/definitions")
    with store.writer("test") as writer:
        for version in (V1, V2):
            writer.activate(put(writer, sample_set(version)).version, "test")
        stage(writer, sample_set(V3, channel=Channel.CERTIFIED))
    return store


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with a configuration file that names the store; errors come out as raised."""
    config = tmp_path / "mailward.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')

    def invoke(*arguments: str) -> Result:
        runner = CliRunner(env={"MAILWARD_CONFIG": str(config), "COLUMNS": "200"})
        result = runner.invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def plain(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.usefixtures("store")
def test_list_shows_every_set_newest_first(run: Run) -> None:
    result = run("list")
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == ("version channel state signatures size built activated")
    assert [line.split()[:3] for line in lines[1:]] == [
        [V3, "certified", "downloaded"],
        [V2, "rapid", "active"],
        [V1, "rapid", "proved"],
    ]
    assert result.exit_code == 0


def test_list_for_programs(run: Run, store: Store) -> None:
    listed = plain(run("list", "--json"))
    assert [(entry["version"], entry["state"]) for entry in listed] == [
        (V3, "downloaded"),
        (V2, "active"),
        (V1, "proved"),
    ]
    active = store.active()
    assert active is not None
    assert active.activated_at is not None
    assert listed[1]["activated_at"] == active.activated_at.isoformat()
    assert listed[1]["signatures"] == active.manifest.signatures
    assert listed[0]["activated_at"] is listed[0]["proved_at"] is None


def test_an_empty_store_says_what_to_do(run: Run) -> None:
    assert "mailward update" in run("list").stdout
    assert plain(run("list", "--json")) == []
    assert plain(run("verify", "--json")) == []
    with pytest.raises(UsageError, match="mailward update"):
        run("show")


@pytest.mark.usefixtures("store")
def test_show_tells_shards_gates_and_what_each_engine_left_out(run: Run) -> None:
    text = run("show", V1).stdout
    for piece in (V1, "own/hashes", "shared/hashes", "hashes", "probes", "passed"):
        assert piece in text
    assert "left out by fake" in text
    assert "Bad.One" in text


@pytest.mark.usefixtures("store")
def test_show_without_a_version_shows_the_active_set(run: Run) -> None:
    shown = plain(run("show", "--json"))
    assert (shown["version"], shown["state"]) == (V2, "active")
    assert shown["manifest"]["shards"][0]["name"] == "shared/hashes"
    assert shown["trial"]["engines"][0]["refused"][0]["signature"] == "Bad.One"


def test_show_tells_why_a_trial_failed(run: Run, store: Store) -> None:
    assert "Not proved on this computer yet" in run("show", V3).stdout
    with store.writer("test") as writer:
        writer.record_trial(Version.parse(V3), sample_trial(Version.parse(V3), "it hung"), None)
        writer.refuse(Version.parse(V3), "failed its trial")
    text = run("show", V3).stdout
    assert "FAILED" in text
    assert "it hung" in text
    assert "failed its trial" in text


def test_show_prints_no_terminal_controls_of_a_signature(run: Run, store: Store) -> None:
    with store.writer("test") as writer:
        writer.refuse(Version.parse(V1), "bad\x1b[2J[red]name")
    text = run("show", V1).stdout
    assert "\x1b" not in text
    assert "[red]name" in text


def test_rollback_goes_back_and_says_that_the_set_left_is_not_taken_again(
    run: Run, store: Store
) -> None:
    text = run("rollback", "--reason", "finds invoices").stdout
    assert f"Active set: {V1}" in text
    assert f"mailward definitions activate {V2}" in text
    pointer = store.pointer()
    assert pointer is not None
    assert pointer.refused == {V2: "finds invoices"}
    assert (store.history()[-1].event, store.history()[-1].reason) == (
        "rolled-back",
        "finds invoices",
    )
    with pytest.raises(StoreError, match="nothing to go back to"):
        run("rollback")


def test_activate_takes_a_refused_set_because_the_administrator_says_so(
    run: Run, store: Store
) -> None:
    run("rollback", V1)
    assert run("activate", V2, "--reason", "was a mistake").stdout == f"Active set: {V2}\n"
    pointer = store.pointer()
    assert pointer is not None
    assert pointer.refused == {}
    assert store.history()[-1].reason == "was a mistake"


@pytest.mark.usefixtures("store")
def test_activate_needs_a_proved_set(run: Run) -> None:
    with pytest.raises(StoreError, match="not been proved"):
        run("activate", V3)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("command", ["show", "activate", "rollback", "verify"])
@pytest.mark.parametrize("version", ["20260101.999", "newest", "../../etc"])
def test_a_version_that_is_not_there_is_wrong_use(run: Run, command: str, version: str) -> None:
    with pytest.raises(UsageError):
        run(command, version)


def test_verify_ends_with_1_and_names_what_is_broken(run: Run, store: Store) -> None:
    assert run("verify").stdout == "3 sets verified: nothing is damaged\n"
    store.get(Version.parse(V1)).shard_paths()[1][1].write_bytes(b"rotten")
    result = run("verify")
    assert result.exit_code == 1
    assert V1 in result.stdout
    assert "own/hashes" in result.stdout
    (problem,) = plain(run("verify", "--json"))
    assert problem["version"] == V1
    assert run("verify", V2).exit_code == 0
    assert run("verify", V1).exit_code == 1


def test_prune_says_what_it_removed(run: Run, store: Store) -> None:
    assert run("prune").stdout == "Nothing to remove\n"
    with store.writer("test") as writer:
        for number in range(4, 8):
            writer.activate(put(writer, sample_set(f"20260101.{number:03}")).version, "test")
    assert run("prune").stdout == f"Removed: {V1}, {V2}\n"


@pytest.mark.parametrize("command", [["prune"], ["rollback"], ["activate", V1]])
def test_while_an_update_writes_the_administrator_is_told(
    run: Run, store: Store, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailward.cli.patience.BUSY_WAIT_S", 0.0)
    with store.writer("update rapid"), pytest.raises(BusyError, match="update rapid"):
        run(*command)


def test_a_roll_back_waits_for_the_update_that_writes_the_store(
    store: Store, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as update:
        update.enter_context(store.writer("update rapid"))
        monkeypatch.setattr("mailward.cli.patience.time.sleep", lambda seconds: update.close())
        done = run("rollback")
    assert "update rapid" in done.stdout
    assert f"Active set: {V1}" in done.stdout


@pytest.mark.parametrize("command", ["list", "show", "activate", "rollback", "verify", "prune"])
def test_every_command_has_an_example(run: Run, command: str) -> None:
    assert f"mailward definitions {command}" in run(command, "--help").stdout
