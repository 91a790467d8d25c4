"""Held messages under other definitions than those that caught them."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.definitions.ignored import IgnoreList
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.doors.testing import FakeHop
from mailward.errors import UsageError
from mailward.protect.held import Envelope
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.protect.quarantine import Quarantine
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.prepared import prepare
from mailward.scan.verdict import Risk, Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.testing import EICAR, Attachment, message


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


def activate(folder: Path, version: str, *names: bytes) -> None:
    digest = hashlib.sha256(EICAR).hexdigest().encode()
    shard = b"".join(digest + b":68:" + name for name in names)
    with Store(folder / "state/definitions").writer("test") as writer:
        stored = stage(writer, sample_set(version, {"eicar": shard}))
        with writer.workspace() as workspace:
            sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
            prepare(sources, all_engines(), workspace)
            writer.record_trial(stored.version, sample_trial(stored.version), workspace)
        writer.activate(stored.version, "test")


async def test_what_the_definitions_of_now_clear_is_released_and_the_rest_is_kept(
    tmp_path: Path, hop: FakeHop
) -> None:
    activate(tmp_path, "20261123.001", b"Still.Bad\n")
    quarantine = Quarantine(tmp_path / "state/quarantine", QuarantineSettings())
    verdict = Verdict(risks=(Risk("False.Positive", "fake", "message", "1"),))
    decision = decide(verdict, PolicySettings(), Mail("", (), "", b""))
    envelope = Envelope("a@example.org", ("b@example.net",))
    cleared = quarantine.hold(message(), envelope, verdict, decision)
    bad = quarantine.hold(message(Attachment("e.com", EICAR)), envelope, verdict, decision)
    path = tmp_path / "mailward.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/state"\n[smtp]\nnext_hop = "{hop.address}"\nhostname = "m.x"\n'
        "[scan]\nworkers = 1\n"
    )

    def rescan(*options: str) -> tuple[int, dict[str, Any]]:
        runner = CliRunner(env={"MAILWARD_CONFIG": str(path)})
        result = runner.invoke(app, ["quarantine", "rescan", "--json", *options])
        return result.exit_code, {row["id"]: row for row in json.loads(result.stdout)}

    code, looked = await asyncio.to_thread(rescan)
    assert (code, {row["result"] for row in looked.values()}) == (1, {"kept"})
    assert len(quarantine.list()) == 2

    _, done = await asyncio.to_thread(rescan, "--release")
    assert (done[cleared.id]["verdict"], done[cleared.id]["result"]) == ("clean", "released")
    assert (done[bad.id]["risks"], done[bad.id]["result"]) == (["Still.Bad"], "kept")
    assert [entry.id for entry in quarantine.list()] == [bad.id]
    assert len(hop.messages) == 1


async def test_a_false_positive_is_ignored_and_what_it_caught_released_in_one_step(
    tmp_path: Path, hop: FakeHop
) -> None:
    activate(tmp_path, "20261123.001", b"False.One\n")
    quarantine = Quarantine(tmp_path / "state/quarantine", QuarantineSettings())
    envelope = Envelope("a@example.org", ("b@example.net",))

    def caught(*names: str, **more: Any) -> str:
        risks = tuple(Risk(name, "hashes", "message/2", "1", **more) for name in names)
        decision = decide(Verdict(risks), PolicySettings(), Mail("", (), "", b""))
        mail = message(Attachment("e.com", EICAR))
        return quarantine.hold(mail, envelope, Verdict(risks), decision).id

    reported, another = caught("False.One"), caught("False.One")
    both = caught("False.One", "Other.One")
    nothing = quarantine.hold(
        message(), envelope, Verdict(), decide(Verdict(), PolicySettings(), Mail("", (), "", b""))
    ).id
    path = tmp_path / "mailward.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/state"\n[smtp]\nnext_hop = "{hop.address}"\nhostname = "m.x"\n'
        "[scan]\nworkers = 1\n"
    )

    def run(*arguments: str) -> Result:
        runner = CliRunner(env={"MAILWARD_CONFIG": str(path)})
        return runner.invoke(app, ["quarantine", "false-positive", *arguments])

    refused = await asyncio.to_thread(run, nothing)
    assert isinstance(refused.exception, UsageError)
    assert IgnoreList(tmp_path / "state/definitions").read() == {}

    result = await asyncio.to_thread(run, reported, "--reason", "our tool", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ignored"]) == (0, ["False.One"])
    assert [(m["id"], m["result"]) for m in told["messages"]] == [(reported, "released")]
    assert IgnoreList(tmp_path / "state/definitions").read() == {"False.One": "our tool"}
    assert set(quarantine.ids()) == {another, both, nothing}

    result = await asyncio.to_thread(run, another, "--every", "--json")
    assert result.exit_code == 0
    assert set(quarantine.ids()) == {both, nothing}  # it was caught by something else as well
    assert len(hop.messages) == 2
    lines = (tmp_path / "state/events/events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [(e["event"], e["trace_id"], e["answer"]) for e in events][:2] == [
        ("false-positive", reported, "our tool"), ("released", reported, ""),
    ]  # fmt: skip


async def test_what_is_infected_by_something_else_stays(tmp_path: Path, hop: FakeHop) -> None:
    activate(tmp_path, "20261123.001", b"Still.Bad\n")
    quarantine = Quarantine(tmp_path / "state/quarantine", QuarantineSettings())
    verdict = Verdict(risks=(Risk("False.One", "hashes", "message/2", "1"),))
    decision = decide(verdict, PolicySettings(), Mail("", (), "", b""))
    mail = message(Attachment("e.com", EICAR))
    held = quarantine.hold(mail, Envelope("", ("b@example.net",)), verdict, decision)
    path = tmp_path / "mailward.toml"
    path.write_text(f'state_dir = "{tmp_path}/state"\n[scan]\nworkers = 1\n')

    runner = CliRunner(env={"MAILWARD_CONFIG": str(path)})
    result = await asyncio.to_thread(
        runner.invoke, app, ["quarantine", "false-positive", held.id, "--json"]
    )

    (told,) = json.loads(result.stdout)["messages"]
    assert (result.exit_code, told["risks"], told["result"]) == (1, ["Still.Bad"], "kept")
    assert list(quarantine.ids()) == [held.id]
    assert hop.messages == []
