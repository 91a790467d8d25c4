"""What signatures are looked for by: whatever is chosen, nothing that matches is missed."""

import random
import time
from itertools import product
from pathlib import Path

import pytest

from mailward.scan.engine import Hit
from mailward.scan.signatures import logical
from mailward.scan.signatures.anchors import Anchor, anchors
from mailward.scan.signatures.evaluation import Evaluator
from mailward.scan.signatures.subject import Subject
from tests.scan.signatures.prepared import found, prepare

# What every mail has, so that none of it is enough.
WORDS = (b"content-type", b"href=", b"text/html", b"boundary", b"http://")
SUBSIGNATURES = (
    f"{WORDS[0].hex()}",
    f"{WORDS[1].hex()}*{b'>'.hex()}::i",
    f"{WORDS[2].hex()}::aw",
    f"0/{WORDS[3].decode()}\\s*=/i",
    f"{WORDS[4].hex()}{{-40}}{b'.com'.hex()}",
)
TEXTS = (
    b"content-type ",
    b"HREF= >",
    b"text/html t\0e\0x\0t\0/\0h\0t\0m\0l\0",
    b"Boundary =",
    b"http://example.com",
)


def chosen(line: str) -> tuple[Anchor, ...]:
    (several,) = anchors([logical.read(line)])
    assert isinstance(several, tuple)
    return several


def halves(line: str) -> dict[bytes, int]:
    return {anchor.piece: anchor.half for anchor in chosen(line)}


def test_what_every_mail_has_is_looked_for_by_two_halves() -> None:
    both = halves(f"Two;Target:0;0&1;{b'content-type'.hex()};{b'boundary'.hex()}")
    assert sorted(both.values()) == [1, 2]


def test_other_literals_of_the_same_pattern_are_a_second_half() -> None:
    both = halves(f"Two;Target:0;0;{b'content-type'.hex()}*{b'boundary'.hex()}")
    assert sorted(both.values()) == [1, 2]


def test_what_is_rare_is_enough() -> None:
    one = halves(f"One;Target:0;0&1;{b'content-type'.hex()};{b'Qx7#jZw!kV'.hex()}")
    assert one == {b"Qx7#jZw!kV": 0}


@pytest.mark.parametrize("text", ["0", "0|1", "(0|1)>1", "0&(1=0)"])
def test_there_is_no_second_half_where_nothing_else_is_needed(text: str) -> None:
    lone = halves(f"One;Target:0;{text};{b'content-type'.hex()};{b'boundary'.hex()}")
    assert set(lone.values()) == {0}


def _expression(chance: random.Random, depth: int = 0) -> str:
    if depth == 3 or chance.random() < 0.3:
        term = str(chance.randrange(len(WORDS)))
    else:
        operators = [chance.choice("&&&|") for _ in range(chance.randrange(1, 3))]
        terms = [_expression(chance, depth + 1) for _ in range(len(operators) + 1)]
        term = "(" + terms[0] + "".join(o + t for o, t in zip(operators, terms[1:], strict=True))
        term += ")"
    return term + chance.choice(["", "", "", ">0", "=1", "=0", "<2"])


def test_pieces_miss_nothing_that_a_whole_evaluation_finds(tmp_path: Path) -> None:
    chance = random.Random(11)
    lines = [
        f"S{number};Target:0;{_expression(chance)};{';'.join(SUBSIGNATURES)}"
        for number in range(150)
    ]
    lines = [line for line in lines if _halves_of(line)]  # the others match where nothing is
    detector, _ = prepare(tmp_path, ldb="\n".join(lines) + "\n")
    whole = [Evaluator(logical.read(line), Hit(line.partition(";")[0])) for line in lines]
    with_halves = [line for line in lines if len(set(_halves_of(line))) > 1]
    assert len(whole) > 50
    assert len(with_halves) > 10
    for present in product((0, 1), repeat=len(TEXTS)):
        data = b"--" + b"--".join(t for t, there in zip(TEXTS, present, strict=True) if there)
        subject = Subject(data, time.monotonic() + 20)
        expected = {one.hit.name for one in whole if one.matches(subject)}
        assert found(detector, data) == expected


def _halves_of(line: str) -> list[int]:
    (several,) = anchors([logical.read(line)])
    return [anchor.half for anchor in several] if isinstance(several, tuple) else []


@pytest.mark.parametrize(
    ("line", "once"),
    [
        ("One;Target:0;0;6368", True),
        ("One;Target:0;0;6368::i", True),
        ("One;Target:0;0;0:6368", False),
        ("One;Target:0;0;4:6368{5}", False),
        ("One;Target:0;0;6368616263646566", False),  # rare enough
    ],
)
def test_a_frequent_piece_is_told_of_once_if_its_place_says_nothing(line: str, once: bool) -> None:
    assert {anchor.is_once_enough for anchor in chosen(line)} == {once}


def test_a_piece_that_one_signature_has_anywhere_is_found_where_another_wants_it(
    tmp_path: Path,
) -> None:
    lines = "Any;Target:0;0;63687172\nLater;Target:0;0;20:63687172\n"
    detector, _ = prepare(tmp_path, ldb=lines)
    assert found(detector, b"chqr" + bytes(16) + b"chqr") == {"Any", "Later"}
    assert found(detector, b"chqr" + bytes(17) + b"chqr") == {"Any"}
