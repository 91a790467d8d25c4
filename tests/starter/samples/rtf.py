"""Samples for rules/rtf.yar: the beginnings of objects, without what would follow."""

from tests.starter.samples.formats import rtf
from tests.starter.samples.parts import attachment, body, member, message

_NAME = b"Equation.3\0".hex()
_OLE1 = "0105000002000000" + "0b000000" + _NAME + "00000000" * 8
_CLASS = "d0cf11e0a1b11ae1" + "0" * 900 + "02ce020000000000c000000000000046" + "0" * 40


def _object(data: str, control: str = "\\objemb", name: str = "") -> bytes:
    objclass = f"{{\\*\\objclass {name}}}" if name else ""
    return rtf(f"{{\\object{control}{objclass}{{\\*\\objdata {data}}}}}")


_OLD_EQUATION = _object(_OLE1, name="Equation.3")
_PACKAGE = "0105000002000000" + "08000000" + b"Package\0".hex() + "00" * 8
_MONIKER = (
    "e0c9ea79f9bace118c8200aa004ba90b"
    + "4c000000"
    + "http://host.invalid/".encode("utf-16-le").hex()
)
_PICTURE = "0105000002000000" + "0e000000" + b"Paint.Picture\0".hex() + b"BM".hex()

DETECTED = {
    "Mailward.Rtf.EquationObject": [
        attachment("letter.rtf", _OLD_EQUATION),
        attachment("letter.doc", _object(_OLE1.upper())),
        attachment("letter.doc", _object(" ".join(_OLE1))),
        member("letter.doc", _object("{\\*\\junk a}\n" + "\n".join(_OLE1))),
        attachment("letter.doc", _object(_CLASS)),
    ],
    "Mailward.Rtf.EquationExploit": [
        attachment("letter.doc", _object(_OLE1, "\\objemb\\objupdate")),
        attachment("letter.doc", _object("  ".join(_OLE1))),
        attachment("letter.doc", _OLD_EQUATION.replace(b"{\\rtf1", b"{\\rt")),
        member("letter.rtf", _object(_CLASS, "\\objocx\\objupdate")),
    ],
    "Mailward.Rtf.PackagedProgram": [
        attachment("letter.doc", _object(_PACKAGE + b"a.exe\0".hex())),
        attachment("letter.rtf", _object(_PACKAGE + b"a.sct\0".hex())),
        attachment("letter.rtf", _object(_PACKAGE + "4d5a90000300000004000000ffff0000")),
    ],
    "Mailward.Rtf.RemoteObject": [
        attachment("letter.doc", _object(_MONIKER, "\\objautlink\\objupdate")),
        attachment("letter.doc", _object(_MONIKER.upper(), "\\objautlink")),
    ],
    "Mailward.Rtf.RemoteTemplate": [
        attachment("letter.rtf", rtf("{\\*\\template http://host.invalid/a.dotm}")),
        attachment("letter.rtf", rtf("{\\*\\template \\u-65432?\\u-65420?\\u-65420?\\u-65424?}")),
    ],
}

LEFT_ALONE = {
    "Mailward.Rtf.EquationObject": [
        attachment(
            "letter.rtf", rtf("Equation.3 is the old editor; 4571756174696f6e2e33 in numbers")
        ),
        attachment("letter.rtf", _object(_PICTURE, name="Paint.Picture")),
        attachment("letter.rtf", _object(_OLE1[:30])),
        attachment("notes.txt", b"look for \\objdata 4571756174696f6e2e33", "text/plain"),
        body(_OLD_EQUATION),
        message(_OLD_EQUATION),
        attachment("empty.rtf", b""),
    ],
    "Mailward.Rtf.EquationExploit": [
        attachment("paper.rtf", _OLD_EQUATION),  # honest, if old
        attachment("letter.rtf", _object(_PICTURE, "\\objemb\\objupdate")),
        attachment("letter.rtf", rtf("\\objupdate")),
    ],
    "Mailward.Rtf.PackagedProgram": [
        attachment("letter.rtf", _object(_PACKAGE + b"table.csv\0".hex())),
        attachment("letter.rtf", _object(_PICTURE + b"a.exe\0".hex())),
        attachment("letter.rtf", rtf("Package a.exe")),
    ],
    "Mailward.Rtf.RemoteObject": [
        attachment("letter.rtf", _object(_MONIKER)),  # fetched only when the reader asks
        attachment(
            "letter.rtf", rtf('{\\field{\\*\\fldinst HYPERLINK "http://www.example.org/"}}')
        ),
        attachment("letter.rtf", _object(_PICTURE, "\\objautlink")),
    ],
    "Mailward.Rtf.RemoteTemplate": [
        attachment("letter.rtf", rtf("{\\*\\template C:\\\\Office\\\\Normal.dotm}")),
        attachment("letter.rtf", rtf("a template at http://www.example.org/")),
    ],
}
