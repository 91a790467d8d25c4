import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.prepared import prepare
from mailward.testing import Attachment, inert_executable, message
from tests.protect.test_disarm import PROJECT, document

RULES = """
[notify]
admin = ["postmaster@example.net"]

[[policy.rules]]
name = "what is no picture"
when = { content_type = ["image/*"], content = ["executable"] }
action = "reject"

[[policy.rules]]
name = "macros"
when = { content = ["office-macro"] }
action = "disarm"
notify = ["recipients", "admin"]

[[policy.rules]]
name = "no programs"
when = { file_name = ["*.exe"] }
action = "reject"

[[policy.rules]]
name = "held for Eve"
when = { recipient = ["eve@*"] }
action = "quarantine"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with Store(tmp_path / "state/definitions").writer("test") as writer:
        stored = stage(writer, sample_set("20261123.001", {"none": b""}))
        with writer.workspace() as workspace:
            sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
            prepare(sources, all_engines(), workspace)
            writer.record_trial(stored.version, sample_trial(stored.version), workspace)
        writer.activate(stored.version, "test")
    path = tmp_path / "mailward.toml"
    path.write_text(f'state_dir = "{tmp_path}/state"\n{RULES}')
    return path


def run(config: Path, *arguments: str, data: bytes = b"") -> Result:
    runner = CliRunner(env={"MAILWARD_CONFIG": str(config), "COLUMNS": "200"})
    result = runner.invoke(app, ["policy", "test", *arguments], input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_it_tells_which_rule_fits_whom_and_why_the_others_do_not(
    config: Path, tmp_path: Path
) -> None:
    mail = tmp_path / "message.eml"
    mail.write_bytes(message(Attachment("a.txt", b"x")))

    shown = run(
        config, str(mail), "--recipient", "ann@example.net", "--recipient", "eve@example.net"
    ).stdout

    assert re.search(r"no programs +no: file_name", shown)
    assert re.search(r"held for Eve +yes", shown)
    assert "eve@example.net  quarantine  held for Eve" in shown
    assert "ann@example.net  deliver     -" in shown


def test_it_reads_standard_input_and_prints_json(config: Path) -> None:
    plain = json.loads(run(config, "-", "--json", data=message(Attachment("a.EXE", b"x"))).stdout)

    assert plain["verdict"] == "clean"
    assert [(d["action"], d["rule"]) for d in plain["decisions"]] == [("reject", "no programs")]


def test_it_tells_what_files_are_what_would_be_cut_and_who_would_be_told(
    config: Path, tmp_path: Path
) -> None:
    mail = tmp_path / "message.eml"
    macros = document(others={"word/vbaProject.bin": PROJECT})
    mail.write_bytes(
        message(
            Attachment("figures.docm", macros),
            Attachment("invoice.pdf", inert_executable()),
        )
    )

    shown = run(config, str(mail), "--client", "192.0.2.1").stdout
    plain = json.loads(run(config, str(mail), "--client", "192.0.2.1", "--json").stdout)

    for row in (
        r"message/2:figures\.docm +\S+ +office, office-macro +-",
        r"message/3:invoice\.pdf +\S+ +executable +extension",
        r"what is no picture +no: content_type",
        r"macros +yes",
        r"message/2:figures\.docm +without macros",
        r"message/3:invoice\.pdf +stripped",
        r"admin +postmaster@example\.net",
    ):
        assert re.search(row, shown), row
    assert (plain["disarmed"], plain["stripped"]) == ({"2": ["macros"]}, ["3"])
    assert [told["audience"] for told in plain["notified"]] == ["recipients", "admin"]
