"""Nothing may be found in real documents and mail when everything in them is taken out, either."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from tests.starter.compiled import StarterScanner

pytestmark = pytest.mark.shared

_JUSTIFIED = {
    # Programs, scripts and compiled help, called what they are
    "Mailward.Attachment.Executable": {
        "testTinyPE.exe",
        "testWindows-x86-32.exe",
        "testLinux-arm-32le",
        "testLinux-mips-32le",
        "testLinux-ppc-32be",
        "testLinux-x86-32",
        "testLinux-x86-64",
        "testMacOS-x86_64-arm64",
        "testJAR_with_PEHDR.jar",
    },
    "Mailward.Attachment.Script": {
        "testBAT.bat",
        "testJS_HTML.js",
        "IMJPCLE.CHM",
        "tcpip.CHM",
        "testChm.chm",
        "testChm_oom.chm",
    },
    # Two archives with a program each, embedded in a presentation
    "Mailward.Archive.Executable": {"test_embedded_zip.pptx"},
    # Made to show these attacks
    "Mailward.Office.RemoteTemplate": {"testAttachedTemplate.docx"},
    "Mailward.Office.DdeCommand": {"testDdeLink.xlsx"},
}
_LARGE_BYTES = 5_000_000


def _parts(folder: Path, role: Role) -> Iterator[tuple[Path, Part]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found, f"nothing in {folder}"
    for path in found:
        if path.stat().st_size > _LARGE_BYTES:
            continue
        budget = Budget(ScanSettings())
        for part in parts(path.read_bytes(), role=role, name=path.name, budget=budget):
            if isinstance(part, Part):
                yield path, part


def _hits(scanner: StarterScanner, folder: Path, role: Role) -> dict[str, set[str]]:
    hits: dict[str, set[str]] = defaultdict(set)
    for path, part in _parts(folder, role):
        for name in scanner.names(part):
            hits[name].add(path.name)
    return hits


def test_clean_documents_as_attachments_with_all_that_is_in_them(
    scanner: StarterScanner, shared: Path
) -> None:
    assert _hits(scanner, shared / "clean", Role.ATTACHMENT) == _JUSTIFIED


@pytest.mark.parametrize(
    ("folder", "justified"),
    [
        ("spamassassin/hard-ham-1", {}),
        ("mime4j", {}),
        ("stalwart", {}),
        # AUTOEXEC.BAT in a winmail.dat
        ("mimekit", {"Mailward.Attachment.Script": {"data-before-name.tnef"}}),
    ],
)
def test_mail_with_every_reading_of_it(
    scanner: StarterScanner, shared: Path, folder: str, justified: dict[str, set[str]]
) -> None:
    assert _hits(scanner, shared / "mail" / folder, Role.MESSAGE) == justified
