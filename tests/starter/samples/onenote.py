"""Samples for rules/onenote.yar."""

from tests.starter.samples import formats
from tests.starter.samples.parts import attachment, file, member

_HTA = b"<html><head><HTA:APPLICATION icon='#'></head></html>"
_BAT = b"@echo off\r\nstart a.exe\r\n"
_WSF = b'<job><script language="VBScript">CreateObject("WScript.Shell")</script></job>'
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(80)
_NOTES = "Remember: powershell scripts begin with @echo off, said nobody".encode("utf-16-le")

DETECTED = {
    "Mailward.OneNote.Program": [
        attachment("invoice.one", formats.onenote(_PNG, formats.pe())),
        attachment("invoice.one", formats.onenote(formats.shell_link("..\\cmd.exe"))),
        member("invoice.one", formats.onenote(b"ITSF\x03\0\0\0" + bytes(90))),
        file("invoice.one", formats.onenote(_PNG, _HTA)),
    ],
    "Mailward.OneNote.Script": [
        attachment("invoice.one", formats.onenote(_PNG, _BAT)),
        attachment("invoice.one", formats.onenote(_WSF)),
        attachment("invoice.one", formats.onenote("powershell -c nothing".encode("utf-16-le"))),
        member("invoice.one", formats.onenote(b"#@~^AAAAAA==")),
    ],
}

LEFT_ALONE = {
    "Mailward.OneNote.Program": [
        attachment("notes.one", formats.onenote()),
        attachment("notes.one", formats.onenote(_PNG, b"%PDF-1.7", b"PK\x03\x04")),
        attachment("notes.one", formats.onenote(_PNG) + b"about <hta:application> tags"),
        attachment("cut.one", formats.onenote(_HTA)[:1040]),
        attachment("setup.exe", formats.pe()),
    ],
    "Mailward.OneNote.Script": [
        attachment("notes.one", formats.onenote(_PNG)),
        attachment("notes.one", formats.onenote(_PNG) + _NOTES),
        attachment("notes.txt", b"powershell and @echo off", "text/plain"),
    ],
}
