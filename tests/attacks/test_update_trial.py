"""A set that is signed, whole and bad: it fails its trial in words, once, and the old set scans."""

from pathlib import Path

import pytest

from mailward.errors import TrialError
from mailward.publish.repository import Publisher
from mailward.update.agent import Result
from tests.attacks.faults import Computer, Feed, World

_MISBEHAVES = {
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "ends": "import os; os._exit(3)",
    "hangs": "import time; time.sleep(600)",
    "spins": "while True: pass",
    "eats memory": "eaten = [bytearray(16 << 20) for _ in range(1 << 20)]",
    "fills the disk": "open(into / 'endless', 'wb').truncate(1 << 62)",
    "kills the agent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
}

_ENGINE = """
# Python runs this when it starts: in the trial's child, an engine with a defect that a set hits.
import mailward.scan.engines.hashes as hashes
well = hashes.HashesEngine.prepare
def prepare(self, sources, into, earlier=None):
    if any(b"Random-" in source.path.read_bytes() for source in sources):
        {defect}
    return well(self, sources, into)
hashes.HashesEngine.prepare = prepare
"""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("crashes", "child process was ended by SIGSEGV"),
        ("ends", "child process failed with exit code 3"),
        ("hangs", r"took longer than 3 s \(update\.trial_timeout_s\)"),
        ("spins", r"took longer than 3 s|SIGXCPU \(time limit\)"),
        ("eats memory", "MemoryError"),
        ("fills the disk", "File too large|ended by SIGXFSZ"),
        ("kills the agent", "not permitted"),
    ],
)
def test_a_set_that_an_engine_cannot_bear(
    computer: Computer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    words: str,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_ENGINE.format(defect=_MISBEHAVES[what]))
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        computer.withstands(
            f"failed its trial .*{words}",
            error=TrialError,
            trial_timeout_s=3 if what in ("hangs", "spins") else 60,
            trial_memory_bytes=512 << 20,
        )
    is_not_tried_again(computer)


def is_not_tried_again(computer: Computer) -> None:
    """Also when the engine has been mended meanwhile: the publisher's next set is the answer."""
    assert computer.refresh().result is Result.UP_TO_DATE
    found = computer.status()
    assert "was refused or rolled back here" in found["channels"]["rapid"]["last_result"]
    assert found["active"]["version"] == str(computer.world.old)
    kept = computer.store.get(computer.world.new)
    assert kept.trial is not None
    assert not kept.trial.passed
    assert kept.trial.problems


@pytest.fixture
def feed(faults_world: World, tmp_path: Path) -> Feed:
    """Of the copied publisher; what it publishes next is newer than ``new``."""
    return Feed(tmp_path)


def test_a_set_that_hits_known_good_mail(
    computer: Computer, publisher: Publisher, feed: Feed
) -> None:
    feed.rules["HitsAll"] = '"Kind regards"'
    feed.publish_untested(publisher)
    computer.withstands("failed its trial .*false positive: HitsAll in built-in message")


def test_a_set_that_hits_the_administrators_own_mail(
    computer: Computer, publisher: Publisher, feed: Feed, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "newsletter.eml").write_bytes(b"Subject: Offers\r\n\r\nour newsletter of November\r\n")
    feed.rules["HitsNewsletters"] = '"newsletter of November"'
    feed.publish_untested(publisher)
    computer.withstands("false positive: HitsNewsletters in .*newsletter.eml", known_good=own)


def test_a_set_that_slows_scanning_threefold(
    computer: Computer, publisher: Publisher, feed: Feed, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter.txt").write_bytes(b"dear all\r\n" * 5000)
    feed.rules["Slow"] = (
        '"nothing has this" condition: for all i in (0..filesize) : '
        "(for all j in (0..400) : (uint8(i) + j >= 0)) and #a == 100000 } "
        'rule AfterIt { strings: $a = "nor this"'
    )
    feed.publish_untested(publisher)
    computer.withstands("ms a message, .* ms with the set in use; 3 times as much", known_good=own)


def test_a_set_of_which_more_than_one_percent_is_bad(
    computer: Computer, publisher: Publisher, feed: Feed
) -> None:
    for name in ("Bad", "Worse"):
        feed.rules[name] = (
            f'"x" condition: no_such_thing }} rule After{name} {{ strings: $a = "nothing has this"'
        )
    feed.publish_untested(publisher)
    computer.withstands("failed its trial .*2 of 6 signatures of yara are bad, e.g. Bad")
