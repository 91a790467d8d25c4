"""Samples for rules/pdf.yar. Scripts do nothing."""

from tests.starter.samples.formats import pdf
from tests.starter.samples.parts import attachment, body, file, member, message

_SCRIPT = "<< /Type /Action /S /JavaScript /JS (var a = 1;) >>"
_PRINT = "<< /S /JavaScript /JS (this.print({bUI: true});) >>"
_LAUNCH = "<< /S /Launch /Win << /F (cmd.exe) /P (/c a) >> >>"
_OPEN_DOCUMENT = "<< /S /Launch /F (appendix.pdf) >>"
_SHOW = "<< /S /GoTo /D [3 0 R /Fit] >>"
_UTF16 = "\u00fe\u00ff" + "".join("\0" + letter for letter in "invoice.exe")


def _embedded(name: str) -> str:
    return f"<< /Type /Filespec /F {name} /UF {name} /EF << /F 12 0 R >> >>"


_ON_OPENING = pdf(_SCRIPT, catalog="/OpenAction 10 0 R")
_CALCULATES = pdf(
    _SHOW,
    "<< /Type /Annot /FT /Tx /AA << /K 12 0 R /C 13 0 R >> >>",
    _SCRIPT,
    _SCRIPT,
    catalog="/OpenAction 10 0 R",
)
_TALK = b"A PDF with /OpenAction, /JS and /Launch of cmd.exe is bad, and so is /J#53."

DETECTED = {
    "Mailward.Pdf.LaunchProgram": [
        attachment("order.pdf", pdf(_LAUNCH, catalog="/OpenAction 10 0 R"), "application/pdf"),
        attachment("order.pdf", pdf("<</F(a.exe)/S/Launch>>")),
        member("order.pdf", pdf("<< /S /Launch /F (powershell) >>")),
    ],
    "Mailward.Pdf.LaunchOnOpening": [
        attachment("order.pdf", pdf(_OPEN_DOCUMENT, catalog="/OpenAction 10 0 R")),
        attachment("order.pdf", pdf(catalog=f"/OpenAction {_OPEN_DOCUMENT}")),
    ],
    "Mailward.Pdf.ScriptOnOpening": [
        attachment("order.pdf", _ON_OPENING, "application/pdf"),
        attachment("order.pdf", pdf(catalog=f"/OpenAction{_SCRIPT}")),
        attachment("order.pdf", pdf(_SHOW, _SCRIPT, catalog="/OpenAction 11 0 R")),
        attachment("order.pdf", pdf(f"<< /Type /Page /AA << /O {_SCRIPT} >> >>")),
        attachment("order.pdf", pdf("<< /Type /Page /AA << /O 11 0 R >> >>", _SCRIPT)),
        attachment("order.pdf", pdf(_SCRIPT, _PRINT, catalog="/OpenAction 10 0 R")),
        attachment("order.pdf", b"\n" * 200 + _ON_OPENING),
        member("order", _ON_OPENING),
        file("order.pdf", _ON_OPENING),
    ],
    "Mailward.Pdf.HiddenAction": [
        attachment("order.pdf", pdf("<< /S /J#61vaScript /#4aS (var a = 1;) >>")),
        attachment("order.pdf", pdf("<< /S /L#61unch /F (appendix.pdf) >>")),
        attachment("order.pdf", pdf(_SHOW, catalog="/Open#41ction 10 0 R")),
    ],
    "Mailward.Pdf.OpensAttachment": [
        attachment(
            "order.pdf",
            pdf(
                '<< /S /JavaScript /JS (this.exportDataObject({ cName: "a.doc", nLaunch: 2 });) >>'
            ),
        ),
    ],
    "Mailward.Pdf.EmbeddedProgram": [
        attachment("order.pdf", pdf(_embedded("(invoice.exe)"))),
        attachment("order.pdf", pdf(_embedded("(Invoice.pdf.JS)"))),
        attachment("order.pdf", pdf(_embedded(f"({_UTF16})"))),
        attachment("order.pdf", pdf(_embedded(f"<{b'invoice.vbs'.hex()}>"))),
    ],
}

LEFT_ALONE = {
    "Mailward.Pdf.LaunchProgram": [
        attachment("manual.pdf", pdf(_OPEN_DOCUMENT)),
        attachment("manual.pdf", pdf("(Launch /F of cmd)", _embedded("(appendix.pdf)"))),
        attachment("notes.txt", _TALK, "text/plain"),
        body(_TALK),
    ],
    "Mailward.Pdf.LaunchOnOpening": [
        attachment("manual.pdf", pdf(_SHOW, _OPEN_DOCUMENT, catalog="/OpenAction 10 0 R")),
        attachment("notes.txt", _TALK, "text/plain"),
    ],
    "Mailward.Pdf.ScriptOnOpening": [
        attachment("letter.pdf", pdf(), "application/pdf"),
        attachment("letter.pdf", pdf(catalog="/OpenAction [3 0 R /Fit]")),
        attachment("form.pdf", _CALCULATES),  # scripts for its fields, not on opening
        attachment("form.pdf", pdf(_SHOW, _SCRIPT, catalog="/OpenAction 1 0 R")),
        attachment("invoice.pdf", pdf(_PRINT, catalog="/OpenAction 10 0 R")),  # prints itself
        attachment("cut.pdf", _ON_OPENING[:70]),
        attachment("notes.txt", _TALK, "text/plain"),
        attachment("empty.pdf", b""),
        message(_ON_OPENING),
    ],
    "Mailward.Pdf.HiddenAction": [
        attachment("order.pdf", _ON_OPENING),
        attachment("letter.pdf", pdf("<< /Type /Font /BaseFont /Arial#20Bold#2cItalic >>")),
        attachment("notes.txt", _TALK, "text/plain"),
    ],
    "Mailward.Pdf.OpensAttachment": [
        attachment(
            "order.pdf",
            pdf('<< /S /JavaScript /JS (this.exportDataObject({ cName: "a.doc" });) >>'),
        ),
        attachment("order.pdf", _ON_OPENING),
    ],
    "Mailward.Pdf.EmbeddedProgram": [
        attachment("invoice.pdf", pdf(_embedded("(factur-x.xml)"))),
        attachment(
            "manual.pdf", pdf("<< /A << /S /URI /URI (https://www.example.org/a.exe) >> >>")
        ),
        attachment("manual.pdf", pdf("<< /F (setup.exe) /S /GoToR >>")),
    ],
}
