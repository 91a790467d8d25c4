"""What a newcomer does first."""

import subprocess
import sys


def test_the_demonstration_ends_well_and_shows_what_became_of_each_sample() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mailward", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNEXPECTED" not in done.stdout
    for fate in ("delivered", "rejected", "delivered, tagged"):
        assert fate in done.stdout
    assert done.stdout.count("Mailward.Test.EICAR") >= 4
    refused, licensed = "certified: not licensed", "certified is licensed to you, for evaluation"
    assert done.stdout.index(refused) < done.stdout.index(licensed)
