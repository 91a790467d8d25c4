"""Verdict to action."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.rules import Action
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict, VerdictKind
from mailward.settings.protect import PolicySettings

VIRUS = Risk("Test.Virus", "fake", "message", "1")
ODD = Risk("Test.Odd", "fake", "message", "1", suspicious=True)
LOCKED = Unopened("message/1:a.zip", Reason.ENCRYPTED)

MAIL = Mail("a@example.org", ("b@example.net",), "192.0.2.1", b"Subject: x\r\n\r\ntext\r\n")
ACTIONS: list[Action] = [action for action in Action if action is not Action.REDIRECT]


@pytest.mark.parametrize(
    ("verdict", "action", "because"),
    [
        (Verdict(), Action.DELIVER, VerdictKind.CLEAN),
        (Verdict(unopened=(LOCKED,)), Action.TAG, VerdictKind.UNSCANNABLE),
        (Verdict(risks=(ODD,)), Action.QUARANTINE, VerdictKind.SUSPICIOUS),
        (Verdict(risks=(VIRUS,)), Action.REJECT, VerdictKind.INFECTED),
        (Verdict(risks=(ODD,), unopened=(LOCKED,)), Action.QUARANTINE, VerdictKind.SUSPICIOUS),
    ],
)
def test_the_defaults(verdict: Verdict, action: Action, because: VerdictKind) -> None:
    decision = decide(verdict, PolicySettings(), MAIL)

    assert (decision.action, decision.because) == (action, because)


@given(
    infected=st.sampled_from(ACTIONS),
    suspicious=st.sampled_from(ACTIONS),
    unscannable=st.sampled_from(ACTIONS),
    clean=st.sampled_from(ACTIONS),
    risks=st.sets(st.sampled_from([VIRUS, ODD])),
    locked=st.booleans(),
)
def test_nothing_that_is_true_gets_less_than_its_own_action(
    infected: Action,
    suspicious: Action,
    unscannable: Action,
    clean: Action,
    risks: set[Risk],
    locked: bool,
) -> None:
    settings = PolicySettings(
        infected=infected, suspicious=suspicious, unscannable=unscannable, clean=clean
    )
    verdict = Verdict(risks=tuple(risks), unopened=(LOCKED,) if locked else ())

    decision = decide(verdict, settings, MAIL)

    wanted = {kind: getattr(settings, kind.value) for kind in verdict.kinds}
    assert all(ACTIONS.index(decision.action) >= ACTIONS.index(a) for a in wanted.values())
    assert decision.because == next(k for k, a in wanted.items() if a is decision.action)


def test_the_reason_is_fit_for_a_reply_whatever_signatures_are_called() -> None:
    names = ["A\r\n250 ok", "Bös", "C" * 500, "D", "E"]
    risks = tuple(Risk(name, "fake", "message", "1") for name in names)

    reason = decide(Verdict(risks=risks), PolicySettings(), MAIL).reason

    assert reason.startswith("it contains malware (A??250 ok, B?s, CCC")
    assert reason.endswith("... and 2 more)")
    assert reason.isascii()
    assert reason.isprintable()
    assert len(reason) < 300


def test_the_reason_names_only_what_it_is_about() -> None:
    verdict = Verdict(risks=(ODD, VIRUS), unopened=(LOCKED, LOCKED))

    assert decide(verdict, PolicySettings(), MAIL).reason == "it contains malware (Test.Virus)"
    settings = PolicySettings(infected=Action.DELIVER, suspicious=Action.DELIVER)
    assert decide(verdict, settings, MAIL).reason == "it cannot be scanned (encrypted)"
