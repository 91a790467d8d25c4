"""S14, the decisions: what is much of the mail, and what is held instead of refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailward.errors import FormatError, UsageError
from mailward.protect.doubts import DoubtBook
from mailward.protect.mail import Mail
from mailward.protect.outbreak import (
    DOUBT_FOR,
    HITS_MIN,
    WINDOW,
    Doubt,
    Rates,
    held_instead,
    without,
)
from mailward.protect.policy import decide_each
from mailward.rules import Action
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict
from mailward.settings.protect import PolicySettings

CLEAN: frozenset[str] = frozenset()
BAD = frozenset({"Bad.Signature"})
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def risk(name: str, *, suspicious: bool = False) -> Risk:
    return Risk(name, "fake", "message", "20261123.002", suspicious)


def actions(
    verdict: Verdict, doubted: frozenset[str], policy: dict[str, object] | None = None
) -> dict[str, Action]:
    settings = PolicySettings.model_validate(policy or {})
    mail = Mail("a@example.org", ("x@example.org", "y@example.org"), "", b"\r\n")
    decided = held_instead(
        decide_each(verdict, settings, mail),
        decide_each(without(verdict, doubted), settings, mail),
        doubted,
    )
    return {to: some.decision.action for some in decided for to in some.recipients}


def test_much_of_the_mail_is_ten_messages_and_two_percent() -> None:
    rates = Rates()
    for _ in range(HITS_MIN - 1):
        assert rates.note(BAD) == CLEAN
    assert rates.note(BAD) == BAD
    rates = Rates()
    for _ in range(WINDOW - HITS_MIN):
        rates.note(CLEAN)
    assert [rates.note(BAD) for _ in range(HITS_MIN)][-1] == BAD
    assert rates.share("Bad.Signature") == (HITS_MIN, WINDOW)


def test_old_hits_are_forgotten() -> None:
    rates = Rates(window=20)
    for _ in range(HITS_MIN - 1):
        rates.note(BAD)
    for _ in range(20):
        rates.note(CLEAN)
    assert rates.note(BAD) == CLEAN
    assert rates.share("Bad.Signature") == (1, 20)


def test_what_only_doubted_risks_speak_against_is_held() -> None:
    assert set(actions(Verdict((risk("Bad.Signature"),)), BAD).values()) == {Action.QUARANTINE}


def test_what_others_speak_against_is_refused_all_the_same() -> None:
    verdict = Verdict((risk("Bad.Signature"), risk("Known.Virus")))
    assert set(actions(verdict, BAD).values()) == {Action.REJECT}


@pytest.mark.parametrize("mild", [Action.DELIVER, Action.TAG, Action.QUARANTINE])
def test_what_is_milder_than_quarantine_stays_as_it_is(mild: Action) -> None:
    found = actions(Verdict((risk("Bad.Signature"),)), BAD, {"infected": mild})
    assert set(found.values()) == {mild}


def test_a_rule_that_refuses_for_another_reason_holds() -> None:
    verdict = Verdict((risk("Bad.Signature"),), (Unopened("message", Reason.ENCRYPTED),))
    found = actions(verdict, BAD, {"unscannable": "reject"})
    assert set(found.values()) == {Action.REJECT}


def test_recipients_are_settled_one_by_one() -> None:
    rules = [
        {"name": "x", "action": "discard", "when": {"recipient": ["x@*"], "verdict": ["infected"]}},
        {"name": "y", "action": "reject", "when": {"recipient": ["y@*"]}},
    ]
    found = actions(Verdict((risk("Bad.Signature"),)), BAD, {"rules": rules})
    assert found == {"x@example.org": Action.QUARANTINE, "y@example.org": Action.REJECT}


def doubt(name: str = "Bad.Signature", since: datetime = NOW) -> Doubt:
    return Doubt(name, "20261123.002", since, 10, 200)


def test_doubts_last_until_somebody_judges_or_nobody_objects(tmp_path: Path) -> None:
    book = DoubtBook(tmp_path / "state/doubts.json")
    assert book.read().doubted(NOW) == CLEAN
    book.doubt(doubt())
    book.doubt(doubt("Another"))
    assert book.read().doubted(NOW) == {"Bad.Signature", "Another"}
    book.confirm("Another", NOW)
    book.withdraw("Nothing")
    assert book.read().doubted(NOW) == BAD
    assert book.read().doubted(NOW + DOUBT_FOR) == CLEAN
    book.doubt(doubt("Third", NOW + DOUBT_FOR))
    assert set(book.read().doubts) == {"Third"}


def test_what_is_not_doubted_cannot_be_confirmed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not doubted"):
        DoubtBook(tmp_path / "doubts.json").confirm("Bad.Signature", NOW)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"doubts": [{}], "confirmed": {}}'])
def test_a_damaged_list_is_called_so(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "doubts.json").write_bytes(content)
    with pytest.raises(FormatError, match="is damaged"):
        DoubtBook(tmp_path / "doubts.json").read()


def test_a_doubt_is_over_after_a_day() -> None:
    assert not doubt().over(NOW + timedelta(hours=23))
    assert doubt().over(NOW + timedelta(hours=24))
