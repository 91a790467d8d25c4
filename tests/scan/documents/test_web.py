import base64
import re
import zlib
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailward.scan.budget import Budget
from mailward.scan.documents import encoded_script
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, Attachment, zipped

Files = Callable[..., dict[str, bytes]]

PROGRAM = b"MZ" + EICAR * 2
LETTERS = base64.b64encode(PROGRAM)
PERCENT_U = b"".join(b"%%u%02x%02x" % (PROGRAM[i + 1], PROGRAM[i]) for i in range(0, 138, 2))


def test_scripts_by_themselves(files: Files) -> None:
    found = files(b"<html>" + b" " * 99 + b"<SCRIPT type=x>alert(1)</script><script>alert(2)")
    assert found["a/script 1"] == b"alert(1)"
    assert found["a/script 2"] == b"alert(2)"


@pytest.mark.parametrize(
    "page",
    [
        b'<a href="data:application/octet-stream;base64,' + LETTERS + b'">',
        b"<a href='data:;base64," + LETTERS + b"'>",
        b'<svg><image href="data:x/y;charset=utf-8;base64,' + LETTERS + b'"/></svg>',
        b'<a href="data:x/y,' + quote(PROGRAM, safe="").encode() + b'">',
        b'<script>f = atob("' + LETTERS + b'")</script>',
        b"<script>f = atob('" + b"' + \n'".join(re.findall(b".{1,20}", LETTERS)) + b"')",
        b"<script>new Uint8Array([" + b",".join(b"%d" % b for b in PROGRAM) + b"])",
        b"<script>new Uint8Array([" + b", ".join(b"0x%02x" % b for b in PROGRAM) + b"])",
        b"<script>new Uint8Array('" + PROGRAM.hex().encode() + b"'.match(/../g))",
        b"<script>String.fromCharCode(" + b",".join(b"%d" % b for b in PROGRAM) + b")",
        b'<script>unescape("' + "".join(f"%{b:02x}" for b in PROGRAM).encode() + b'")',
        b'<script>new Blob(["' + "".join(f"\\x{b:02x}" for b in PROGRAM).encode() + b'"])',
        b"<script>var base64 = `" + base64.encodebytes(PROGRAM) + b"`",
        b"<script>a='" + LETTERS[:90] + b"';\n a += '" + LETTERS[90:] + b"'; atob(a)",
        b"<script>atob(['" + b"', '".join(re.findall(b".{1,20}", LETTERS)) + b"'].join(''))",
        b'<script>unescape("' + PERCENT_U + b'")',
        b'<script>f("' + "".join(f"\\u{b:04x}" for b in EICAR * 2).encode() + b'")',
        b'<a href="&#100;ata:x/y;base64,' + LETTERS + b'">',
        b'<a href="&#x44;ata&colon;x/y;base64,' + LETTERS + b'">',
        b'<a href="da\r\n\tta:x/y;base64,' + LETTERS + b'">',
        b"<iframe srcdoc='&lt;a href=&#34;data:x/y;base64," + LETTERS + b"&#34;&gt;'>",
        b"<div id=x>" + LETTERS + b"</div><script>atob(x.innerText)</script>",
    ],
    ids=["data", "data without a type", "SVG", "data in percent", "atob", "atob in pieces",
         "numbers", "hexadecimal numbers", "hexadecimal text", "fromCharCode", "unescape",
         "escaped", "lines", "added", "joined", "percent u", "u", "reference", "references",
         "line ends", "page in a page", "in the page"],
)  # fmt: skip
def test_smuggled_files_are_found(files: Files, page: bytes) -> None:
    assert any(EICAR * 2 in content for path, content in files(page).items() if path != "a")


@pytest.mark.parametrize(
    "script",
    [
        b'x = "' + PROGRAM.hex().encode() + b'"\r\ny = Chr("&H" & Mid(x, i, 2))',
        b"x = " + b" & _\r\n".join(b"Chr(%d)" % b for b in PROGRAM),
        b"x = " + b"&".join(b"ChrW(&H%x)" % b for b in PROGRAM),
        b"powershell.exe -NoP -eNc " + base64.b64encode((EICAR * 2).decode().encode("utf-16-le")),
        b"start pwsh /e '" + base64.b64encode((EICAR * 2).decode().encode("utf-16-le")) + b"'",
        b"@echo off\r\n-----BEGIN CERTIFICATE-----\r\n"
        + base64.encodebytes(PROGRAM)
        + b"-----END CERTIFICATE-----\r\ncertutil -decode %0 a.exe",
        b'$x = [Convert]::FromBase64String("' + LETTERS + b'")',
    ],
    ids=["hexadecimal", "Chr", "ChrW", "encoded command", "another dash", "PEM", "PowerShell"],
)
def test_what_scripts_carry_is_found(files: Files, script: bytes) -> None:
    assert any(EICAR * 2 in content for path, content in files(script).items() if path != "a")
    wide = ("\ufeff" + script.decode("latin-1")).encode("utf-16-le")
    assert any(EICAR * 2 in content for content in files(wide, "a.vbs").values())


def test_certificates_keys_and_signatures_are_left_alone(files: Files) -> None:
    der = base64.encodebytes(b"\x30\x82" + PROGRAM)
    for title in (b"CERTIFICATE", b"PGP SIGNATURE"):
        text = b"-----BEGIN %b-----\n\n%b-----END %b-----\n" % (title, der, title)
        assert len(files(text)) == 1


def test_an_archive_that_is_smuggled_is_opened(files: Files) -> None:
    inner = base64.b64encode(zipped(Attachment("a.com", EICAR)))
    assert EICAR in files(b"<script>b = atob('" + inner + b"')</script>").values()


def test_a_page_in_a_page(files: Files) -> None:
    inner = b"<script>atob('" + LETTERS + b"')</script>"
    page = b'<iframe src="data:text/html;base64,' + base64.b64encode(inner) + b'">'
    assert PROGRAM in files(page).values()


def test_encoded_scripts_are_decoded(files: Files) -> None:
    encoded = b"#@~^BgAAAA==\\ko$K6XgIAAA==^#~@"
    assert files(encoded, "a.vbe")["a.vbe/script"] == b"MsgBox"
    assert files(b"<script language=VBScript.Encode>" + encoded)["a/script"] == b"MsgBox"


def test_every_letter_comes_back_from_the_encoding() -> None:
    budget = Budget(ScanSettings())
    for letter in range(33, 127):
        for turn in range(64):
            alphabet = encoded_script._ALPHABETS[encoded_script._TURNS[turn]]
            if bytes((letter,)) in b"<>@":
                continue
            if letter not in alphabet:
                continue
            code = alphabet.index(letter) + 32
            if bytes((code,)) in b"<>@":
                continue
            front = b"\x01" * turn
            assert encoded_script.decode(front + bytes((code,)), budget)[-1] == letter


def test_flash_is_unpacked(files: Files) -> None:
    film = b"FWS\x0a" + (8 + len(PROGRAM)).to_bytes(4, "little") + PROGRAM
    packed = b"CWS" + film[3:8] + zlib.compress(film[8:])
    assert files(packed)["a/film"] == film


def test_plain_text_and_pages_are_left_alone(files: Files) -> None:
    assert len(files(b"<html><body><p>Hello, here is our data: figures, and so on</p></html>")) == 1
    assert len(files(b"plain text, base64 or not")) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.lists(
        st.sampled_from(
            [b"<script", b">", b"</script>", b"data:", b";base64", b",", b"QUJD" * 20, b"atob('",
             b"'", b"%41" * 20, b"unescape", b"[1,2,", b"999,", b"#@~^AAAAAA==", b"\\x41" * 70,
             b"' + '", b"uint8array", b"srcdoc='", b"da\tta:", b"&#100;", b"%u4142" * 20,
             b"chr(65)&" * 20, b"powershell -e ", b"-----BEGIN X-----\n", b".join(", b"','"]
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_arrangement_is_survived(files: Files, tokens: list[bytes]) -> None:
    files(b"".join(tokens))
