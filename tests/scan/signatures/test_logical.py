"""Lines of .ldb files: cut into fields, and read in a second way that must mean the same."""

import pytest

from mailward.scan.engine import Hit
from mailward.scan.signatures import logical
from mailward.scan.signatures.errors import MalformedError
from mailward.scan.signatures.evaluation import Evaluator
from mailward.scan.signatures.subject import Subject

LATER = float("inf")
LINES = (
    "One;Target:0;0;616263",
    "Offsets;Engine:81-255,Target:1,EntryPoint:1-9;0&1&2;EP+0:aabb;EOF-9,4:6162*6364;S1+2:ccdd",
    "Modifiers;Target:0;(0|1|2)>1,2;616263::i;616263::aw;*:616263::fw",
    "Special;Target:7;0&1&2&3;616263;0/a;b\\/c[\\/;]/i;0(>>4#hb2#=61);${1-9}12$",
    "Container;Target:0,Container:CL_TYPE_ZIP,Intermediates:CL_TYPE_MAIL;0;616263;",
)


@pytest.mark.parametrize("line", LINES)
def test_what_is_read_again_is_what_was_read(line: str) -> None:
    first, again = logical.read(line), logical.read_again(line)
    assert tuple(again.subsignatures) == tuple(first.subsignatures)
    assert again.subsignatures[:1] == first.subsignatures[:1]
    assert (again.name, again.expression, again.container) == (
        first.name,
        first.expression,
        first.container,
    )
    assert (again.entry_point, again.intermediates) == (first.entry_point, first.intermediates)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("a;b;;c", ["a", "b", "", "c"]),
        ("a;0/x;y/;b", ["a", "0/x;y/", "b"]),
        (r"a;0/x\/;y/;b", ["a", r"0/x\/;y/", "b"]),
        (r"a;0/x\\/;y", ["a", r"0/x\\/", "y"]),
        (r"a\;b\/c;d", ["a\\", r"b\/c", "d"]),
        ("a;0/never closed;b", ["a", "0/never closed;b"]),
        ("a;0/ends so\\", ["a", "0/ends so\\"]),
        ("/", ["/"]),
        ("a/b/;", ["a/b/", ""]),
    ],
)
def test_semicolons_of_regular_expressions_end_no_field(line: str, fields: list[str]) -> None:
    assert list(logical.fields(line)) == fields


def test_what_does_not_match_is_mostly_never_read() -> None:
    bad = "Half;Target:0;0&1;616263;not a pattern at all"
    with pytest.raises(MalformedError):
        logical.read(bad)
    evaluator = Evaluator(logical.read_again(bad), Hit("Half"))
    assert not evaluator.matches(Subject(b"something else", LATER))


def test_the_quickest_is_asked_first_however_it_is_written() -> None:
    line = "Order;Target:0;0&1&2&3;6162*6364{2-}6566;0/ab/;6162;0:6162"
    assert logical.read_again(line).subsignatures.ranks() == (90, 1000, 4, 1)  # type: ignore[attr-defined]
