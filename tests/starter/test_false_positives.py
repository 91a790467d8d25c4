"""Real documents and mail in which nothing may be found, but for what does what a rule says."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward.scan.part import Part, Role
from tests.starter import splitter
from tests.starter.compiled import StarterScanner

pytestmark = pytest.mark.shared

_JUSTIFIED = {
    # Programs for Windows, Linux and macOS, called what they are; a PE header before an archive
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
    # A batch file, a JScript file, and compiled help, which runs scripts outside a browser
    "Mailward.Attachment.Script": {
        "testBAT.bat",
        "testJS_HTML.js",
        "IMJPCLE.CHM",
        "tcpip.CHM",
        "testChm.chm",
        "testChm_oom.chm",
    },
    # Made to show these attacks: http://example.com/templates/malicious.dotx, and cmd "/c calc.exe"
    "Mailward.Office.RemoteTemplate": {"testAttachedTemplate.docx"},
    "Mailward.Office.DdeCommand": {"testDdeLink.xlsx"},
}


def _files(folder: Path) -> Iterator[Path]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    assert found, f"nothing in {folder}"
    yield from found


def test_clean_documents_as_attachments(scanner: StarterScanner, shared: Path) -> None:
    hits: dict[str, set[str]] = defaultdict(set)
    for path in _files(shared / "clean"):
        part = Part(path.name, path.read_bytes(), Role.ATTACHMENT, path.name)
        for piece in (part, *splitter.members(part)):
            for name in scanner.names(piece):
                hits[name].add(path.name)
    assert hits == _JUSTIFIED


def test_clean_documents_as_files_on_the_command_line(
    scanner: StarterScanner, shared: Path
) -> None:
    hits = [
        (name, path.name)
        for path in _files(shared / "clean")
        for name in scanner.names(Part(path.name, path.read_bytes(), Role.FILE, path.name))
    ]
    assert hits == []


def _hits_in_mail(scanner: StarterScanner, folder: Path) -> list[tuple[str, str]]:
    return [
        (name, part.path)
        for path in _files(folder)
        for part in splitter.message_parts(path.read_bytes(), path.name)
        for name in scanner.names(part)
    ]


@pytest.mark.parametrize(
    "folder",
    [
        "spamassassin/easy-ham-1",
        "spamassassin/easy-ham-2",
        "spamassassin/hard-ham-1",
        "mimekit",
        "mikel",
        "mime4j",
        "stalwart",
    ],
)
def test_nothing_is_found_in_mail(scanner: StarterScanner, shared: Path, folder: str) -> None:
    assert _hits_in_mail(scanner, shared / "mail" / folder) == []


def test_the_page_is_right_about_phishing_mail(scanner: StarterScanner, shared: Path) -> None:
    folder = shared / "mail" / "phishing"
    page = (Path(__file__).resolve().parents[2] / "docs/starter-definitions.md").read_text("utf-8")
    claim = f"of {len(list(_files(folder)))} phishing mails without attachments"
    assert claim in " ".join(page.split())
    assert _hits_in_mail(scanner, folder) == []
