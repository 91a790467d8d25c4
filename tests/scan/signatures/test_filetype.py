import random
from pathlib import Path

import pytest

from mailward.errors import FormatError
from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.signatures.file_magic import Magic, parse_line
from mailward.scan.signatures.filetype import FileTypes, Target, identify
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from tests.scan.documents.build import compound_file, vba_project


@pytest.mark.parametrize(
    ("data", "name", "target"),
    [
        (b"MZ\x90\0", "MSEXE", Target.PE),
        (b"\x7fELF\x02", "ELF", Target.ELF),
        (b"\xcf\xfa\xed\xfe", "MACHO", Target.MACHO),
        (b"\xca\xfe\xba\xbe\0\0\0\x02", "MACHO_UNIBIN", Target.MACHO),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", "JAVA", Target.JAVA),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "MSOLE2", Target.OLE2),
        (b"%PDF-1.7\n", "PDF", Target.PDF),
        (b"\x01\x02 %PDF-1.7\n", "PDF", Target.PDF),
        (b"GIF89a", "GIF", Target.GRAPHICS),
        (b"BM", "GRAPHICS", Target.GRAPHICS),
        (b"FWS\x08", "SWF", Target.FLASH),
        (b"PK\x03\x04", "ZIP", Target.ANY),
        (b"{\\rtf1", "RTF", Target.ANY),
        (b"Received: from a", "MAIL", Target.MAIL),
        (b"x\nFrom: a\nMime-version: 1.0\nContent-type: text/plain\n", "MAIL", Target.MAIL),
        (b"hello\n", "TEXT_ASCII", Target.TEXT),
        (b"h\xe9llo\n", "TEXT_ASCII", Target.TEXT),
        ("hello\n".encode("utf-16"), "TEXT_UTF16LE", Target.TEXT),
        (b"\xfe\xff\0h\0i", "TEXT_UTF16BE", Target.TEXT),
        (b"<HTML>", "HTML", Target.HTML),
        (b"see <a class=x href='y'>", "HTML", Target.HTML),
        (b"\x01\x02\x00\x03<script>", "HTML", Target.HTML),
        ("<html>".encode("utf-16"), "HTML_UTF16", Target.HTML),
        ("<html>".encode("utf-16-le"), "HTML_UTF16", Target.HTML),
        ("\ufeff<html>".encode("utf-16-be"), "HTML", Target.HTML),
        ("<html>".encode("utf-16-be"), "TEXT_UTF16BE", Target.TEXT),
        ("<html>".encode("utf-32"), "HTML", Target.HTML),
        ("<html>".encode("utf-32-be"), "HTML", Target.HTML),
        (b"\x80\x81\0\x01\0\x02", "BINARY_DATA", Target.OTHER),
        (b'{\n  "Magic":"CLAMJSONv0"', "INTERNAL", Target.INTERNAL),
        (b"text, then MZ".ljust(100) + b"PE\0\0", "MSEXE", Target.PE),
        (b"\0" * 257 + b"ustar", "POSIX_TAR", Target.ANY),
        (b"\xa7\r\r\n\0\0\0\0", "PYTHON_COMPILED", Target.ANY),
    ],
)
def test_the_content_says_what_a_file_is(data: bytes, name: str, target: Target) -> None:
    found = identify(data)
    assert (found.name, found.target) == (f"CL_TYPE_{name}", target)


@pytest.mark.parametrize("text", [b"<P>", b"<iFrame", b"<a name=x>", b"<!DOCTYPE html>", b"<hTml>"])
def test_only_the_known_spellings_of_tags_make_a_text_html(text: bytes) -> None:
    assert identify(text).target is Target.TEXT


def test_a_text_that_becomes_html_late_is_both() -> None:
    late = identify(b"hello\n" * 300 + b"<html>")
    assert late.target is Target.TEXT
    assert late.html_inside


def test_a_message_is_mail_whatever_it_begins_with() -> None:
    part = Part("message", b"DKIM-Signature: v=1\n\n", Role.MESSAGE)
    assert identify(part.data, part).target is Target.MAIL


def test_the_source_of_a_macro_is_matched_as_its_document_is() -> None:
    source = b'Attribute VB_Name = "M"\r\n'
    document = compound_file(vba_project({"M": source}))
    budget = Budget(ScanSettings())
    found = [
        p for p in parts(document, role=Role.FILE, name="a", budget=budget) if isinstance(p, Part)
    ]
    (macro,) = [part for part in found if part.data == source]
    assert identify(source, macro).target is Target.OLE2
    assert identify(source, Part("a.txt", source, Role.FILE)).target is Target.TEXT
    beside = Part("a/b", source, Role.MEMBER, "b.js", parent=found[0])
    assert identify(source, beside).target is Target.TEXT


@pytest.mark.parametrize(
    ("folder", "name"),
    [(b"word/", "WORD"), (b"xl/", "XL"), (b"ppt/", "PPT")],
)
def test_office_documents_are_told_from_other_zip_files(folder: bytes, name: str) -> None:
    entries = b"".join(
        b"PK\x03\x04".ljust(30, b"\0") + entry for entry in (b"[Content_Types].xml", folder)
    )
    assert identify(entries).name == f"CL_TYPE_OOXML_{name}"


def test_sound_and_databases_are_ignored() -> None:
    assert identify(b"ID3\x03").ignored
    assert not identify(b"MZ").ignored


def test_a_table_of_a_set_replaces_the_built_in_one() -> None:
    lines = ["0:0:4d5a:Ours:CL_TYPE_ANY:CL_TYPE_GRAPHICS", "1:2,3:aa??b(c1|c2)b:Bad"]
    magic = parse_line(lines[0])
    assert magic is not None
    types = FileTypes([magic])
    assert types.identify(b"MZ").target is Target.GRAPHICS
    assert types.identify(b"%PDF-1.4").name == "CL_TYPE_TEXT_ASCII"


def test_of_two_lines_that_match_the_later_one_counts() -> None:
    lines = (f"0:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_{t}" for t in ("MSEXE", "ELF"))
    assert FileTypes([m for m in map(parse_line, lines) if m]).identify(b"MZ").name == "CL_TYPE_ELF"


def matches(line: str, data: bytes) -> bool:
    magic = parse_line(line)
    assert isinstance(magic, Magic)
    return magic.matches(data)


def test_magic_patterns_have_wildcards_gaps_and_alternatives() -> None:
    line = "1:1,3:41??4?{2-3}(4b|4c)*5a:x:CL_TYPE_ANY:CL_TYPE_HTML"
    assert matches(line, b"xA.B..K...Z")
    assert matches(line, b"xxxxA.B...LZ")
    assert not matches(line, b"A.B..K...Z")
    assert not matches(line, b"xxxxxA.B..K...Z")
    assert not matches(line, b"xA.B.K...Z")
    assert not matches(line, b"xA.R..K...Z")


@pytest.mark.parametrize(
    "line",
    [
        "0:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_MSEXE:500",
        "0:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_MSEXE::50",
        "4:1024:482B0004:x:CL_TYPE_PART_ANY:CL_TYPE_PART_HFSPLUS:75",
        "1:EOF-512:6b6f6c79:x:CL_TYPE_ANY:CL_TYPE_DMG:75",
    ],
)
def test_lines_that_do_not_concern_us_are_passed_over(line: str) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0:0:4d5a:x:CL_TYPE_ANY",
        "0:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_X:1:2:3",
        "2:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_X",
        "0:*:4d5a:x:CL_TYPE_ANY:CL_TYPE_X",
        "0:x:4d5a:x:CL_TYPE_ANY:CL_TYPE_X",
        "0:0:4d5:x:CL_TYPE_ANY:CL_TYPE_X",
        "0:0::x:CL_TYPE_ANY:CL_TYPE_X",
        "0:0:4d5a:x:CL_TYPE_ANY:exe",
        "0:0:4d5a:x:CL_TYPE_ANY:CL_TYPE_X:new",
        "1:0:4d5:x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:4d{9-3}5a:x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:(4d|):x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:" + "4d" * 5000 + ":x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:((((4d))))" + "(" * 500 + ":x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:" + "*4d" * 17 + ":x:CL_TYPE_ANY:CL_TYPE_X",
        "1:*:4d{0-900}5a*4d:x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:4d{0-900}5a*4d{5-}4d:x:CL_TYPE_ANY:CL_TYPE_X",
        "1:0:" + "(4d|4d4d)" * 30 + ":x:CL_TYPE_ANY:CL_TYPE_X",
    ],
)
def test_a_malformed_line_is_refused_with_its_reason(line: str) -> None:
    with pytest.raises(FormatError):
        parse_line(line)


def test_stars_find_what_lies_behind_each_other_and_cost_no_more_than_one() -> None:
    line = "1:0:41" + "*2e4?" * 15 + "***5a:x:CL_TYPE_ANY:CL_TYPE_HTML"
    assert matches(line, b"A" + b"..B" * 15 + b"Z")
    assert not matches(line, b"A" + b"..B" * 14 + b"Z")
    assert not matches(line, b"A" + b"..B" * 341)  # ways to try: more than seconds in a century


def test_any_bytes_have_a_type() -> None:
    random_ = random.Random(2)
    for _ in range(2000):
        identify(random_.randbytes(random_.randrange(60)))
    assert identify(b"").name == "CL_TYPE_TEXT_ASCII"


@pytest.mark.shared
def test_real_documents_are_of_the_type_that_their_names_say(shared: Path) -> None:
    expected = {
        ".docx": "CL_TYPE_OOXML_WORD",
        ".doc": "CL_TYPE_MSOLE2",
        ".rtf": "CL_TYPE_RTF",
        ".exe": "CL_TYPE_MSEXE",
    }
    found = [
        (path.name, identify(path.read_bytes()).name, expected[path.suffix])
        for path in sorted((shared / "clean").rglob("*"))
        if path.suffix in expected
    ]
    wrong = [names for names in found if names[1] != names[2]]
    assert len(found) > 80
    assert len(wrong) < 0.15 * len(found), wrong
