"""Transfer encodings, charsets and encoded words, decoded as leniently as mail clients do."""

import binascii
import codecs
import re
import string
from urllib.parse import unquote_to_bytes

from mailward.scan.mime import uu

_GUESSED_MIN = 16
"""Letters: fewer are a word."""
_BASE64 = (string.ascii_letters + string.digits + "+/=").encode()
_NOT_BASE64 = bytes(set(range(256)).difference(_BASE64))
_BASE64_RUN = re.compile(rb"[^=]+")
_TOKEN = re.compile(r"[A-Za-z0-9-]+")
_WORD = r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?="
_ENCODED_WORD = re.compile(r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_WORDS = re.compile(rf"(?:{_WORD}\s*)*{_WORD}")
_WHITESPACE = b" \t\r\n\v\f"
_BASE64_CLEAN = re.compile(rb"[A-Za-z0-9+/]*=*")
_URL_LETTERS = re.compile(rb"[-_]")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64_URL = bytes(set(_NOT_BASE64).difference(b"-_"))
_QP_ODD = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_QP_HIDDEN_LINE_END = re.compile(rb"=[ \t]+(?=\r?\n)")

_CHANGE = frozenset(
    (
        "base64",
        "quoted-printable",
        "quotedprintable",
        "x-uuencode",
        "uuencode",
        "x-uue",
        "uue",
        "uu",
    )
)
_IDENTITY = frozenset(("7bit", "8bit", "binary"))

_WIDE = (
    "utf-16", "utf-32", "utf-7", "utf16", "utf32", "utf7", "unicode-1-1-utf-7", "cp037", "ibm037",
    "cp500", "ibm500", "cp1026", "ibm1026", "cp1140", "ibm1140", "hz-gb-2312",
)  # fmt: skip
"""Charsets in which ASCII does not look like ASCII, so that rules would miss it."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARKS = tuple(mark for mark, _ in _BYTE_ORDER_MARKS)


def token(encoding: str) -> str:
    """The name in a Content-Transfer-Encoding, without what it is dressed up with."""
    found = _TOKEN.search(encoding)
    return found[0].lower() if found is not None else ""


def is_known(name: str) -> bool:
    """Whether ``name``, lower case, is an encoding, or says that there is none."""
    return name in _CHANGE or name in _IDENTITY


def changes(name: str) -> bool:
    """Whether ``name``, lower case, is an encoding that must be undone."""
    return name in _CHANGE


def decode_transfer(body: bytes, encoding: str) -> list[bytes]:
    """Undo a Content-Transfer-Encoding (RFC 2045 section 6); nothing if ``body`` is not in it.

    Unknown encodings leave ``body`` as it is, which is what mail clients show. Where mail clients
    read broken encodings differently, each of the readings is given, the usual one first.
    """
    match token(encoding):
        case "base64":
            return _base64(body)
        case "quoted-printable" | "quotedprintable":
            return _quoted_printable(body)
        case "x-uuencode" | "uuencode" | "x-uue" | "uue" | "uu":
            return [data for _, data in uu.decode(body)]
    return [body]


def undeclared_base64(body: bytes) -> list[bytes]:
    """What is base64 from end to end under an encoding that nobody knows: some clients guess."""
    compact = body.translate(None, _WHITESPACE)
    if len(compact) < _GUESSED_MIN:
        return []
    try:
        return [binascii.a2b_base64(compact, strict_mode=True)]
    except binascii.Error:
        return []


def to_utf8(data: bytes, charset: str) -> bytes | None:
    """Text in a wide charset as UTF-8; None if it is in another one, or says itself in which."""
    if not charset.startswith(_WIDE) or data.startswith(_MARKS):
        return None
    return decode(data, charset).encode("utf-8", "replace")


def decode(data: bytes, charset: str) -> str:
    """Text in ``charset``, or the next best reading."""
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError, AttributeError):  # unknown, not a text encoding, not a name
        return text(data)


def text(data: bytes) -> str:
    """By its byte order mark; ASCII or UTF-8 without one; otherwise each byte a character."""
    if data.startswith(_MARKS):
        named = next(name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark))
        return data.decode(named, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decode_words(value: str) -> str:
    """Encoded words (RFC 2047), also inside quotes, where they do not belong but are understood."""
    if "=?" not in value:
        return value
    return _WORDS.sub(_decode_run, value)


def percent(octets: str) -> bytes:
    """Percent-encoding as in RFC 2231 section 4, a character for each byte."""
    return unquote_to_bytes(octets.encode("latin-1", "replace"))


def _decode_run(words: re.Match[str]) -> str:
    """Words that follow each other; a character may be torn between two of the same charset."""
    out: list[str] = []
    pending, last = b"", ""
    for charset, kind, encoded in _ENCODED_WORD.findall(words[0]):
        octets = encoded.encode("ascii", "ignore")
        if kind in "bB":
            octets = b"".join(_base64(octets)[-1:])
        else:
            octets = binascii.a2b_qp(octets, header=True)
        if last and charset.lower() != last:
            out.append(decode(pending, last))
            pending = b""
        pending, last = pending + octets, charset.lower()
    return "".join((*out, decode(pending, last)))


def _base64(body: bytes) -> list[bytes]:
    """Junk is passed over, a torn end is kept.

    Decoders differ about what follows padding (stop, or go on), about other characters (pass
    over, or stop), and about ``-`` and ``_`` (the URL alphabet, or other characters).
    """
    compact = body.translate(None, _WHITESPACE)
    try:
        return [binascii.a2b_base64(compact, strict_mode=True)]
    except binascii.Error:
        pass
    letters = compact.translate(None, _NOT_BASE64)
    runs = [_base64_run(run[0]) for run in _BASE64_RUN.finditer(letters)]
    if not any(runs):
        return [] if compact else [b""]
    readings = [runs[0]] if len(runs) == 1 else [runs[0], b"".join(runs)]
    if len(letters) < len(compact):
        clean = _BASE64_CLEAN.match(compact)
        if clean is not None and len(clean[0].rstrip(b"=")) > 1:
            readings.append(_base64_run(clean[0].rstrip(b"=")))
        if _URL_LETTERS.search(compact):
            translated = compact.translate(_URL_ALPHABET, _NOT_BASE64_URL)
            readings.append(_base64_run(translated.partition(b"=")[0]))
    return list(dict.fromkeys(readings))


def _base64_run(letters: bytes) -> bytes:
    whole = len(letters) - (len(letters) % 4 == 1)  # a single letter more is not even a byte
    return binascii.a2b_base64(letters[:whole] + b"=" * (-whole % 4))


def _quoted_printable(body: bytes) -> list[bytes]:
    """An equals sign that encodes nothing is kept or dropped; blanks behind one hide a line end."""
    usual = binascii.a2b_qp(body)
    if _QP_ODD.search(body) is None:
        return [usual]
    other = binascii.a2b_qp(_QP_ODD.sub(b"", _QP_HIDDEN_LINE_END.sub(b"=", body)))
    return [usual] if other == usual else [usual, other]
