"""What a text has to hold for readers to look into it, found in one pass over it by Vectorscan.

Most texts of most mail hold none of it, and then nothing else is looked for. Case does not count.
"""

import threading

import hyperscan

SCRIPT, DATA, ATOB, BASE64, UNESCAPE, CHARACTERS, ARRAY, BYTES, BLOB, ESCAPED, ENCODED = (
    1 << bit for bit in range(11)
)
"""Of pages and scripts (``documents.web``)."""
CHR, HEXADECIMAL, POWERSHELL, PEM, PAGE_WITHIN, DISGUISED = (1 << bit for bit in range(11, 17))
"""Of them, too."""
UU, YENC, BINHEX = (1 << bit for bit in range(17, 20))
"""Of files in texts (``mime.inline``)."""

_EXPRESSIONS = {
    rb"<script": SCRIPT,
    rb"data:": DATA,
    rb"atob": ATOB,
    rb"base64": BASE64,
    rb"unescape": UNESCAPE,
    rb"decodeuri": UNESCAPE,
    rb"fromcharcode": CHARACTERS,
    rb"array\(": ARRAY,
    rb"uint8array": BYTES | BLOB,
    rb"bytearray": BYTES,
    rb"blob": BLOB,
    rb"\\x[0-9a-f]{2}\\x": ESCAPED,
    rb"\\u[0-9a-f]{4}\\u": ESCAPED,
    rb"chrw?\([0-9 &h]{1,9}\)[ _]?[&+]": CHR,
    rb"\"&h\"": HEXADECIMAL,
    rb"parseint\(": HEXADECIMAL,
    rb"powershell": POWERSHELL,
    rb"pwsh": POWERSHELL,
    rb"-----begin ": PEM,
    rb"srcdoc": PAGE_WITHIN,
    rb"d[\t\r\n]+a[\t\r\n]*t[\t\r\n]*a[\t\r\n]*:": DISGUISED,
    rb"da[\t\r\n]+t[\t\r\n]*a[\t\r\n]*:": DISGUISED,
    rb"dat[\t\r\n]+a[\t\r\n]*:": DISGUISED,
    rb"data[\t\r\n]+:": DISGUISED,
    rb"&#0{0,6}(?:97|100|116|58|65|68|84);": DISGUISED,
    rb"&#x0{0,6}(?:61|64|74|3a|41|44|54);": DISGUISED,
    rb"data&colon": DISGUISED,
    rb"#@~\^": ENCODED,
    rb"begin(?:-base64)? +[0-7]{3,4} ": UU,
    rb"=ybegin ": YENC,
    rb"\(This file must be converted with BinHex": BINHEX,
}
_BITS = tuple(_EXPRESSIONS.values())


class _Search(threading.local):
    """Vectorscan's own memory is for one thread at a time."""

    def __init__(self) -> None:
        self.database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        once = hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH
        self.database.compile(expressions=list(_EXPRESSIONS), flags=[once] * len(_EXPRESSIONS))
        self.scratch = hyperscan.Scratch(self.database)
        self.found = 0

    def note(self, number: int, _start: int, _end: int, _flags: int, _context: object) -> None:
        self.found |= _BITS[number]


_search = _Search()


def of(data: bytes) -> int:
    """Those that are in ``data``, as bits."""
    search = _search
    search.found = 0
    search.database.scan(data, match_event_handler=search.note, scratch=search.scratch)
    return search.found
