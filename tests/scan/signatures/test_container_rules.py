from dataclasses import replace

import pytest

from mailward.errors import FormatError
from mailward.scan.signatures.container_rules import Member, match, parse_line

PROGRAM = Member(
    "Invoice.exe",
    size=100,
    packed_size=90,
    encrypted=False,
    position=1,
    crc=0x1234ABCD,
    container_type="CL_TYPE_ZIP",
    container_size=330,
)


def hits(line: str, member: Member = PROGRAM) -> bool:
    rule = parse_line(line)
    assert rule is not None
    return list(match((rule,), member)) == ["A"]


@pytest.mark.parametrize(
    "line",
    [
        "A:CL_TYPE_ZIP:*:^Invoice:*:*:*:*:*:*",
        "A:*:*:\\.exe$:90:100:0:1:*:*",
        "A:*:200-400:*:*:*:*:*:*:*",
        "A:CL_TYPE_ANY:*:exe:80-95:50-150:*:1-3::",
        "A:*:*:(?:x|Inv):*:*:*:*:*:*",
        "A:*:*:*:*:*:*:*:*:*:50:300",
        "A:*:*:exe:*:*:*:*:1234abcd:*",
        "A:CL_TYPE_ZIP:*:exe:*:*:*:*:1234ABCD:*",
    ],
)
def test_a_rule_that_asks_for_what_is_so_matches(line: str) -> None:
    assert hits(line)


@pytest.mark.parametrize(
    "line",
    [
        "A:CL_TYPE_RAR:*:*:*:*:*:*:*:*",
        "A:*:*:invoice:*:*:*:*:*:*",
        "A:*:331:*:*:*:*:*:*:*",
        "A:*:*:*:91:*:*:*:*:*",
        "A:*:*:*:*:101-200:*:*:*:*",
        "A:*:*:*:*:*:1:*:*:*",
        "A:*:*:*:*:*:*:0:*:*",
        "A:*:*:*:*:*:*:*:1234ABCE:*",
    ],
)
def test_a_rule_that_asks_for_something_else_does_not(line: str) -> None:
    assert not hits(line)


def test_what_a_container_does_not_say_matches_no_rule_that_asks_for_it() -> None:
    unknown = Member("Invoice.exe")
    assert hits("A:*:*:exe:*:*:*:*:*:*", unknown)
    assert not hits("A:*:*:exe:*:100:*:*:*:*", unknown)
    assert not hits("A:*:*:exe:*:*:0:*:*:*", unknown)
    assert hits("A:*:*:exe:*:100:*:*:*:*", replace(unknown, size=100))


def test_a_checksum_means_nothing_where_containers_have_none() -> None:
    assert hits("A:*:*:exe:*:*:*:*:0:*", replace(PROGRAM, container_type="CL_TYPE_7Z"))


def test_a_rule_for_another_release_is_passed_over() -> None:
    assert parse_line("A:*:*:*:*:*:*:*:*:*:500") is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "A:*:*:*:*:*:*:*",
        ":*:*:*:*:*:*:*:*:*",
        "A:zip:*:*:*:*:*:*:*:*",
        "A:*:x:*:*:*:*:*:*:*",
        "A:*:9-1:*:*:*:*:*:*:*",
        "A:*:*:(:*:*:*:*:*:*",
        "A:*:*:(a*)*b:*:*:*:*:*:*",
        "A:*:*:*:*:*:2:*:*:*",
        "A:*:*:*:*:*:*:*:123456789:*",
        "A:*:*:*:*:*:*:*:nonsense:*",
        "A:*:*:*:*:*:*:*:*:*:x",
        "A:*:*:" + "a" * 5000 + ":*:*:*:*:*:*",
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(line: str) -> None:
    with pytest.raises(FormatError):
        parse_line(line)
