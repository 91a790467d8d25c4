import json
from pathlib import Path

from typer.testing import CliRunner, Result

from mailward import config, main
from mailward.cli.app import app
from mailward.protect.events import Event


def run(folder: Path, *arguments: str) -> Result:
    environment = {"MAILWARD_STATE_DIR": str(folder), "COLUMNS": "220"}
    result = CliRunner(env=environment).invoke(app, ["events", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_what_happened_is_found_again(tmp_path: Path) -> None:
    with main.event_log(config.load(state_dir=tmp_path)) as log:
        log.record(Event("message", "smtp", sender="ann@example.org", answer="250 2.0.0 OK"))
        log.record(Event("message", "milter", sender="eve@example.com", verdict="infected"))

    shown = run(tmp_path).stdout
    (found,) = [json.loads(line) for line in run(tmp_path, "EVE", "--json").stdout.splitlines()]

    assert "ann@example.org" in shown
    assert "250 2.0.0 OK" in shown
    assert (found["door"], found["verdict"]) == ("milter", "infected")
    assert found["at"].endswith("+00:00")


def test_nothing_on_record_is_said_so(tmp_path: Path) -> None:
    assert run(tmp_path, "--since", "1d").stdout == "Nothing of that kind is on record.\n"
