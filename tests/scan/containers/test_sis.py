"""Symbian packages, old and new: what they hold is found, damage is survived and said."""

import functools
import random
from collections.abc import Callable

import pytest

from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.testing import EICAR
from tests.scan.containers import installers

Unpack = Callable[..., list[Found]]

FILES = {"a.com": EICAR, "both.txt": b"in two languages " * 9, "last.bin": bytes(range(256))}
BUILDERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "old": installers.sis,
    "old-not-packed": functools.partial(installers.sis, packed=False),
    "oldest": functools.partial(installers.sis, unicode=False),
    "new": installers.sisx,
    "new-not-packed": functools.partial(installers.sisx, way=0),
}
SAMPLES = {name: build(FILES) for name, build in BUILDERS.items()}


def pieces(found: list[Found]) -> list[tuple[str, bytes]]:
    return [(p.name, p.data) for p in found if isinstance(p, Piece) and p.label != "controller"]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_files_are_found(unpack: Unpack, name: str) -> None:
    found = unpack(SAMPLES[name])
    wanted = list(FILES.items())
    if name.startswith("old"):
        wanted.insert(1, wanted[1])
    assert pieces(found) == wanted
    assert not [shut for shut in found if isinstance(shut, Shut)]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_package_that_is_cut_says_so(unpack: Unpack, name: str) -> None:
    whole = BUILDERS[name]({"a.com": EICAR})
    for end in range(12, len(whole)):
        found = unpack(whole[:end])
        complete = EICAR in dict(pieces(found)).values()  # a name may be cut
        assert complete or any(isinstance(one, Shut) for one in found), end


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_damage_anywhere_is_survived(unpack: Unpack, sample: bytes) -> None:
    numbers = random.Random(0)
    for at in range(len(sample)):
        damaged = bytearray(sample)
        damaged[at] = numbers.randrange(256)
        unpack(bytes(damaged))


@pytest.mark.parametrize("build", [installers.sis, installers.sisx])
def test_bombs_are_stopped(unpack: Unpack, build: Callable[[dict[str, bytes]], bytes]) -> None:
    found = unpack(build({"bomb": bytes(3_000_000)}), max_part_bytes=100_000)
    assert max(len(one.data) for one in found if isinstance(one, Piece)) == 100_000
    assert Reason.LIMIT in [one.reason for one in found if isinstance(one, Shut)]


def test_a_way_of_packing_that_is_not_known_stays_shut(unpack: Unpack) -> None:
    found = unpack(installers.sisx(FILES, way=7))
    assert {s.reason for s in found if isinstance(s, Shut)} >= {Reason.UNSUPPORTED}


def test_packages_inside_each_other_for_ever_end(unpack: Unpack) -> None:
    array = b"\0" * 8 + b"\x1c\0\0\0" * 2
    deep = array * 50_000
    controller = installers.sisx({}, way=0).replace(b"info", b"info" + deep)
    unpack(controller)
