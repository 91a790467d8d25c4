"""Debian's clamav-testfiles: one harmless program in 44 wrappings, beside what clamscan reaches."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from mailward.scan.budget import Budget
from mailward.scan.containers import libarchive
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Reason, Unopened
from mailward.settings.scan import ScanSettings

FOLDER = Path("/usr/share/clamav-testfiles")
DOCUMENT = Path(__file__).parents[2] / "docs/containers.md"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="needs clamav-testfiles, not installed"),
    pytest.mark.skipif(not libarchive.version(), reason="needs libarchive13, not installed"),
]


def told() -> dict[str, str]:
    """The table in the documents: file to what becomes of it."""
    rows = (line.strip("| \n").split(" | ") for line in DOCUMENT.read_text().splitlines())
    return {row[0].strip("`"): row[1] for row in rows if len(row) == 2 and row[0][:5] == "`clam"}


def became(path: Path, wanted: str) -> str:
    found = list(
        parts(path.read_bytes(), role=Role.FILE, name=path.name, budget=Budget(ScanSettings()))
    )
    for part in found:
        if isinstance(part, Part) and hashlib.sha256(part.data).hexdigest() == wanted:
            return f"`{part.path}`"
    reasons = {part.reason for part in found if isinstance(part, Unopened)}
    if Reason.UNSUPPORTED in reasons:
        return "unscannable: unsupported"
    return "unscannable" if reasons else "not opened"


def test_the_documents_say_what_becomes_of_each_file() -> None:
    """At least: what the documents call shut may be opened meanwhile, never the other way round."""
    wanted = hashlib.sha256((FOLDER / "clam.exe").read_bytes()).hexdigest()
    table = told()
    assert set(table) == {path.name for path in FOLDER.iterdir()}
    for path in FOLDER.iterdir():
        now = became(path, wanted)
        assert now == table[path.name] or (now[0] == "`" != table[path.name][0]), path.name


def test_clamscan_reaches_the_program_in_all_of_them(tmp_path: Path) -> None:
    if shutil.which("clamscan") is None:
        pytest.skip("needs clamscan, which is not installed")
    program = (FOLDER / "clam.exe").read_bytes()
    digest = hashlib.md5(program).hexdigest()
    (tmp_path / "test.hdb").write_text(f"{digest}:{len(program)}:Test\n")
    done = subprocess.run(
        ["clamscan", f"--database={tmp_path}", "--no-summary", "--infected", str(FOLDER)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout.count("FOUND") == len(told())
