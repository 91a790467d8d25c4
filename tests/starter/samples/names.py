"""Samples for rules/names.yar."""

from tests.starter.samples.parts import attachment, body, file, member

DETECTED = {
    "Mailward.Name.DoubleExtension": [
        attachment("invoice.pdf.exe", b"x"),
        attachment("Invoice.PDF.Js", b"x"),
        attachment("holiday.jpg.scr.", b"x"),
        attachment("a.doc     .hta", b"x"),
        member("2026/scan.pdf.lnk", b"x"),
        file("scan.docx_.vbs", b"x"),
    ],
    "Mailward.Name.HiddenExtension": [
        attachment("photo_\u202egpj.exe", b"x"),
        attachment("\u202efdp.scr", b"x"),
        attachment("invoice.pdf" + " " * 80 + ".exe", b"x"),
        attachment("invoice" + "\u00a0" * 10 + ".js", b"x"),
        member("invoice.pdf" + "\u3000" * 9 + ".vbs", b"x"),
    ],
}

LEFT_ALONE = {
    "Mailward.Name.DoubleExtension": [
        attachment("invoice.pdf", b"x"),
        attachment("invoice.2026.12.pdf", b"x"),
        attachment("setup.exe", b"x"),
        attachment("report.final.docx.zip", b"x"),
        member("build/pdf.js", b"x"),
        member("templates/index.html.js", b"x"),
        member("docs.pdf/setup.exe", b"x"),
        attachment("www.example.zip.com", b"x"),
        body(b"never open invoice.pdf.exe"),
    ],
    "Mailward.Name.HiddenExtension": [
        attachment("\u05de\u05e1\u05de\u05da \u202e2026\u202c.pdf", b"x"),
        attachment(
            "\u200f\u05ea\u05de\u05d5\u05e0\u05d4.exe", b"x"
        ),  # U+200F only marks a direction
        attachment("minutes     of     the     meeting.pdf", b"x"),
        attachment("setup 2.exe", b"x"),
        body("a name such as photo_\u202egpj.exe".encode()),
    ],
}
