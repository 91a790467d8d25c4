"""Containers that are known by their content and cannot be opened: never silently clean (S11)."""

import re

from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_AT_START: tuple[tuple[bytes, str], ...] = (
    (b"RE~^", "RAR archive (before 1.5)"),
    (b"ISc(", "InstallShield cabinet"),
    (b"\x1f\xa0", "compress'ed file of SCO (LZH)"),
    (b"\x89LZO\x00\r\n\x1a\n", "lzop'ed file"),
    (b"MSWIM\0\0\0", "Windows image (WIM)"),
    (b"ITSF\x03", "compiled HTML help"),
    (b"conectix", "virtual disk (VHD)"),
    (b"vhdxfile", "virtual disk (VHDX)"),
    (b"egg!", "ALZip archive"),
    (b"EGGA", "EGG archive"),
    (b"ALZ\x01", "ALZip archive"),
)
_ELSEWHERE: tuple[tuple[int, bytes, str], ...] = (
    (7, b"**ACE**", "ACE archive"),
    (8, b"\x19\x04\x00\x10", "Symbian package (SIS)"),
    (20, b"\xdc\xa7\xc4\xfd", "ZOO archive"),
    (-512, b"koly", "macOS disk image"),
    (-512, b"conectix", "virtual disk (VHD)"),
)
_ARJ = re.compile(rb"\x60\xea(?!\0\0).[\0-\x0a][\x1e-\x30].[\0-\x10][\0-\x0b]", re.DOTALL)
"""Header size of at most 2600 bytes, first header size, versions, host system."""

COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_PGP_MESSAGE = re.compile(rb"\s*-----BEGIN PGP MESSAGE-----")
_CMS = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
"""Object identifier 1.2.840.113549.1.7: Cryptographic Message Syntax (RFC 5652)."""
_CMS_SIGNED, _CMS_ENVELOPED = 2, 3
_CMS_SEARCH_BYTES = 32


def recognise(data: bytes, content_type: str) -> Shut | None:
    """What ``data`` is, if it can hold something and cannot be looked into."""
    encrypted = _encrypted(data)
    if encrypted is not None:
        return Shut(Reason.ENCRYPTED, encrypted)
    what = next((what for magic, what in _AT_START if data.startswith(magic)), None)
    if what is None:
        what = next((w for at, magic, w in _ELSEWHERE if _is_at(data, at, magic)), None)
    if what is None and _ARJ.match(data):
        what = "ARJ archive"
    if what is None and _cms_kind(data) == _CMS_SIGNED and content_type.endswith("pkcs7-mime"):
        what = "S/MIME message with its content inside the signature"
    if what is None:
        return None
    return Shut(Reason.UNSUPPORTED, f"{what}: this release cannot open it")


def _encrypted(data: bytes) -> str | None:
    if _PGP_MESSAGE.match(data):
        return "OpenPGP message"
    if _cms_kind(data) == _CMS_ENVELOPED:
        return "encrypted S/MIME message"
    return None


def _cms_kind(data: bytes) -> int | None:
    at = data.find(_CMS, 0, _CMS_SEARCH_BYTES)
    if not data.startswith(b"\x30") or at < 0 or at + len(_CMS) >= len(data):
        return None
    return data[at + len(_CMS)]


def _is_at(data: bytes, at: int, magic: bytes) -> bool:
    start = at if at >= 0 else len(data) + at
    return start >= 0 and data.startswith(magic, start)
