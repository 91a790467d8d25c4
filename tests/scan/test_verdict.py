import json

from mailward.scan.verdict import (
    Ambiguity,
    Doubt,
    OwnPassword,
    Reason,
    Risk,
    Unopened,
    Verdict,
    VerdictKind,
)

VERDICT = Verdict(
    risks=(Risk("Test", "fake", "message/1", "20261123.001", signatures=("fake:Test",)),),
    unopened=(Unopened("message/2", Reason.ENCRYPTED, "locked", "ZIP"),),
    parts=3,
    set="20261123.001",
    ms=1.5,
    ambiguities=(Ambiguity("message", Doubt.HEADER, "two of them"),),
    own_passwords=(OwnPassword("message/2:a.zip/b"),),
)


def test_a_verdict_comes_back_from_plain_values_as_it_was() -> None:
    plain = json.loads(json.dumps(VERDICT.to_plain()))
    assert Verdict.from_plain(plain) == VERDICT


def test_a_verdict_kept_before_there_were_ambiguities_can_be_read() -> None:
    plain = VERDICT.to_plain()
    del plain["ambiguities"]
    assert Verdict.from_plain(plain).ambiguities == ()


def test_a_verdict_kept_before_formats_were_told_can_be_read() -> None:
    plain = VERDICT.to_plain()
    del plain["unopened"][0]["format"]
    assert Verdict.from_plain(plain).unopened == (
        Unopened("message/2", Reason.ENCRYPTED, "locked"),
    )


def test_a_password_of_its_own_is_no_risk_by_itself() -> None:
    assert Verdict(own_passwords=VERDICT.own_passwords).kinds == (VerdictKind.CLEAN,)


def test_an_ambiguity_is_no_risk_by_itself() -> None:
    assert Verdict(ambiguities=VERDICT.ambiguities).kinds == (VerdictKind.CLEAN,)
