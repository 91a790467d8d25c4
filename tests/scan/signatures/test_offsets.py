"""Offsets: where a pattern may begin."""

from dataclasses import dataclass

import pytest

from mailward.scan.signatures.offsets import EVERYWHERE, OffsetError, parse


@dataclass(frozen=True)
class Section:
    offset: int
    size: int


@dataclass(frozen=True)
class Layout:
    entry_point: int | None
    sections: tuple[Section, ...]
    version_info: tuple[int, ...] = ()


PROGRAM = Layout(500, (Section(400, 200), Section(600, 0), Section(700, 300)))


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("*", EVERYWHERE),
        ("0", (0, 0)),
        ("10,5", (10, 15)),
        ("EOF-10", (990, 990)),
        ("EOF-10,3", (990, 993)),
        ("EOF-2000", None),
        ("EP+0", (500, 500)),
        ("EP-100,7", (400, 407)),
        ("EP-600", None),
        ("S0+4", (404, 404)),
        ("S2-1,2", (699, 701)),
        ("S3+0", None),
        ("SL+5", (705, 705)),
        ("SE2", (700, 1000)),
        ("SE1", None),
        ("SE9", None),
    ],
)
def test_places_in_a_program(text: str, window: tuple[int, int] | None) -> None:
    assert parse(text).window(1000, PROGRAM) == window


@pytest.mark.parametrize("text", ["EP+0", "S0+0", "SL+0", "SE0"])
def test_places_that_only_programs_have(text: str) -> None:
    assert parse(text).window(1000, None) is None
    assert parse(text).window(1000, Layout(None, ())) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "x", "EOF", "EOF+1", "EP", "EP0", "S+1", "SL", "SE", "Sx+1", "1,", "1,-1"),
        *("*,1", "1,2,3", "9" * 30, "4294967296", "1,4294967296", "S12345+0", " 1", "\u0661"),
    ],
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(OffsetError):
        parse(text)
