"""The root command: commands are imported when they are asked for."""

import subprocess
import sys

from typer.testing import CliRunner

from mailward.cli.app import app


def test_the_version_is_told_without_the_rest() -> None:
    code = (
        "import sys\nfrom mailward.cli.app import app\n"
        "try: app(['--version'])\n"
        "except SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('mailward.scan', 'mailward.publish'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mailward ")
    assert done.stdout.endswith("[]\n")


def test_every_command_is_listed_and_has_help() -> None:
    listed = CliRunner().invoke(app, ["--help"]).stdout
    for name in ("run", "scan", "repo", "quarantine"):
        assert f" {name} " in listed
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
    assert "false-positive" in CliRunner().invoke(app, ["quarantine", "--help"]).stdout


def test_a_word_that_is_no_command_is_named_with_what_is_meant() -> None:
    done = CliRunner().invoke(app, ["statsu"])
    assert done.exit_code == 2
    assert "status" in done.output
