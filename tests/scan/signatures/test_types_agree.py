"""Tables of file types (.ftm), at random, given to clamscan and to Mailward."""

import random
import shutil
from pathlib import Path

import pytest

from benchmarks import parity

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]
TYPES = (
    *("MSEXE", "MSOLE2", "HTML", "MAIL", "GRAPHICS", "ELF", "TEXT_ASCII", "PDF", "SWF", "JAVA"),
    *("BINARY_DATA", "GIF", "RTF", "IGNORED"),
)
TARGETS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12)
BYTES = ("aa", "bb", "c1", "c2")
GAPS = ("", "??", "{1-3}", "*", "{2}", "(aa|bb)", "{-2}")
DATA = (0xAA, 0xBB, 0xC1, 0xC2, 0, 0x41)


def line(random_: random.Random) -> str:
    type_ = f"n:CL_TYPE_ANY:CL_TYPE_{random_.choice(TYPES)}"
    first, second = ("".join(random_.choices(BYTES, k=2)) for _ in range(2))
    if random_.random() < 0.6:
        return f"0:{random_.choice((0, 0, 2, 5))}:{first}:{type_}{random_.choice(('', ':1'))}"
    offset = random_.choice(("*", "0", "1,3", "2"))
    return f"1:{offset}:{first}{random_.choice(GAPS)}{second}:{type_}"


def file(random_: random.Random) -> bytes:
    beginning = bytes(random_.choices(DATA, k=random_.randrange(4, 14)))
    return beginning + random_.choice((b"\0\x01", b"", b"text\n")) + b"needle"


@pytest.mark.parametrize("seed", range(6))
def test_clamscan_takes_files_for_the_same(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    for made in ("definitions", "files"):
        (tmp_path / made).mkdir()
    table = [line(random_) for _ in range(random_.randrange(2, 6))]
    (tmp_path / "definitions/a.ftm").write_text("\n".join(table) + "\n")
    needles = [f"T{target}:{target}:*:{b'needle'.hex()}\n" for target in TARGETS]
    (tmp_path / "definitions/a.ndb").write_text("".join(needles))
    paths = [tmp_path / f"files/{number}" for number in range(40)]
    for path in paths:
        path.write_bytes(file(random_))
    theirs = parity.clamscan(tmp_path / "definitions", paths)
    ours = parity.Ours(tmp_path / "definitions", tmp_path / "prepared")
    assert ours.preparation.refused == ()
    found = {path: ours.scan(path.read_bytes())[0] for path in paths}
    assert found == {path: theirs.get(path, set()) for path in paths}
    assert len({frozenset(names) for names in found.values()}) > 1
