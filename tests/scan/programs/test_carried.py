from collections.abc import Callable

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from tests.scan.signatures.examples.programs import pe

Look = Callable[..., list[Found]]

DROPPED = pe((b"dropped", b"data"))


def found(look: Look, data: bytes) -> list[tuple[str, bytes]]:
    return [(p.name, p.data) for p in look(data) if isinstance(p, Piece)]


def test_a_program_inside_another_is_given_as_long_as_it_says_itself(look: Look) -> None:
    carrier = pe((b"carrier", b"\0" * 77 + DROPPED + b"what follows" * 9))
    at = carrier.index(DROPPED)
    assert found(look, carrier) == [(f"{at}.exe", DROPPED)]


def test_one_behind_a_picture_is_found(look: Look) -> None:
    assert found(look, b"\xff\xd8\xff\xe0" + DROPPED) == [("4.exe", DROPPED)]


def test_one_that_is_cut_short_is_given_as_far_as_it_goes(look: Look) -> None:
    assert found(look, pe() + DROPPED[:-200]) == [(f"{len(pe())}.exe", DROPPED[:-200])]


def test_what_is_inside_of_the_inner_one_is_left_to_it(look: Look) -> None:
    inner = pe((DROPPED,))
    assert [data for _, data in found(look, pe((inner,)))] == [inner]


def test_a_program_without_another_carries_nothing(look: Look) -> None:
    assert look(pe()) == []
    assert look(pe((b"PE\0\0 MZ PE\0\0",))) == []


def test_thousands_of_programs_end_at_a_limit(look: Look) -> None:
    last = look(pe() + DROPPED * 120)[-1]
    assert isinstance(last, Shut)
    assert last.reason is Reason.LIMIT


def test_hostile_headers_cost_little(look: Look) -> None:
    look(b"MZ" + (b"MZ" * 2000 + b"PE\0\0") * 1000)
    assert isinstance(look(b"MZ" + b"PE\0\0" * 50_000)[-1], Shut)
