"""Signatures of every piece of the language, made at random, given to clamscan and to Mailward."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import parity
from tests.scan.signatures.examples.programs import pe

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]
SIGNATURES = 120
FILES = 60
WORDS = (b"ab", b"ba", b"aab", b"AB", b"a.", b"1a")
LETTERS = b"aaabbbA.B1\n "
TAILS = (b"12", b"0x1f", b"9", b" 11", b"\0a", b"ab", b"", b"111", b"1x")
TRIGGERS = (b"#one#", b"#two#", b"#three#", b"#four#", b"#five#")
GAPS = ("*", "{1}", "{0-1}", "{1-3}", "{-2}", "{2-}", "??", "6?", "?1", "(61|62)")
CHOICES = ("(61|6263|2e)", "!(61|62)", "!(6162|2e2e)")
EDGES = ("", "", "", "(B)", "(W)", "(L)")
MODIFIERS = ("i", "w", "wa", "iw", "iwa", "f", "fi", "fw", "fwa", "a")
SOURCES = (
    *("ab+c", "a.?b", "^ab", "[ab]{2}c", "b.c", r"(a|b)\.", "abc$", "a(?=b)", "A b c", r"\w{3}"),
    *("(?<!a)b", "a|bc", r"\x61b"),
)
NUMBERS = (
    *("d1", "d2", "d3", "de2", "dbe3", "db2", "hb2", "ib1", "il1", "ib2", "il2", "ib4", "ibe2"),
)
"""Without a byte order clamscan compares no ``h`` and ``i``, and ``a`` never."""
VALUES = (0, 1, 9, 11, 12, 60, 0x61, 0x6162, 0x6261)
COUNTS = ("", "", ">0", ">1", "=1", "=2")


def hexadecimal(random_: random.Random) -> str:
    return random_.choice(WORDS).hex()


def body(random_: random.Random) -> str:
    """Given bytes at both ends, and something between them."""
    first, last = hexadecimal(random_), hexadecimal(random_)
    left, right = random_.choice(EDGES), random_.choice(EDGES)
    middle = random_.choice(("", "", *GAPS, *CHOICES))
    return f"{left}{first}{middle}{last if middle else ''}{right}"


def offset(random_: random.Random) -> str:
    near, shift = random_.randrange(30), random_.randrange(1, 20)
    end = f"EOF-{near + 9}"
    return random_.choice(
        ("", "", "*:", f"{near}:", f"{near},{shift}:", f"{end}:", f"{end},{shift}:")
    )


def program_offset(random_: random.Random) -> str:
    near, shift = random_.randrange(12), random_.randrange(1, 9)
    base = random_.choice(("EP+", "EP-", "S0+", "S1+", "SL+"))
    return random_.choice((f"{base}{near}:", f"{base}{near},{shift}:", "SE0:", "SE1:", "SE2:", ""))


def modified(random_: random.Random) -> str:
    pattern = f"{hexadecimal(random_)}{random_.choice(('', *GAPS))}{hexadecimal(random_)}"
    return f"{pattern}::{random_.choice(MODIFIERS)}"


def regex(random_: random.Random) -> str:
    flags = "".join(one for one in "gimsxAU" if random_.random() < 0.2)
    at = random_.choice(("", "", "3:", "0,12:", "5,9:", "EOF-9:"))
    if at and random_.random() < 0.4:
        flags += random_.choice("re")
    return f"{at}0/{random_.choice(SOURCES)}/{flags}"


def comparison(random_: random.Random, trigger: bytes) -> str:
    way = random_.choice((f">>{len(trigger)}", f">>{len(trigger) + 1}", "<<1", "<<2"))
    asked = f"{random_.choice('=<>')}{random_.choice(VALUES)}"
    more = random_.choice(("", "", f",{random_.choice('<>')}{random_.randrange(99)}"))
    return f"0({way}#{random_.choice(NUMBERS)}#{asked}{more})"


def logic(random_: random.Random, count: int) -> str:
    terms = [f"{number}{random_.choice(COUNTS)}" for number in range(count)]
    text = terms[0]
    for term in terms[1:]:
        text = f"{text}{random_.choice('&&|')}{term}"
        if random_.random() < 0.3:
            text = f"({text}){random_.choice(('', '>1', '>1,2', '=2', '>2'))}"
    return text


def logical(name: str, random_: random.Random, subsignatures: list[str], target: int) -> str:
    levels = "Engine:96-255"
    return f"{name};{levels},Target:{target};{logic(random_, len(subsignatures))};" + ";".join(
        subsignatures
    )


def text(random_: random.Random) -> bytes:
    return bytes(random_.choices(LETTERS, k=random_.randrange(20, 90)))


def plain(random_: random.Random) -> bytes:
    """No type of file that has a normalised form."""
    made = text(random_)
    if random_.random() < 0.4:
        made += text(random_).decode().encode("utf-16-le")
    for _ in range(random_.randrange(3)):
        made += random_.choice(WORDS) + random_.choice(
            (b"12", b"0x1f", b"9", b" 11", b"\0a", b"ab")
        )
    return b"GIF89a" + made


def numbered(random_: random.Random) -> bytes:
    """Each trigger once: clamscan compares at the last one alone."""
    made = random_.sample(TRIGGERS, len(TRIGGERS))
    return b"GIF89a..." + b"".join(one + random_.choice(TAILS) for one in made) + b"..."


def program(random_: random.Random) -> bytes:
    count = random_.choice((1, 2, 3))
    sections = [bytes(random_.choices(LETTERS, k=0x100)) for _ in range(count)]
    return pe(sections, entry=0x1000 + random_.randrange(20))


def compare(folder: Path, lines: list[str], made: list[bytes]) -> int:
    for name in ("definitions", "files"):
        (folder / name).mkdir()
    (folder / "definitions/a.ldb").write_text("\n".join(lines) + "\n", "latin-1")
    paths = [folder / f"files/{number}" for number in range(len(made))]
    for path, data in zip(paths, made, strict=True):
        path.write_bytes(data)
    theirs = parity.clamscan(folder / "definitions", paths)
    ours = parity.Ours(folder / "definitions", folder / "prepared")
    assert ours.preparation.refused == ()
    by_name = {line.partition(";")[0]: line for line in lines}
    found = 0
    for path in paths:
        mine, other = ours.scan(path.read_bytes(), "")[0], theirs.get(path, set())
        found += len(mine)
        alone = [by_name[name] for name in mine - other], [by_name[name] for name in other - mine]
        assert alone == ([], []), path.read_bytes()
    return found


def bodies(random_: random.Random) -> list[str]:
    return [f"{offset(random_)}{body(random_)}" for _ in range(random_.randrange(1, 4))]


def words(random_: random.Random) -> list[str]:
    return [modified(random_) for _ in range(random_.randrange(1, 4))]


def expressions(random_: random.Random) -> list[str]:
    return [hexadecimal(random_), *(regex(random_) for _ in range(random_.randrange(1, 3)))]


def numbers(random_: random.Random) -> list[str]:
    trigger = random_.choice(TRIGGERS)
    count = random_.randrange(1, 3)
    return [trigger.hex(), *(comparison(random_, trigger) for _ in range(count))]


def places(random_: random.Random) -> list[str]:
    return [f"{program_offset(random_)}{body(random_)}" for _ in range(random_.randrange(1, 3))]


@pytest.mark.parametrize(
    ("kind", "target", "file"),
    [
        (bodies, 5, plain),
        (words, 5, plain),
        (expressions, 5, plain),
        (numbers, 0, numbered),  # elsewhere clamscan compares nothing
        (places, 1, program),
    ],
)
def test_clamscan_finds_the_same(
    tmp_path: Path,
    kind: Callable[[random.Random], list[str]],
    target: int,
    file: Callable[[random.Random], bytes],
) -> None:
    random_ = random.Random(kind.__name__)
    lines = [logical(f"S{number}", random_, kind(random_), target) for number in range(SIGNATURES)]
    found = compare(tmp_path, lines, [file(random_) for _ in range(FILES)])
    assert found > SIGNATURES
