"""A set that makes an engine eat, spin or fill: each against the limits of a trial's child (S2)."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.errors import TrialError
from mailward.scan import sandbox
from mailward.scan.engine import Source
from mailward.scan.proof import prove
from mailward.settings.base import MIB
from mailward.settings.update import UpdateSettings

_MEMORY_BYTES = 256 * MIB
_FILE_BYTES = 1 * MIB


def limited(work: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """A child with a trial's limits, one of them a second of computing."""
    program = f"""
import os, sys
from pathlib import Path
from mailward.scan.proof import limit
work = Path(sys.argv[1])
limit({_MEMORY_BYTES}, 0.5, {_FILE_BYTES})
{textwrap.dedent(code)}
"""
    return subprocess.run(
        [sys.executable, "-P", "-c", program, str(work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_eating_memory_ends_in_an_error_before_the_computer_suffers(tmp_path: Path) -> None:
    assert limited(tmp_path, f"bytearray({_MEMORY_BYTES // 2})").returncode == 0
    done = limited(tmp_path, "eaten = [bytearray(16 << 20) for _ in range(64)]")
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_spinning_is_ended(tmp_path: Path) -> None:
    assert limited(tmp_path, "while True: pass").returncode == -signal.SIGXCPU


def test_a_file_grows_only_so_far(tmp_path: Path) -> None:
    code = f"""
        (work / "good").write_bytes(bytes({_FILE_BYTES}))
        (work / "endless").write_bytes(bytes({_FILE_BYTES} + 1))
    """
    done = limited(tmp_path, code)
    assert "File too large" in done.stderr
    assert (tmp_path / "good").stat().st_size == _FILE_BYTES
    assert (tmp_path / "endless").stat().st_size <= _FILE_BYTES


def test_files_are_opened_only_so_many(tmp_path: Path) -> None:
    done = limited(tmp_path, "files = [open(os.devnull) for _ in range(1000)]")
    assert "Too many open files" in done.stderr


def test_a_crash_leaves_no_memory_image(tmp_path: Path) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    assert limited(tmp_path, code).stdout == "(0, 0)\n"


def _rules(folder: Path) -> list[Source]:
    path = folder / "rules"
    path.write_text(
        '{"namespace": "a", "source": "rule a { condition: false }"}\n', encoding="utf-8"
    )
    return [Source("rules", ShardKind.YARA, path)]


def test_a_trial_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"longer than 0\.01 s"):
        prove(_rules(tmp_path), tmp_path / "into", timeout_s=0.01, memory_bytes=_MEMORY_BYTES)


def test_a_trial_without_enough_memory_fails(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="child process"):
        prove(_rules(tmp_path), tmp_path / "into", timeout_s=60, memory_bytes=1 * MIB)


def test_a_trial_says_what_it_was_confined_by(tmp_path: Path) -> None:
    memory_bytes = UpdateSettings().trial_memory_bytes
    proof = prove(_rules(tmp_path), tmp_path / "into", timeout_s=60, memory_bytes=memory_bytes)
    assert proof.confinement is not None
    assert proof.confinement.files == sandbox.supported().files
    assert proof.confinement.processes == sandbox.supported().processes
