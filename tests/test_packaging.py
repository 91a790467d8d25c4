"""The units for systemd, as systemd reads them."""

import shutil
import subprocess
from pathlib import Path

import pytest

_UNITS = Path(__file__).parents[1] / "packaging/systemd"


@pytest.mark.real
@pytest.mark.parametrize("unit", sorted(path.name for path in _UNITS.iterdir()))
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    program = tmp_path / "mailward"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in _UNITS.iterdir():
        text = path.read_text().replace("/opt/mailward/bin/mailward", str(program))
        (tmp_path / path.name.replace("@", "@1")).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.replace("@", "@1")],
        capture_output=True,
        text=True,
        check=False,
    )

    about_it = [line for line in done.stderr.splitlines() if str(tmp_path) in line or unit in line]
    assert about_it == []
