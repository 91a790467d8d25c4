"""What lies in what: signatures for a container, given to clamscan and to Mailward."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks import parity
from tests.scan.containers.archives import bsdtar
from tests.scan.signatures.examples.wrapping import WRAPPERS

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (all(map(shutil.which, ("clamscan", "bsdtar"))) and parity.TEST_FILES.is_dir()),
        reason="clamscan, bsdtar or clamav-testfiles are not installed",
    ),
]
TYPES = [*WRAPPERS, "CL_TYPE_ISO9660", "CL_TYPE_MSEXE", "CL_TYPE_MSCHM", "CL_TYPE_ARJ"]
NOT_ALIKE = {"clam.ole.doc", "clam.ppt", "clam_ISmsi_ext.exe", "clam_ISmsi_int.exe"}
"""A program in a stream of a document lies in a program for clamscan, too, in which it found it."""


def compare(folder: Path, lines: list[str], files: Mapping[str, bytes]) -> set[str]:
    """Names of signatures that both find; everything is found by both or none."""
    for made in ("definitions", "files"):
        (folder / made).mkdir()
    (folder / "definitions/a.ldb").write_text("\n".join(lines) + "\n")
    for name, data in files.items():
        (folder / "files" / name).write_bytes(data)
    theirs = parity.clamscan(folder / "definitions", sorted((folder / "files").iterdir()))
    ours = parity.Ours(folder / "definitions", folder / "prepared")
    found = {folder / "files" / name: ours.scan(data, name)[0] for name, data in files.items()}
    assert {path.name: names for path, names in found.items() if names} == {
        path.name: names for path, names in theirs.items() if names
    }
    return set().union(*found.values())


def lines_for(target: int, pattern: str) -> list[str]:
    return [
        f"{where[0]}.{type_.removeprefix('CL_TYPE_')};Engine:51-255,{where}:{type_},"
        f"Target:{target};0;{pattern}"
        for type_ in filter(None, TYPES)
        for where in ("Container", "Intermediates")
    ]


@pytest.mark.parametrize("beginning", [b"GIF89a\0\0", b"\x80\x81\0\x01\0", b"some text\n"])
def test_what_is_made_lies_where_clamscan_says(tmp_path: Path, beginning: bytes) -> None:
    data = beginning + b"a needle " * 30
    files = {made or "none": wrap(data) for made, wrap in WRAPPERS.items()}
    files["CL_TYPE_ISO9660"] = bsdtar("iso9660")("example.bin", data)
    found = compare(tmp_path, lines_for(0, b"needle".hex()), files)
    assert {f"C.{made.removeprefix('CL_TYPE_')}" for made in files} - {"C.none"} <= found


def test_what_is_in_test_files_lies_where_clamscan_says(tmp_path: Path) -> None:
    paths = [path for path in parity.TEST_FILES.iterdir() if path.name not in NOT_ALIKE]
    files = {path.name: path.read_bytes() for path in paths}
    found = compare(tmp_path, lines_for(1, "0:4d5a"), files)
    assert found >= {"C.MSCHM", "C.NULSFT", "C.AUTOIT", "C.ZIP", "C.RTF", "C.ARJ", "I.MSCAB"}
