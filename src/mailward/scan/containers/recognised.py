"""Containers that are known by their content and cannot be opened: never silently clean (S11)."""

import re

from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_AT_START: tuple[tuple[bytes, str], ...] = (
    (rb"egg!", "ALZip archive"),
    (rb"\s*-----BEGIN PGP MESSAGE-----", "OpenPGP message"),
)
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _AT_START), re.DOTALL)
_PGP = len(_AT_START) - 1

COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_CMS = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
"""Object identifier 1.2.840.113549.1.7: Cryptographic Message Syntax (RFC 5652)."""
_CMS_ENVELOPED = 3
_CMS_SEARCH_BYTES = 32


def recognise(data: bytes, content_type: str) -> Shut | None:
    """What ``data`` is, if it can hold something and cannot be looked into."""
    start = _START.match(data)
    number = start.lastindex - 1 if start is not None and start.lastindex else None
    cms = _cms_kind(data) if data[:1] == b"\x30" else None
    if number == _PGP:
        return Shut(Reason.ENCRYPTED, _AT_START[_PGP][1])
    if cms == _CMS_ENVELOPED:
        return Shut(Reason.ENCRYPTED, "encrypted S/MIME message")
    if number is None:
        return None
    return Shut(Reason.UNSUPPORTED, f"{_AT_START[number][1]}: this release cannot open it")


def _cms_kind(data: bytes) -> int | None:
    at = data.find(_CMS, 0, _CMS_SEARCH_BYTES)
    if at < 0 or at + len(_CMS) >= len(data):
        return None
    return data[at + len(_CMS)]
