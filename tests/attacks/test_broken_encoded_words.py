"""Header fields that say that they are encoded and are not: they are read as they stand."""

from pathlib import Path

import pytest

from mailward.protect.held import Envelope
from mailward.protect.mail import Mail, mail_text
from mailward.protect.policy import decide
from mailward.protect.quarantine import Quarantine
from mailward.scan.verdict import Risk, Verdict
from mailward.settings.protect import PolicySettings, QuarantineSettings

BROKEN = "=?utf-8?b?A?="
MESSAGE = f"Subject: {BROKEN}\r\nMessage-ID: <{BROKEN}@x>\r\n\r\nbody\r\n".encode()
VERDICT = Verdict(risks=(Risk("Test", "fake", "message", "20261123.007"),))


@pytest.mark.parametrize(
    "word",
    [
        BROKEN,
        "=?utf-8?b?AAAAA?=",
        "=?none?q?a?=",
        "=?utf-8?b?\u00e9?=",
        "=?idna?q?=ff?=",
        "=?iso-8859\udcb9?q?a?=",
    ],
)
def test_an_encoded_word_that_is_none_stops_no_message(word: str) -> None:
    content = f"Subject: {word}\r\nAuthentication-Results: {word}; spf=pass\r\n\r\n".encode(
        errors="surrogateescape"
    )
    assert isinstance(mail_text(content, "subject"), str)
    Mail("a@example.org", (), "", content).authentication("mx.example.org")


def test_a_message_with_a_broken_encoded_word_is_held(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
    decision = decide(VERDICT, PolicySettings(), Mail("", (), "", MESSAGE))
    held = quarantine.hold(MESSAGE, Envelope("a@x.org", ("b@x.org",)), VERDICT, decision)
    assert held.subject == BROKEN
