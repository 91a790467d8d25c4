"""Ordinary mail in which nothing may be found: every trial scans it (S2).

Small on purpose: it catches the signature that hits everything. A publisher's collection and the
administrator's own mail catch the rest.
"""

import io
import zipfile
from email.message import EmailMessage

_TEXT = """Dear colleagues,

please find attached the minutes of our meeting on Tuesday and the figures for the third quarter.
The invoice was paid on the 14th; your order 20417 ships tomorrow. If you have lost your password,
ask the service desk (extension 4711). More at https://www.example.org/news.

Kind regards
"""

_HTML = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Newsletter</title>
<style>body{font-family:sans-serif}</style></head><body><h1>News of the month</h1>
<p>Read <a href="https://www.example.org/news?id=17">the full story</a> or
<a href="https://www.example.org/unsubscribe">unsubscribe</a>.</p>
<img src="https://www.example.org/logo.png" width="120" alt="logo"></body></html>
"""

_PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 144]/Contents 4 0 R>>endobj
4 0 obj<</Length 44>>stream
BT /F1 18 Tf 20 100 Td (Minutes of meeting) Tj ET
endstream endobj
trailer<</Root 1 0 R>>
%%EOF
"""

_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)

_CALENDAR = """BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//example//EN\r
METHOD:REQUEST\r
BEGIN:VEVENT\r
UID:17@example.org\r
DTSTART:20261201T090000Z\r
SUMMARY:Budget review\r
END:VEVENT\r
END:VCALENDAR\r
"""


def messages() -> list[tuple[str, bytes]]:
    """Name and raw message (RFC 5322, CRLF) of each."""
    return [
        ("plain text", _message(_TEXT)),
        ("HTML newsletter", _message(_TEXT, html=_HTML)),
        ("PDF document", _message(_TEXT, attachment=("minutes.pdf", _PDF, "application/pdf"))),
        ("picture", _message(_TEXT, attachment=("logo.png", _PNG, "image/png"))),
        (
            "text document",
            _message(
                _TEXT,
                attachment=(
                    "figures.docx",
                    _open_xml(),
                    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                ),
            ),
        ),
        ("archive", _message(_TEXT, attachment=("figures.zip", _zip(), "application/zip"))),
        (
            "invitation",
            _message(_TEXT, attachment=("invite.ics", _CALENDAR.encode(), "text/calendar")),
        ),
        ("no content", b"From: a@example.org\r\nTo: b@example.org\r\nSubject: empty\r\n\r\n"),
    ]


def _message(
    text: str, html: str | None = None, attachment: tuple[str, bytes, str] | None = None
) -> bytes:
    message = EmailMessage()
    message["From"] = "Ann Example <ann@example.org>"
    message["To"] = "Bob Example <bob@example.org>"
    message["Subject"] = "Minutes and figures"
    message["Date"] = "Mon, 23 Nov 2026 10:00:00 +0100"
    message["Message-ID"] = "<20261123.1@example.org>"
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    if attachment is not None:
        name, content, content_type = attachment
        maintype, _, subtype = content_type.partition("/")
        message.add_attachment(content, maintype, subtype, filename=name)
    return message.as_bytes().replace(b"\n", b"\r\n")


def _zip_of(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def _zip() -> bytes:
    return _zip_of({"figures.csv": "quarter;revenue\r\n3;104711\r\n", "readme.txt": _TEXT})


_CONTENT_TYPES = """<?xml version="1.0"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="xml" ContentType="application/xml"/></Types>"""

_DOCUMENT = """<?xml version="1.0"?>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">
<w:body><w:p><w:r><w:t>Figures</w:t></w:r></w:p></w:body></w:document>"""


def _open_xml() -> bytes:
    return _zip_of({"[Content_Types].xml": _CONTENT_TYPES, "word/document.xml": _DOCUMENT})
