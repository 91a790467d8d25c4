"""The same verdicts as clamscan on files made from signatures: a little of benchmarks/parity.py."""

import itertools
import random
import shutil
from pathlib import Path

import pytest

from benchmarks import parity
from mailward.scan.signatures.expression import indices, parse
from mailward.scan.signatures.signature import Signature
from tests.scan.signatures.examples.make import examples

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed"),
]

LINES = {
    ".ndb": [
        "A0:0:*:4d61696c??61726420{2-4}74657374",
        "A1:0:10:4d61696c77617264",
        "A2:0:EOF-30,10:4d61696c77617264",
        "A3:1:EP+3:e8aabbccdd",
        "A4:1:S1+16,8:deadbeef01",
        "A5:1:SL+4:deadbeef02",
        "A6:1:SE0:deadbeef03",
        "A7:3:*:3c6120687265663d22687474703a2f2f6576696c2e74657374223e636c69636b",
        "A8:4:*:5375626a6563743a20596f7520776f6e",
        "A9:6:EP+0:31c040cd80",
        "A10:7:*:706f7765727368656c6c202d656e63",
        "A11:9:*:cafed00d*feedbead",
        "A12:10:*:2f4a617661536372697074(20|28|3c)617070",
        "A13:0:*:4d61!(41|42)6c6d[3-5]77",
        "A14:0:*:(B)4d61696c77617264(B)",
        "A15:0:*:4d6?696c7?617264{-5}656e64{3-}6c617374",
    ],
    ".ldb": [
        "B0;Engine:51-255,Target:0;0&1;4d61696c;77617264",
        "B1;Engine:51-255,Target:0;(0|1)&2>2;4d61696c;77617264;6162636465",
        "B2;Engine:51-255,Target:0;0=2&1<3;4d61696c;77617264",
        "B3;Engine:51-255,Target:0;(0|1|2)>2,2;4d61696c;77617264;6162636465",
        "B4;Engine:51-255,Target:0;0;6d61696c77617264::iwa",
        "B5;Engine:51-255,Target:0;0;6d61696c{2}77617264::w",
        "B6;Engine:51-255,Target:0;0&1;6d61696c77617264;0/ward[0-9]{3}x?y/i",
        "B12;Engine:51-255,Target:0;0&1;6d61696c77617264;0/=a(?:\\s*[0-9]{1,5}\\s*,){1024}/i",
        "B7;Engine:51-255,Target:1,NumberOfSections:3-3;0&1;EP+0:e8000000;S2+0:6162636465",
        "B8;Engine:51-255,Target:0,FileSize:500-900;0;6d61696c77617264",
        "B9;Engine:51-255,Target:0,Container:CL_TYPE_ZIP;0;6d61696c77617264",
        "B10;Engine:51-255,Target:0;0&1;6d61696c77617264;0(>>10#ib2#>256)",
        "B11;Engine:51-255,Target:0;0&(1|(2&3));6d61696c;77617264;6162636465;6667686970::f",
    ],
}


def test_signatures_of_every_kind_find_what_clamscan_finds() -> None:
    lines = [(suffix, line) for suffix, several in LINES.items() for line in several]
    result = parity.Result()
    parity.compare_made(lines, random.Random(1), result)
    assert result.differences == []
    assert sum(result.skipped.values()) == 0
    assert result.found >= len(lines)


WORDS = (b"alpha", b"bravo", b"charly", b"delta", b"echo!")
EXPRESSIONS = (
    *("0&1|2", "0|1&2", "0&1&(2&3)|4", "0|(1&2|3&4)", "(0|1&2)", "(0&1|2)", "(0&1|2&3)"),
    *("((0&1|2)&3|4)", "(0&(1|2&3)|4)", "(0&1&(2&3)|4)", "(0|1&2)=2", "(0&1|2)>1", "(0&1)=2|2"),
    *("(0|1|2)>1,2", "(0&1|2&3)>2", "0=2|1&2", "(0>1|1)&2<2"),
    *("0>=2&1", "0>1>0&2", "0=>1&2<=2", "0>1,2", "0&1,4", "(0|2<2,2)&1"),
    *("((0&1)=2|2)>1,2", "((0|1)>0|2)>1,1", "((0|1)>1|2)>1", "(0>1|1|2)>1,2", "((0&1)|2)>1,2"),
)


def test_expressions_hold_where_they_do_for_clamscan(tmp_path: Path) -> None:
    definitions, files = tmp_path / "definitions", tmp_path / "files"
    definitions.mkdir()
    files.mkdir()
    lines = [
        f"E{number};Engine:51-255,Target:0;{text};"
        + ";".join(WORDS[i].hex() for i in range(max(indices(parse(text))) + 1))
        for number, text in enumerate(EXPRESSIONS)
    ]
    (definitions / "a.ldb").write_text("\n".join(lines) + "\n")
    for counts in itertools.product((0, 1, 2), (0, 1), (0, 1, 2), (0, 1), (0, 1)):
        words = [w for word, n in zip(WORDS, counts, strict=True) for w in [word] * n]
        name = "".join(map(str, counts))
        (files / name).write_bytes(b"GIF89a\0" + b"\0".join(words))
    theirs = parity.clamscan(definitions, sorted(files.iterdir()))
    ours = parity.Ours(definitions, tmp_path / "prepared")
    for path in sorted(files.iterdir()):
        assert ours.scan(path.read_bytes())[0] == theirs.get(path, set()), path.name


def test_digests_of_files_and_sections_find_what_they_do_for_clamscan() -> None:
    assert parity.digests(300, seed=4) == []


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_a_sample_of_public_signatures_finds_what_clamscan_finds() -> None:
    random_ = random.Random(2)
    result = parity.Result()
    parity.compare_made(parity.sample(300, random_), random_, result)
    assert result.differences == []
    assert result.signatures > 250


@pytest.mark.skipif(not parity.TEST_FILES.is_dir(), reason="clamav-testfiles is not installed")
def test_calls_in_a_program_packed_by_upx_are_as_they_were_before(tmp_path: Path) -> None:
    end = "5e8be55dc356ff742408e8{}33c96a02405af7e20f90c1f7d90bc851"
    lines = {"Call": "14090400", "Filtered": "1904c9bf", "Between": "????????"}
    text = "".join(f"{name}:1:*:{end.format(call)}\n" for name, call in lines.items())
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions/a.ndb").write_text(text)
    path = parity.TEST_FILES / "clam.ea06.exe"
    ours = parity.Ours(tmp_path / "definitions", tmp_path / "prepared").scan(path.read_bytes())[0]
    theirs = parity.clamscan(tmp_path / "definitions", [path])[path]
    assert (ours, theirs) == ({"Call", "Between"}, {"Filtered", "Between"})


def test_near_misses_of_every_kind_are_made() -> None:
    signature: Signature = parity.READERS[".ndb"]("A:0:20,4:4d61696c{3-5}77617264")
    kinds = {e.kind for e in examples(signature, random.Random(3))}
    assert kinds == {"match", "byte", "gap", "offset", "missing"}
