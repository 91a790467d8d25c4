"""What scripts unpack from texts: base64, numbers, escapes, PowerShell's commands, PEM.

Nothing is run: what is computed stays unknown. Texts that a script puts together with ``+``, ``+=``
or ``join`` are put together.
"""

import binascii
import re
from collections.abc import Callable, Iterator

from mailward.scan import encodings, marks

_BASE64 = re.compile(rb"[\"'`>]\s*+((?:[A-Za-z0-9+/_-]{4}[\r\n\\ n]*+){16,}+[A-Za-z0-9+/=_-]{0,4})")
_NOT_BASE64 = re.compile(rb"\\[rn]|[^A-Za-z0-9+/_=-]")
_JOINED = re.compile(rb"[\"'`]\s{0,100}(?:\+|;?\s{0,100}[\w$.]{1,60}\s{0,100}\+=)\s{0,100}[\"'`]")
_LISTED = re.compile(rb"[\"'`]\s{0,100}[,+]\s{0,100}[\"'`]")
_JOIN = b".join("
_HEX = re.compile(rb"[\"'`>]\s*+((?:[0-9a-f]{2}){64,}+)\s*+[\"'`<]", re.IGNORECASE)
_NUMBERS = re.compile(
    rb"[\[(]\s*+((?:(?:0x[0-9a-f]{1,2}|\d{1,3})\s*+,\s*+){64,}+(?:0x[0-9a-f]{1,2}|\d{1,3}))",
    re.IGNORECASE,
)
_NUMBER = re.compile(rb"0x[0-9a-f]+|[1-9]\d*|0")
_PERCENT = re.compile(
    rb"[\"'`]([^\"'`\r\n%]{0,200}+(?:%[0-9a-f]{2}[^\"'`\r\n%]{0,200}+){16,}+)", re.IGNORECASE
)
_PERCENT_U = re.compile(rb"(?:%u[0-9a-f]{4}){16,}+", re.IGNORECASE)
_ESCAPED = re.compile(rb"(?:\\x[0-9a-f]{2}){64,}+", re.IGNORECASE)
_ESCAPED_U = re.compile(rb"(?:\\u[0-9a-f]{4}){32,}+", re.IGNORECASE)
_CHR = re.compile(
    rb"(?:chrw?\(\s{0,9}(?:\d{1,5}|&h[0-9a-f]{1,4})\s{0,9}\)[\s_]{0,9}[&+]?[\s_]{0,9}){16,}+",
    re.IGNORECASE,
)
_CHR_NUMBER = re.compile(rb"&h[0-9a-f]+|[1-9]\d*|0")
_COMMAND = re.compile(
    rb"[\s\"'][-/\x96][\"'^]{0,2}e[a-z^]{0,20}[\"']?[\s:]++[\"']?([A-Za-z0-9+/]{16,}+={0,2})",
    re.IGNORECASE,
)
"""PowerShell takes any beginning of ``-EncodedCommand``, also with other dashes and with ``^``."""
_PEM = re.compile(rb"-----BEGIN (?!PGP )[^-\r\n]{1,60}-----\s++([A-Za-z0-9+/=\s]{64,}+)-----END")
_DER = b"\x30"
"""A sequence, which certificates and keys are. Anything else in their clothes is for certutil."""

Unpacked = tuple[bytes, str]
"""What came out, and out of what."""


def unpacked(data: bytes, held: int, *, runs: bool) -> Iterator[Unpacked]:
    """``held``: the text's marks. ``runs``: whether it is a script, or holds one."""
    if held & marks.ATOB or (runs and held & (marks.BASE64 | marks.BLOB)):
        yield from _base64(data)
    if held & marks.HEXADECIMAL or (runs and held & (marks.BYTES | marks.BLOB)):
        for found in _HEX.finditer(_JOINED.sub(b"", data)):
            yield binascii.unhexlify(found[1]), "hexadecimal"
    for wanted, pattern, decode, label in _FORMS:
        if held & wanted:
            for found in pattern.finditer(data):
                content = decode(found)
                if content:
                    yield content, label


def _base64(data: bytes) -> Iterator[Unpacked]:
    texts = [_JOINED.sub(b"", data)]
    if _JOIN in data:
        texts.append(_LISTED.sub(b"", data))
    for text in texts:
        for found in _BASE64.finditer(text):
            letters = _NOT_BASE64.sub(b"", found[1]).replace(b"-", b"+").replace(b"_", b"/")
            for decoded in encodings.decode_transfer(letters, "base64"):
                yield decoded, "base64"


def _numbers(found: re.Match[bytes]) -> bytes:
    numbers = [int(number, 0) for number in _NUMBER.findall(found[1].lower())]
    return bytes(numbers) if max(numbers) < 256 else b""


def _percent(found: re.Match[bytes]) -> bytes:
    return encodings.percent(found[1].decode("latin-1"))


def _percent_u(found: re.Match[bytes]) -> bytes:
    """Two bytes each, the lower first, as programs are written into memory."""
    return (
        _two_bytes(found).decode("utf-16-be", "surrogatepass").encode("utf-16-le", "surrogatepass")
    )


def _escaped(found: re.Match[bytes]) -> bytes:
    return binascii.unhexlify(found[0].lower().replace(b"\\x", b""))


def _escaped_u(found: re.Match[bytes]) -> bytes:
    return _two_bytes(found).decode("utf-16-be", "replace").encode()


def _two_bytes(found: re.Match[bytes]) -> bytes:
    return binascii.unhexlify(found[0].lower().translate(None, b"%\\u"))


def _characters(found: re.Match[bytes]) -> bytes:
    numbers = (
        int(number.replace(b"&h", b"0x"), 0) for number in _CHR_NUMBER.findall(found[0].lower())
    )
    return "".join(map(chr, (n for n in numbers if n < 0x10000))).encode("utf-8", "replace")


def _command(found: re.Match[bytes]) -> bytes:
    decoded = encodings.undeclared_base64(found[1])
    return decoded[0].decode("utf-16-le", "replace").encode() if decoded else b""


def _pem(found: re.Match[bytes]) -> bytes:
    decoded = encodings.undeclared_base64(found[1])
    return decoded[0] if decoded and not decoded[0].startswith(_DER) else b""


_FORMS: tuple[tuple[int, re.Pattern[bytes], Callable[[re.Match[bytes]], bytes], str], ...] = (
    (marks.BYTES | marks.CHARACTERS, _NUMBERS, _numbers, "numbers"),
    (marks.UNESCAPE, _PERCENT, _percent, "percent-encoded"),
    (marks.UNESCAPE, _PERCENT_U, _percent_u, "percent-encoded"),
    (marks.ESCAPED, _ESCAPED, _escaped, "escaped"),
    (marks.ESCAPED, _ESCAPED_U, _escaped_u, "escaped"),
    (marks.CHR, _CHR, _characters, "characters"),
    (marks.POWERSHELL, _COMMAND, _command, "command"),
    (marks.PEM, _PEM, _pem, "PEM"),
)
