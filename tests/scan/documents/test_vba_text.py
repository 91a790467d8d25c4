"""The expected values are what clamscan 1.4.6 wrote into its temporary files."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.scan.documents.vba_text import directory, normalised, text
from mailward.scan.part import Part
from tests.scan.documents.build import compound_file, vba_project
from tests.scan.signatures.prepared import prepare

Files = Callable[..., dict[str, bytes]]
Scan = Callable[..., list[object]]
ALPHABET = (" ", " ", "\t", "_", " _\r\n", "\r\n", "\n", '"', "AbC", "'", "Z", "\xe9")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b'Dim  A\tB\r\ns = "Ab""C  D" & E', b'dim a b\r\ns = "Ab""C  D" & e'),
        (b"A _\r\n  B _\n _\r\nC\r\n\r\nD_\r\nE", b"a b c\r\n\r\nd_\r\ne"),
        (b"A \r\n\r\n \tB\r\n  C", b"a \r\n\r\nb\r\n c"),
        (b'"open\r\nNEXT "Q" _\r\nX', b'"open\r\nNEXT "q" _\r\nX'),
        (b'Caf\xe9 \xc9 \x80 "\xc9\tA" \0', b'caf\xc3\xa9 \xc3\x89 \xe2\x82\xac "\xc3\x89 A" \0'),
        (b"", b""),
    ],
)
def test_a_module_is_in_lower_case_outside_of_quotes(source: bytes, expected: bytes) -> None:
    assert normalised(source) == expected


def test_the_modules_of_a_project_are_one_text(files: Files) -> None:
    sources = {"One": b'Attribute VB_Name = "One"\r\nA  B', "Two": b'Attribute VB_Name = "Two"\r\n'}
    whole = files(compound_file(vba_project(sources)))["a/macros:project.vba"]
    assert whole.startswith(
        b"REM VBA project extracted from Microsoft Office document\n\n"
        b"REM PROJECTSYSKIND: Windows 32 bit\nREM PROJECTLCID: 0x00000000\n"
    )
    assert whole.endswith(
        b"REM MODULETYPE: Procedural\nREM ##################################################\n"
        b'attribute vb_name = "Two"\r\n'
    )
    assert b"\nREM MODULENAME: One\n" in whole
    assert b'\nattribute vb_name = "One"\r\na b\n\nREM MODULENAME: Two\n' in whole


def test_a_module_named_a_thousand_times_is_in_the_text_once() -> None:
    once = b"\x1a\0\1\0\0\0M\x19\0\0\0\0\0\x2b\0\0\0\0\0"
    assert text(directory(b"\x19\0\0\0\0\0" + once * 1000), {"m": b"source"}).count(b"source") == 1


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_directory_and_source_become_a_text(listed: bytes, source: bytes) -> None:
    read = directory(listed)
    text(read, dict.fromkeys((name for name, _ in read.modules), source))
    assert normalised(source).count(b'"') == source.count(b'"')


def test_signatures_for_any_target_are_for_the_text(tmp_path: Path, scan: Scan) -> None:
    project = {"One": b"Attribute VB_Name = Sub AutoOpen", "Two": b"Attribute VB_Name = Shell X"}
    where = "Engine:51-255,Container:CL_TYPE_MSOLE2"
    both = ";".join(word.encode().hex() for word in ("sub autoopen", "shell x", "REM MODULENAME"))
    lines = f"Any;{where},Target:0;0&1&2;{both}\nOle;{where},Target:2;0&1;{both}\n"
    detector, _ = prepare(tmp_path, ldb=lines)
    document = scan(compound_file(vba_project(project)))
    hits = [hit.name for p in document if isinstance(p, Part) for hit in detector.scan(p, 20)]
    assert hits == ["Any"]


@pytest.mark.real
@pytest.mark.skipif(shutil.which("clamscan") is None, reason="clamscan is not installed")
def test_a_project_becomes_what_it_does_for_clamscan(tmp_path: Path, files: Files) -> None:
    random_ = random.Random(3)
    for folder in ("files", "temporary"):
        (tmp_path / folder).mkdir()
    (tmp_path / "any.ndb").write_text("Any:0:*:71717171717171717171\n")
    expected = {}
    for number in range(40):
        source = "".join(random_.choices(ALPHABET, k=random_.randrange(1, 40)))
        project = {"Ma": source.replace("__", "_").encode("latin-1"), "Mb": b"B  _\r\nB"}
        document = compound_file(vba_project(project))
        (tmp_path / f"files/d{number}.doc").write_bytes(document)
        expected[f"d{number}"] = files(document)["a/macros:project.vba"]
    command = ["clamscan", "--disable-cache", "--leave-temps", "-r", str(tmp_path / "files")]
    command += ["-d", str(tmp_path / "any.ndb"), "--tempdir", str(tmp_path / "temporary")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    found = (tmp_path / "temporary").glob("*/*/vba_project.*")
    theirs = {path.parent.name.partition(".")[0]: path.read_bytes() for path in found}
    assert theirs == expected
