"""The milter door in talks with OpenDKIM's miltertest; the scripts are in tests/dialogs/milter."""

import asyncio
import shutil
from pathlib import Path

import pytest

from mailward.doors.milter import MilterDoor
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import MilterSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("miltertest") is None, reason="needs miltertest"),
]

SCRIPTS = sorted((Path(__file__).parent.parent / "dialogs/milter").glob("*.lua"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
async def test_script(script: Path, tmp_path: Path) -> None:
    door = MilterDoor(
        MilterSettings(listen=("127.0.0.1:0",)),
        PolicySettings(),
        FakeScanner(),
        Quarantine(tmp_path / "quarantine", QuarantineSettings()),
    )
    await door.start()
    process = await asyncio.create_subprocess_exec(
        *("miltertest", "-v", "-D", f"port={door.ports[0]}", "-s", str(script)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    await door.stop(1.0)
    assert process.returncode == 0, told.decode()
