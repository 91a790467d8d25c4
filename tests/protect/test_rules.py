"""Rules: which messages they fit, for whom, and what they may not say."""

from typing import Any

import pytest
from pydantic import ValidationError

from mailward.protect.mail import Mail
from mailward.protect.policy import decide, decide_each, fitting_files, unmet
from mailward.rules import Action, Content, Disguise
from mailward.scan.verdict import (
    Ambiguity,
    Doubt,
    File,
    OwnPassword,
    Reason,
    Risk,
    Unopened,
    Verdict,
    VerdictKind,
)
from mailward.settings.protect import PolicySettings

VIRUS = Risk("Win.Trojan.Agent-1", "signatures", "message", "1", severity="high")
LOCKED = Unopened("message/2:a.zip", Reason.ENCRYPTED)
PROGRAM = File("message/2:Run.EXE", "Run.EXE", "application/x-msdownload", 3)
HIDDEN = File(
    "message/3:a.zip/b.pdf",
    "b.pdf",
    "",
    3,
    (Content.EXECUTABLE,),
    (Disguise.EXTENSION,),
)
PAPER = File("message/4:c.pdf", "c.pdf", "application/pdf", 3, (Content.PDF,))
MESSAGE = (
    b"Authentication-Results: mx.example.net; spf=fail smtp.mailfrom=a@example.org;\r\n"
    b"\tdkim=pass (2048-bit) header.d=example.org\r\n"
    b"Authentication-Results: evil.example.org; spf=pass; dmarc=pass\r\n"
    b"SUBJECT: =?utf-8?q?Rechnung_f=C3=BCr?= Ann\r\nX-Empty:\r\n\r\nSubject: not this\r\n"
)
TO = ("bob@example.net", "eve@example.com")
MAIL = Mail("ann@Example.org", TO, "192.0.2.1", MESSAGE, "client.example", "ann")


def settings(*rules: dict[str, Any], **others: Any) -> PolicySettings:
    return PolicySettings.model_validate({"rules": rules, **others})


def rule(name: str = "r", action: str = "discard", **when: Any) -> dict[str, Any]:
    return {"name": name, "action": action, **({"when": when} if when else {})}


@pytest.mark.parametrize(
    ("when", "verdict"),
    [
        ({"verdict": ["infected"]}, Verdict(risks=(VIRUS,))),
        ({"verdict": ["unscannable"]}, Verdict(risks=(VIRUS,), unopened=(LOCKED,))),
        ({"risk": ["win.trojan.*"]}, Verdict(risks=(VIRUS,))),
        ({"severity": ["high", "critical"]}, Verdict(risks=(VIRUS,))),
        ({"engine": ["sig*"]}, Verdict(risks=(VIRUS,))),
        ({"unscannable": ["encrypted"]}, Verdict(unopened=(LOCKED,))),
        ({"ambiguous": True}, Verdict(ambiguities=(Ambiguity("message", Doubt.HEADER),))),
        ({"own_password": True}, Verdict(own_passwords=(OwnPassword("message/1:a.zip/b"),))),
        ({"file_name": ["*.scr", "*.exe"]}, Verdict(files=(PROGRAM,))),
        ({"content_type": ["application/x-ms*"]}, Verdict(files=(PROGRAM,))),
        ({"extension": ["Exe"]}, Verdict(files=(PROGRAM,))),
        ({"content": ["archive", "executable"]}, Verdict(files=(HIDDEN,))),
        ({"disguise": ["extension"]}, Verdict(files=(HIDDEN,))),
        ({"file_name": ["*.pdf"], "content": ["executable"]}, Verdict(files=(PAPER, HIDDEN))),
        ({"larger_than_bytes": len(MESSAGE) - 1}, Verdict()),
        ({"sender": ["*@example.ORG"]}, Verdict()),
        ({"client": ["198.51.100.0/24", "192.0.2.0/24"]}, Verdict()),
        ({"helo": ["client.*"]}, Verdict()),
        ({"login": ["?*"]}, Verdict()),
        ({"direction": "inbound"}, Verdict()),
        ({"header": {"Subject": "Rechnung für*"}}, Verdict()),
        ({"authentication": {"spf": "fail", "dkim": "pass"}}, Verdict()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_condition_fits_what_it_describes_and_nothing_else(
    when: dict[str, Any], verdict: Verdict
) -> None:
    policy = settings(rule(**when), authserv_id="mx.example.net")
    other = Mail("", ("x@example.net",), "127.0.0.1", b"\r\n")

    assert decide(verdict, policy, MAIL).rule == "r"
    assert decide(Verdict(), policy, other).rule == ""


def test_all_conditions_of_a_rule_must_hold() -> None:
    policy = settings(rule(sender=["*@example.org"], risk=["Win.*"]))

    assert decide(Verdict(risks=(VIRUS,)), policy, MAIL).action is Action.DISCARD
    assert decide(Verdict(), policy, MAIL).action is Action.DELIVER


def test_the_first_rule_that_fits_wins_and_then_the_table() -> None:
    policy = settings(
        rule("never", verdict=["suspicious"]),
        rule("first", "quarantine", sender=["*@example.org"]),
        rule("second", "deliver"),
    )
    unknown = Mail("x@example.com", ("b@example.net",), "", MESSAGE)

    assert decide(Verdict(risks=(VIRUS,)), policy, MAIL).rule == "first"
    assert decide(Verdict(risks=(VIRUS,)), policy, unknown).rule == "second"
    without = decide(Verdict(risks=(VIRUS,)), settings(rule("never", risk=["No.*"])), MAIL)
    assert (without.rule, without.action) == ("", Action.REJECT)


def test_recipients_are_decided_for_one_by_one_and_equal_decisions_stay_together() -> None:
    policy = settings(rule("theirs", "quarantine", recipient=["*@example.com"]))
    mail = Mail("a@b.example", ("c@example.net", "d@example.com", "e@example.net"), "", MESSAGE)

    fates = [(s.decision.action, s.recipients) for s in decide_each(Verdict(), policy, mail)]

    assert fates == [
        (Action.DELIVER, ("c@example.net", "e@example.net")),
        (Action.QUARANTINE, ("d@example.com",)),
    ]


def test_the_null_sender_is_written_as_in_smtp() -> None:
    bounce = Mail("", ("b@example.net",), "192.0.2.1", MESSAGE)

    assert decide(Verdict(), settings(rule(sender=["<>"])), bounce).rule == "r"
    assert decide(Verdict(), settings(rule(sender=["<>"])), MAIL).rule == ""


def test_results_that_somebody_else_claims_to_have_authenticated_are_not_believed() -> None:
    policy = settings(rule(authentication={"dmarc": "pass"}), authserv_id="mx.example.net")
    nobody = settings(rule(authentication={"spf": "fail"}))

    assert decide(Verdict(), policy, MAIL).rule == ""
    assert decide(Verdict(), nobody, MAIL).rule == ""


def test_outbound_comes_from_internal_networks_also_as_mapped_addresses() -> None:
    policy = settings(rule(direction="outbound"), internal=["10.0.0.0/8"])

    def fits(client: str) -> bool:
        return decide(Verdict(), policy, Mail("", ("b@c.example",), client, b"")).rule == "r"

    assert fits("10.1.2.3")
    assert fits("::ffff:10.1.2.3")
    assert not fits("192.0.2.1")
    assert not fits("")
    assert not fits("unix")


def test_the_reason_names_the_rule_and_is_fit_for_a_reply() -> None:
    reason = decide(Verdict(risks=(VIRUS,)), settings(rule("no trojans", "reject")), MAIL).reason
    clean = decide(Verdict(), settings(rule("closed", "reject")), MAIL)

    assert reason == "it contains malware (Win.Trojan.Agent-1), subject to the rule 'no trojans'"
    assert clean.reason == "it is subject to the rule 'closed'"
    assert clean.because is VerdictKind.CLEAN


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no header at all",
        b"Subject: =?no-such-charset?q?x?=\r\n\r\n",
        b"Subject: =?utf-8?b?!!!?=\r\n\r\n",
        b"Subject: \xff\xfe\x00\r\n\r\n",
        b"Authentication-Results:\r\nAuthentication-Results: ((((;spf=pass\r\n\r\n",
        b"A" * 300_000 + b": b\r\n\r\n",
        b"X: y\r\n" * 50_000,
    ],
)
def test_hostile_headers_are_read_without_an_error(content: bytes) -> None:
    policy = settings(
        rule(header={"Subject": "no*"}), rule("b", authentication={"spf": "none"}), authserv_id="mx"
    )

    assert decide(Verdict(), policy, Mail("", ("b@c.example",), "", content)).rule == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "r", "action": "bounce"},
        {"name": "r", "action": "deliver", "when": {}},
        {"name": "r", "action": "deliver", "when": {"sender": []}},
        {"name": "r", "action": "deliver", "when": {"colour": ["red"]}},
        {"name": "r", "action": "deliver", "when": {"client": ["10.0.0.300"]}},
        {"name": "r", "action": "deliver", "when": {"header": {"Sub ject": "x"}}},
        {"name": "r", "action": "redirect"},
        {"name": "r", "action": "redirect", "to": ["<script>@example.org"]},
        {"name": "r", "action": "quarantine", "to": ["a@example.org"]},
        {"name": "r", "action": "reject", "subject": "[x]"},
        {"name": "r", "action": "deliver", "subject": "[x]\r\nBcc: a@example.org"},
        {"name": "", "action": "deliver"},
        {"action": "deliver"},
    ],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(wrong)


def test_the_table_cannot_redirect_for_it_names_no_address() -> None:
    with pytest.raises(ValidationError, match="write a rule"):
        PolicySettings.model_validate({"infected": "redirect"})


def test_what_is_asked_of_a_file_one_file_must_meet() -> None:
    program = File("message/2:a.exe", "a.exe", "", 3, (Content.EXECUTABLE,))
    policy = settings(rule(file_name=["*.pdf"], content=["executable"]))

    assert decide(Verdict(files=(program, PAPER)), policy, MAIL).action is Action.DELIVER
    assert decide(Verdict(files=(program, HIDDEN)), policy, MAIL).action is Action.DISCARD
    assert fitting_files(Verdict(files=(program, PAPER, HIDDEN)), policy, "r") == [HIDDEN.part]


def test_the_condition_that_no_file_meets_is_named() -> None:
    when = settings(rule(file_name=["*.pdf"], content=["executable"])).rules[0].when
    assert when is not None

    assert unmet(when, Verdict(files=(PAPER,)), settings(), MAIL) == "content"
    assert unmet(when, Verdict(), settings(), MAIL) == "file_name"
