"""Transfer encodings, charsets and encoded words, decoded as leniently as mail clients do."""

import binascii
import codecs
import re
import string

_BASE64 = (string.ascii_letters + string.digits + "+/=").encode()
_NOT_BASE64 = bytes(set(range(256)).difference(_BASE64))
_BASE64_RUN = re.compile(rb"[^=]+")
_TOKEN = re.compile(r"[A-Za-z0-9-]+")
_UU_BEGIN = re.compile(rb"^begin(?:-base64)? +[0-7]{3,4} [^\r\n]*(?:\r\n|\n|\r)", re.MULTILINE)
_ENCODED_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?[^?\s]+\?[bBqQ]\?)")

_WIDE = ("utf-16", "utf-32", "utf-7", "utf16", "utf32", "utf7")
"""Charsets in which ASCII does not look like ASCII, so that rules would miss it."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_transfer(body: bytes, encoding: str) -> list[bytes]:
    """Undo a Content-Transfer-Encoding (RFC 2045 section 6); nothing if ``body`` is not in it.

    Unknown encodings leave ``body`` as it is, which is what mail clients show. Base64 that goes on
    behind its padding has two readings: mail clients either stop there or read on.
    """
    token = _TOKEN.search(encoding)
    match token[0].lower() if token is not None else "":
        case "base64":
            return _base64(body)
        case "quoted-printable":
            return [binascii.a2b_qp(body)]
        case "x-uuencode" | "uuencode" | "x-uue" | "uue":
            return _uu(body)
    return [body]


def to_utf8(data: bytes, charset: str) -> bytes | None:
    """Text in a wide charset as UTF-8; None if it is in another one."""
    named = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if named is None and charset.startswith(_WIDE):
        named = charset
    return decode(data, named).encode("utf-8", "replace") if named is not None else None


def decode(data: bytes, charset: str) -> str:
    """Text in ``charset``, or the next best reading."""
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError, AttributeError):  # unknown, not a text encoding, not a name
        return text(data)


def text(data: bytes) -> str:
    """Bytes that should be ASCII or UTF-8; otherwise each byte a character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_words(value: str) -> str:
    """Encoded words (RFC 2047), also inside quotes, where they do not belong but are understood."""
    if "=?" not in value:
        return value
    return _ENCODED_WORD.sub(_word, _BETWEEN_WORDS.sub(r"\1", value))


def _word(found: re.Match[str]) -> str:
    charset, kind, encoded = found.groups()
    if kind in "bB":
        octets = b"".join(_base64(encoded.encode("ascii", "ignore"))[-1:])
    else:
        octets = binascii.a2b_qp(encoded.encode("ascii", "ignore"), header=True)
    return decode(octets, charset)


def _base64(body: bytes) -> list[bytes]:
    """Junk is passed over, a torn end is kept."""
    letters = body.translate(None, _NOT_BASE64)
    runs = [_base64_run(run[0]) for run in _BASE64_RUN.finditer(letters)]
    if not any(runs):
        return [] if body.strip() else [b""]
    return [runs[0]] if len(runs) == 1 else [runs[0], b"".join(runs)]


def _base64_run(letters: bytes) -> bytes:
    whole = len(letters) - (len(letters) % 4 == 1)  # a single letter more is not even a byte
    return binascii.a2b_base64(letters[:whole] + b"=" * (-whole % 4))


def _uu(body: bytes) -> list[bytes]:
    begin = _UU_BEGIN.search(body)
    if begin is None:
        return []
    out = bytearray()
    for line in body[begin.end() :].splitlines():
        if line.strip() in (b"end", b"`", b""):
            break
        try:
            out += binascii.a2b_uu(line)
        except binascii.Error:
            # Some encoders leave out trailing blanks, some add a checksum: as long as it says.
            size = ((line[0] - 32 & 63) * 4 + 5) // 3
            try:
                out += binascii.a2b_uu(line[:size].ljust(size))
            except binascii.Error:
                continue
    return [bytes(out)]
