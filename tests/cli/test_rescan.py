"""Held messages under other definitions than those that caught them."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mailward.cli.app import app
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.doors.testing import FakeHop
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
