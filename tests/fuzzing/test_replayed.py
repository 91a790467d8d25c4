"""What fuzzing found worth keeping, through its parser: none may raise (``scripts/fuzz.py``)."""

import random

import pytest

from tests.fuzzing import corpus
from tests.fuzzing.parsers import PARSERS

ANYTHING = (
    b"",
    b"a",
    bytes(300),
    b"\xff" * 2000,
    b"a:b;c,d\n" * 30,
    b"((((((((",
    random.Random(1).randbytes(3000),
)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_takes_anything(name: str) -> None:
    for data in (*ANYTHING, *corpus.inputs(name)):
        PARSERS[name](data)


def test_what_is_kept_is_small_and_for_a_parser() -> None:
    kept = list(corpus.FOLDER.glob("*.txt"))
    assert {path.stem for path in kept} <= set(PARSERS)
    assert sum(path.stat().st_size for path in kept) < 1 << 20
