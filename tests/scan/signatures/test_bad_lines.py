"""Lines of signatures that are bad, each in its way: refused one by one, by line and with the
reason, and what stands between them is used (S3)."""

from pathlib import Path

import pytest

from tests.scan.signatures.prepared import found, prepare

GOOD = "Good;Engine:51-255,Target:0;0;676f6f64"
LDB = (
    ("", "not name;attributes;expression;subsignatures"),
    ("Only.A.Name", "not name;attributes;expression;subsignatures"),
    (";Engine:51-255,Target:0;0;6162", "it has no name"),
    ("N" * 400 + ";Target:0;0;6162", "a name of more than"),
    ("A;Target:0;0;", "not name;attributes;expression;subsignatures"),
    ("A;Engine:51-255;0;6162", "the attribute Target is missing"),
    ("A;Target:99;0;6162", "there is no target"),
    ("A;Target:0,Engine:x;0;6162", "not a range"),
    ("A;Target:0,Engine;0;6162", "not an attribute"),
    ("A;Target:0,Shoe:42;0;6162", "there is no attribute 'Shoe'"),
    ("A;Target:0,Container:zip;0;6162", "not a file type"),
    ("A;Target:0;1;6162", "there is no subsignature 1"),
    ("A;Target:0;0&63;6162;6364", "there is no subsignature 63"),
    ("A;Target:0;0&;6162", "number is missing"),
    ("A;Target:0;(0;6162", "not closed"),
    ("A;Target:0;0&&1;6162;6364", "number is missing"),
    ("A;Target:0;" + "(" * 1000 + "0" + ")" * 1000 + ";6162", "32 deep"),
    ("A;Target:0;" + "0&" * 5000 + "0;6162", "more than 4096 characters"),
    ("A;Target:0;0=0;6162", "none of its subsignatures"),
    ("A;Target:0;0<2;6162", "none of its subsignatures"),
    ("A;Target:0;0|(1=0);6162;6364", "none of its subsignatures"),
    ("A;Target:0;0;??????", "match everything"),
    ("A;Target:0;0;61??62", "match everything"),
    ("A;Target:0;0;(6162|6364)", "match everything"),
    ("A;Target:0;0;6162**6364", "before or after"),
    ("A;Target:0;0;616", "cannot read"),
    ("A;Target:0;0;6162{9-2}63", "ends before"),
    ("A;Target:0;0;6162" + "(" * 1000 + "63" + ")" * 1000, "cannot read"),
    ("A;Target:0;0;" + "61" * 100_000, "more than 65536 characters"),
    ("A;Target:0;0;" + "6162*" * 600 + "6364", "more than 512 gaps"),
    ("A;Target:0;0;6162::q", "there is no modifier"),
    ("A;Target:0;0;EOF+3:6162", "not an offset"),
    ("A;Target:0;0;6162;" + ";".join(["6364"] * 64), "more than 64 subsignatures"),
    ("A;Target:0;0&1;6162;1/x/", "triggered by a subsignature not before it"),
    ("A;Target:0;0&1;6162;0/x/Q", "there is no flag"),
    ("A;Target:0;0&1;6162;0//", "not trigger/regular expression/flags"),
    ("A;Target:0;0&1;6162;0(>>2#d2)", "not a comparison of bytes"),
    ("A;Target:0;0&1;6162;0(>>2#i3#=1)", "binary comparison of other than"),
    ("A;Target:0;0;${1-2}3$", "a macro cannot be the first"),
    ("A;Target:0;0;\x01\x02\xff", "cannot read"),
    ("A" * 600_000, "more than"),
)
UNSUPPORTED = (
    ("A;Target:0;0&1;6162;0/(a{1,65535}){1,65535}/", "PCRE2 does not take"),
    ("A;Target:0;0&1;6162;0/(/", "PCRE2 does not take"),
    ("A;Target:0;0&1;6162;0/" + "(" * 1000 + "a" + ")" * 1000 + "/", "PCRE2 does not take"),
)
NDB = (
    ("", "not name:target:offset:pattern"),
    ("A:0:*", "not name:target:offset:pattern"),
    ("A:0:*:6162:1:2:3", "not name:target:offset:pattern"),
    ("A:8:*:6162", "there is no target"),
    ("A:0:-1:6162", "not an offset"),
    ("A:0:99999999999:6162", "not an offset"),
    ("A:0:$99:6162", "macro group"),
    ("A:0:*:6162:x", "functionality level that is no number"),
    ("A:0:*:zz", "cannot read"),
    ("A:0:*:{5}", "match everything"),
)


def interleaved(bad: tuple[tuple[str, str], ...], good: str) -> str:
    """A good line, a bad one, a good one, and so on."""
    lines = [good]
    for line, _ in bad:
        lines += [line or "x", good]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("suffix", "bad", "good"), [("ldb", LDB, GOOD), ("ndb", NDB, "Good:0:*:676f6f64")]
)
def test_each_bad_line_is_refused_by_its_number_and_with_its_reason(
    tmp_path: Path, suffix: str, bad: tuple[tuple[str, str], ...], good: str
) -> None:
    detector, preparation = prepare(tmp_path, **{suffix: interleaved(bad, good)})
    refused = {one.line or 0: one.reason for one in preparation.refused}
    assert sorted(refused) == [2 * number for number in range(1, len(bad) + 1)]
    wrong = {
        line[:60]: refused[2 * number]
        for number, (line, reason) in enumerate(bad, 1)
        if reason not in refused[2 * number]
    }
    assert wrong == {}
    assert found(detector, b"what is good") == {"Good"}


def test_what_the_library_for_expressions_does_not_take_is_counted(tmp_path: Path) -> None:
    detector, preparation = prepare(tmp_path, ldb=interleaved(UNSUPPORTED, GOOD))
    assert preparation.unsupported == {
        "a regular expression that PCRE2 does not take": len(UNSUPPORTED)
    }
    assert found(detector, b"what is good") == {"Good"}
