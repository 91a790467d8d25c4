"""A repository that answers and is never renewed: stale, whatever every single check says."""

import asyncio
import os
import time
from pathlib import Path

from typer.testing import CliRunner, Result

from mailward.cli.app import app
from mailward.publish import server
from mailward.publish.repository import Publisher
from tests.attacks.faults import Feed

_SEVEN_HOURS_S = 7 * 3600


async def test_a_frozen_repository_makes_status_fail_until_a_new_timestamp_comes(
    tmp_path: Path,
) -> None:
    publisher = Publisher(tmp_path / "publisher")
    publisher.init()
    Feed(tmp_path).publish(publisher)
    public = publisher.home.public
    async with server.serving(public, "127.0.0.1", 0) as port:
        config = _config(tmp_path, publisher, port)
        assert (await _run(config, "update")).exit_code == 0
        assert (await _run(config, "status")).exit_code == 0
        # As if the newest timestamp that it has ever shown had come seven hours ago.
        then = time.time() - _SEVEN_HOURS_S
        os.utime(tmp_path / "state/update/timestamp.json", (then, then))
        checked = await _run(config, "update")
        assert checked.exit_code == 0
        assert "up to date" in checked.output, "this check has seen nothing wrong"
        told = await _run(config, "status")
        assert told.exit_code == 1
        assert "the repository is frozen: it has shown no new timestamp since" in told.output
        publisher.refresh_timestamp()
        assert (await _run(config, "update")).exit_code == 0
        assert (await _run(config, "status")).exit_code == 0


def _config(folder: Path, publisher: Publisher, port: int) -> Path:
    file = folder / "mailward.toml"
    file.write_text(
        f'state_dir = "{folder}/state"\n[update]\nrepository = "http://127.0.0.1:{port}"\n'
        f'root = "{publisher.root_file}"\n'
        "certified = {enabled = false}\nrapid = {enabled = true}\n"
        "[store]\nmin_free_bytes = 1\n",
        encoding="utf-8",
    )
    return file


async def _run(config: Path, *arguments: str) -> Result:
    """In a thread: the server has this one."""
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["--config", str(config), *arguments], env={"COLUMNS": "500"}
    )
