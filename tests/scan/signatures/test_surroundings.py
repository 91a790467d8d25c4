import io
import zipfile
from pathlib import Path

import pytest

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.part import Part, Role
from mailward.scan.signatures.phishing import SPOOFED

PAGE = b'<html><a href="http://evil.test">www.example.com</a>'
MESSAGE = Part("message", b"From: a\n\n", Role.MESSAGE)
ARCHIVE = Part("message/a.lha", b"..-lh5-", Role.ATTACHMENT, "a.lha", parent=MESSAGE)


class Prepared:
    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        sources = []
        for name, text in files.items():
            path = folder / name
            path.write_text(text)
            sources.append(Source(name, ShardKind.CLAMAV, path))
        into = folder / "prepared"
        into.mkdir()
        engine = SignaturesEngine()
        self.preparation: Preparation = engine.prepare(sources, into)
        self._detector = engine.load(into)

    def scan(self, part: Part, timeout_s: float = 5) -> list[Hit]:
        return list(self._detector.scan(part, timeout_s))


def test_a_link_in_a_mail_that_shows_an_imitated_host_is_suspicious(tmp_path: Path) -> None:
    prepared = Prepared(
        tmp_path, {"a.pdb": "H:example.com\n", "a.wdb": "M:good.test:example.com\n"}
    )
    body = Part("message/1", PAGE, Role.BODY, parent=MESSAGE)
    assert prepared.scan(body) == [Hit(SPOOFED, suspicious=True)]
    good = Part("message/1", PAGE.replace(b"evil", b"good"), Role.BODY, parent=MESSAGE)
    assert prepared.scan(good) == []
    assert prepared.scan(Part("file", PAGE, Role.FILE)) == []  # no mail
    assert prepared.preparation.kinds == {"pdb": 1, "wdb": 1}


def test_a_member_that_a_container_rule_asks_for_is_found(tmp_path: Path) -> None:
    rules = "Bad.Name:*:*:\\.exe$:*:3:*:*:*:*\nOther:CL_TYPE_RAR:*:exe:*:*:*:*:*:*\n"
    prepared = Prepared(tmp_path, {"a.cdb": rules})
    member = Part("message/a.lha/x.exe", b"abc", Role.MEMBER, "x.exe", parent=ARCHIVE)
    assert prepared.scan(member) == [Hit("Bad.Name")]
    longer = Part("message/a.lha/x.exe", b"abcd", Role.MEMBER, "x.exe", parent=ARCHIVE)
    assert prepared.scan(longer) == []


def test_a_rule_that_the_set_ignores_is_not_used(tmp_path: Path) -> None:
    files = {"a.cdb": "Bad:*:*:exe:*:*:*:*:*:*\n", "a.ign2": "Bad\n"}
    prepared = Prepared(tmp_path, files)
    member = Part("message/a.lha/x.exe", b"abc", Role.MEMBER, "x.exe", parent=ARCHIVE)
    assert prepared.scan(member) == []


def test_rules_on_a_huge_container_end_by_the_clock(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.txt", b"")
    prepared = Prepared(tmp_path, {"a.cdb": "Last:*:*:^299:*:*:*:*:*:*\n"})
    part = Part("a.zip", content.getvalue(), Role.ATTACHMENT, "a.zip")
    assert prepared.scan(part) == [Hit("Last")]
    with pytest.raises(ScanTimeoutError):
        prepared.scan(part, timeout_s=0)


def test_a_table_of_file_types_decides_which_signatures_are_for_a_part(tmp_path: Path) -> None:
    files = {
        "a.ftm": "0:0:5858:Ours:CL_TYPE_ANY:CL_TYPE_GRAPHICS\n",
        "a.ndb": "Picture:5:*:6162636465\n",
    }
    assert Prepared(tmp_path, files).scan(Part("file", b"XXabcde", Role.FILE)) == [Hit("Picture")]


def test_what_lies_in_an_office_document_lies_in_a_zip_too(tmp_path: Path) -> None:
    lines = [
        f"{name};Engine:51-255,{where}:CL_TYPE_{type_},Target:0;0;6162636465"
        for name, where, type_ in (
            *(("A", "Container", "ZIP"), ("B", "Container", "OOXML_WORD")),
            *(("C", "Container", "OOXML_XL"), ("D", "Intermediates", "ZIP")),
            *(("E", "Intermediates", "OOXML_WORD"), ("F", "Intermediates", "OOXML_XL")),
        )
    ]
    prepared = Prepared(tmp_path, {"a.ldb": "\n".join(lines) + "\n"})
    entries = [b"PK\x03\x04".ljust(30, b"\0") + name for name in (b"[Content_Types].xml", b"word/")]
    document = Part("a.docx", b"".join(entries) + bytes(60), Role.ATTACHMENT, "a.docx")
    member = Part("a.docx/x", b"abcde", Role.MEMBER, "x", parent=document)
    assert {hit.name for hit in prepared.scan(member)} == {"A", "B", "D", "E"}


@pytest.mark.parametrize("name", ["a.pdb", "a.wdb", "a.gdb", "a.cdb", "a.ftm"])
def test_a_malformed_line_is_named_and_the_others_are_used(tmp_path: Path, name: str) -> None:
    good = {
        "a.pdb": "H:a.com",
        "a.wdb": "M:a.com:b.com",
        "a.gdb": "S:P:01234567",
        "a.cdb": "A:*:*:x:*:*:*:*:*:*",
        "a.ftm": "0:0:5858:x:CL_TYPE_ANY:CL_TYPE_GRAPHICS",
    }[name]
    prepared = Prepared(tmp_path, {name: f"{good}\nnonsense\n"})
    assert prepared.preparation.signatures == 1
    assert [(r.shard, r.line) for r in prepared.preparation.refused] == [(name, 2)]
