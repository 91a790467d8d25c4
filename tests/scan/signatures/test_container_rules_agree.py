"""Rules on members of containers, given to clamscan: it must find what Mailward finds."""

import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from tests.scan.signatures.prepared import prepare

_TEST_FILES = Path("/usr/share/clamav-testfiles")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (all(map(shutil.which, ("clamscan", "7z", "arj"))) and _TEST_FILES.is_dir()),
        reason="clamscan, 7z, arj or clamav-testfiles are not installed",
    ),
]
_CONTENTS = {"one.txt": b"text " * 600, "two.exe": b"hello\n", "three.dat": b"inner\n"}
_SAID = re.compile(r"CDBNAME:(CL_TYPE_\w+):\d+:(.*):(\d+):(\d+):([01]):(\d+):\d+")
_UNNAMED = {"attachment", "unknown"}
"""What clamscan calls parts of a mail without a name."""


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        for name, data in _CONTENTS.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def tarred(format_: int) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format_) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in _CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def of_old(archive: bytes) -> bytes:
    """As before POSIX: without a magic."""
    made = bytearray(archive)
    at = 0
    while any(made[at : at + 512]):
        size = int(made[at + 124 : at + 135], 8)
        made[at + 257 : at + 500] = bytes(243)
        made[at + 148 : at + 156] = b" " * 8
        made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
        at += 512 + -(-size // 512) * 512
    return bytes(made)


def mail() -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "test", "a@example.org", "b@example.org"
    message.set_content("hello")
    for name, data in (("two.bin", b"hello\n"), ("three.zip", zipped())):
        message.add_attachment(data, maintype="application", subtype="x", filename=name)
    return message.as_bytes()


def document() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<xml/>")
        archive.writestr("word/document.xml", "<w:document>hello</w:document>" * 20)
        archive.writestr("word/other.exe", b"other" * 30)
    return content.getvalue()


def made_by(folder: Path, name: str, *command: str) -> bytes:
    subprocess.run([*command, name, *_CONTENTS], cwd=folder, check=True, capture_output=True)
    return (folder / name).read_bytes()


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "contents"
    folder.mkdir()
    for name, data in _CONTENTS.items():
        (folder / name).write_bytes(data)
    return {
        "a.zip": zipped(),
        "behind.zip": b"#!/bin/sh\nexit\n" + zipped(),
        "a.docx": document(),
        "encrypted.zip": made_by(folder, "e.zip", "7z", "a", "-bd", "-psecret"),
        "a.7z": made_by(folder, "a.7z", "7z", "a", "-bd"),
        "single.7z": made_by(folder, "s.7z", "7z", "a", "-bd", "-ms=off"),
        "encrypted.7z": made_by(folder, "e.7z", "7z", "a", "-bd", "-psecret"),
        "a.arj": made_by(folder, "a.arj", "arj", "a"),
        "encrypted.arj": made_by(folder, "e.arj", "arj", "a", "-gsecret"),
        "a.tar": tarred(tarfile.USTAR_FORMAT),
        "old.tar": of_old(tarred(tarfile.USTAR_FORMAT)),
        "a.eml": mail(),
        "a.cab": (_TEST_FILES / "clam.cab").read_bytes(),
        "a.cpio": (_TEST_FILES / "clam.newc.cpio").read_bytes(),
        "odc.cpio": (_TEST_FILES / "clam.odc.cpio").read_bytes(),
    }


def clamscan(rules: Path, files: Path, *options: str) -> str:
    command = ["clamscan", "-d", str(rules), "--no-summary", "-r", *options, str(files)]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode in (0, 1), result.stderr
    return (result.stdout + result.stderr).decode("latin-1")


def rules_on(files: Path, rules: Path, sizes: dict[str, int]) -> dict[str, str]:
    """What clamscan says of members, as rules that ask for just that, and for nearly that."""
    made: dict[str, str] = {}
    for file, size in sizes.items():
        rules.write_text("Never:*:*:^never$:*:*:*:*:*:*\n")
        said = clamscan(rules, files / file, "--debug")
        for type_, name, packed, real, encrypted, position in _SAID.findall(said):
            if type_ == "CL_TYPE_MAIL" and name in _UNNAMED:
                continue
            exact = [type_, "*", f"^{re.escape(name)}$", packed, real, encrypted, position]
            whole = [type_, str(size), *exact[2:]]
            near = [
                ["CL_TYPE_RAR", *exact[1:]],
                [type_, str(size + 1), *exact[2:]],
                *([*exact[:3], str(int(packed) + 1), *exact[4:]],),
                [*exact[:4], str(int(real) + 1), *exact[5:]],
                [*exact[:5], str(1 - int(encrypted)), position],
                [*exact[:6], str(int(position) + 1)],
                ["*", "*", *exact[2:]],
                ["*", "*", exact[2], "*", f"0-{real}", "*", "*"],
            ]
            for fields in (exact, whole, *near):
                made.setdefault(":".join(fields), f"R{len(made)}")
    return {rule: line for line, rule in made.items()}


def test_clamscan_finds_the_same_members(tmp_path: Path, archives: dict[str, bytes]) -> None:
    files, rules = tmp_path / "files", tmp_path / "rules.cdb"
    files.mkdir()
    for name, data in archives.items():
        (files / name).write_bytes(data)
    made = rules_on(files, rules, {name: len(data) for name, data in archives.items()})
    text = "".join(f"{name}:{line}:*:*\n" for name, line in made.items())
    rules.write_text(text)
    theirs: dict[str, set[str]] = {name: set() for name in archives}
    said = clamscan(rules, files, "--allmatch")
    for name, rule in re.findall(r"/files/(\S+): (R\d+)(?:\.UNOFFICIAL)? FOUND", said):
        theirs[name].add(rule)
    detector, preparation = prepare(tmp_path, cdb=text)
    assert preparation.refused == ()
    ours = {
        name: {
            hit.name
            for part in parts(data, role=Role.FILE, name=name, budget=Budget(ScanSettings()))
            if isinstance(part, Part)
            for hit in detector.scan(part, 20)
        }
        for name, data in archives.items()
    }
    assert all(theirs.values())
    differing = {
        name: sorted(made[rule] for rule in ours[name] ^ theirs[name])
        for name in archives
        if ours[name] != theirs[name]
    }
    assert differing == {}
