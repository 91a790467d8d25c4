"""Scripts encoded for Windows Script Host (``.vbe``, ``.jse``, ``VBScript.Encode`` in HTML).

Three alphabets take turns; the tables are Microsoft's (screnc.exe).
"""

import re

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece
from mailward.scan.part import Role

MARK = b"#@~^"

_ENCODED = re.compile(rb"#@~\^.{6}==(.*?)(?:.{6}==\^#~@|\Z)", re.DOTALL)
_TURNS = bytes(map(int, "0120121221210212021200122102122100212120200120210212001220012021"))
_ALPHABETS = tuple(
    bytes.fromhex(digits)
    for digits in (
        "2E477A56426A2F26494134325B7672433839704568714F09624423754A7E4A5E"
        "40774A615D224B6F4E3B4C50672A7D74542B2D2C306E6B66352521644D52633F"
        "7B7829287359337F6D55537C3A5F65465831696C5A48275C3D24793760512036",
        "2D755260715E495C627D2936207C7A7F6B63332B68516676316454434C3A4C7E"
        "4C452C2A7427374479592F6F26726A397B3F387767534734785D30235A5B6C48"
        "5570692E4C21244E5009567335614B583B57226D4D2528464A32413D5F4F4265",
        "323021295B38333D583A3565395C5673664E456B6259785E7D4A6D7141604153"
        "40422748727531374D5222546A47642D207F2E4C5D7E6C6F797443267625242B"
        "28234134092A443F773B55696163506751494F46687C36706E7A2F5F4B5A2C57",
    )
)
"""For the characters 32 to 127."""
_TAB = (0x57, 0x6E, 0x7B)
_AS_THEY_ARE = b"<>@"
_ESCAPES = {b"@&": b"\n", b"@#": b"\r", b"@*": b">", b"@!": b"<", b"@$": b"@"}
_ESCAPE = re.compile(rb"@[&#*!$]")
_PRINTABLE = range(32, 128)
_CHECK_EVERY_BYTES = 64 * 1024


def is_encoded(data: bytes) -> bool:
    """Whether there is one."""
    return MARK in data and _ENCODED.search(data) is not None


def read(data: bytes, _name: str, budget: Budget) -> Contents:
    """Each of them. Raises only Spent."""
    for found in _ENCODED.finditer(data):
        yield Piece(
            decode(found[1], budget), Role.MEMBER, label="script", content_type="text/plain"
        )


def decode(encoded: bytes, budget: Budget) -> bytes:
    """What stands between the marks."""
    out = bytearray()
    turn = 0
    for at, byte in enumerate(_ESCAPE.sub(lambda found: _ESCAPES[found[0]], encoded)):
        if not at % _CHECK_EVERY_BYTES:
            budget.check_time()
        if byte in _PRINTABLE and byte not in _AS_THEY_ARE:
            out.append(_ALPHABETS[_TURNS[turn]][byte - 32])
        elif byte == 9:
            out.append(_TAB[_TURNS[turn]])
        else:
            out.append(byte)
        if byte < 128:
            turn = (turn + 1) % 64
    return bytes(out)
