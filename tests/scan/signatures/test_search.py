"""What is found fast is what ``re`` finds."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.signatures.search import Search

SOURCE = rb"(?:\0|^)< ?(a|bc)(?=[ >])|\"(?<=[^= ]\")[^ >\0]|=\"[^\" \0]*=\""


@given(st.lists(st.sampled_from([b"<a ", b"< bc>", b"\0", b'="', b'"', b" ", b"x", b">"])))
def test_it_finds_what_re_finds(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = [(one.start(), one.end(), one[0]) for one in Search(SOURCE).all(data)]
    assert found == [(*one.span(), one[0]) for one in re.finditer(SOURCE, data)]


def test_it_goes_on_from_a_place_without_beginning_there() -> None:
    found = Search(rb"(?:^|b)a").search(b"aaba", 1)
    assert found is not None
    assert found.start() == 2


def test_what_pcre2_has_no_stack_for_is_found_all_the_same() -> None:
    found = Search(rb"(?:ab|b)*c").search(b"ab" * 200_000 + b"c")
    assert found is not None
    assert found.end() == 400_001
