"""Containers that are known by their content and cannot be opened: never silently clean (S11)."""

import re

from mailward.scan.contents import Shut
from mailward.scan.verdict import Reason

_ARMOUR, _ARMOUR_END = b"-----BEGIN PGP MESSAGE-----", b"-----END PGP MESSAGE-----"
_ARMOUR_SEARCH_BYTES = 256 * 1024
"""Mail clients decrypt it also between other text."""
_PUBLIC_KEY = rb"[\x03\x06].{8}[\x01\x02\x10\x12\x19\x1a]"
_PASSPHRASE = rb"\x04[\x01-\x0d][\0\1\3][\x01-\x0e]"
_OPEN_PGP = rb"(?:\x84.|\x85..|\xc1[\x0d-\xbf]|\xc1[\xc0-\xdf].)%b|(?:\x8c|\xc3)[\x04-\x40]%b" % (
    _PUBLIC_KEY,
    _PASSPHRASE,
)
"""A session key, for a recipient or by a passphrase (RFC 9580 5.1 and 5.3): what begins a message
that is encrypted and not in letters."""

_AT_START: tuple[tuple[bytes, str], ...] = (
    (rb"egg!", "ALZip archive"),
    (rb"SIT!.{6}rLau|StuffIt \(c\)1997-|StuffIt[!?]", "StuffIt archive"),
    (rb"ArC\x01", "FreeArc archive"),
    (rb"zPQ[\1\2]|7kSt\xa01\x83\xd3", "ZPAQ archive"),
    (rb"LRZI\0", "file of lrzip"),
    (rb"RZIP[\1\2]", "file of rzip"),
    (rb"\x1a[\1-\x0b][!-~]{1,12}\0", "ARC archive"),
    (rb"UHA[\5\6]", "UHARC archive"),
    (rb"UC2\x1a", "UltraCompressor archive"),
    (rb".{14}\x1aJar\x1b\0", "JAR archive of ARJ Software"),
    (rb".{7}-sqx-", "SQX archive"),
    (rb"yz01", "YZ1 archive"),
    (rb"GCAX|DGCA", "GCA archive"),
    (rb"BH\x05\x07", "BlackHole archive"),
    (rb"KGB_arch -", "KGB archive"),
    (rb"NanoZip\x20", "NanoZip archive"),
    (rb"ANDROID BACKUP\n", "Android backup"),
    (rb"!BDN", "Outlook data file (PST)"),
    (rb"\xcf\xad\x12\xfe[\xc5\xc6]\xfd\x74\x6f", "mailbox of Outlook Express (DBX)"),
    (rb"ITOLITLS", "compiled help of Visual Studio (HxS)"),
    (rb"[EL]VF\x09\r\n\xff\0|EVF2\r\n\x81\0", "disk image of EnCase"),
    (rb"WithoutFreeSpace|WithouFreSpacExt", "virtual disk of Parallels"),
    (rb"CISO\0|DAA\0\0|IsZ!", "compressed disk image (CISO, DAA, ISZ)"),
    (rb"\x3a\xff\x26\xed\x01\0\0\0", "sparse image of Android"),
    (rb"XFSB\0\0", "XFS file system"),
    (rb".{3}ReFS\0\0\0\0", "ReFS file system"),
    (rb".{16}Compressed\x20ROMFS", "CramFS file system"),
    (rb"-rom1fs-", "ROMFS file system"),
    (rb"UBI#\x01\0|\x31\x18\x10\x06.{16}", "UBI file system"),
    (rb".{1024}(?:\xe2\xe1\xf5\xe0|\x10\x20\xf5\xf2)", "EROFS or F2FS file system"),
    (rb".{65600}_BHRfS_M", "Btrfs file system"),
)
_ENCRYPTED_AT_START: tuple[tuple[bytes, str], ...] = (
    (rb"LUKS\xba\xbe", "encrypted disk (LUKS)"),
    (rb".{3}-FVE-FS-", "encrypted disk (BitLocker)"),
    (_OPEN_PGP, "OpenPGP message"),
)
_KNOWN = (*_AT_START, *_ENCRYPTED_AT_START)
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _ in _KNOWN), re.DOTALL)

COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_CMS = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07"
"""Object identifier 1.2.840.113549.1.7: Cryptographic Message Syntax (RFC 5652)."""
_CMS_ENVELOPED, _CMS_ENCRYPTED = b"\3", b"\6"
_CMS_AUTHENTICATED = bytes.fromhex("060b2a864886f70d0109100117")
"""1.2.840.113549.1.9.16.1.23: enveloped with AES-GCM (RFC 5083)."""
_CMS_SEARCH_BYTES = 32


def recognise(data: bytes, content_type: str) -> Shut | None:
    """What ``data`` is, if it can hold something and cannot be looked into."""
    start = _START.match(data)
    if start is not None and start.lastindex:
        number = start.lastindex - 1
        what = _KNOWN[number][1]
        if number >= len(_AT_START):
            return Shut(Reason.ENCRYPTED, what)
        return Shut(Reason.UNSUPPORTED, f"{what}: this release cannot open it")
    if data[:1] == b"\x30" and _is_encrypted_cms(data):
        return Shut(Reason.ENCRYPTED, "encrypted S/MIME message")
    return Shut(Reason.ENCRYPTED, "OpenPGP message") if _is_armoured(data) else None


def _is_armoured(data: bytes) -> bool:
    at = data.find(_ARMOUR, 0, _ARMOUR_SEARCH_BYTES)
    if at < 0 or not (at == 0 or data[at - 1 : at].isspace()):
        return False
    return not data[:at].strip() or _ARMOUR_END in data


def _is_encrypted_cms(data: bytes) -> bool:
    if _CMS_AUTHENTICATED in data[:_CMS_SEARCH_BYTES]:
        return True
    at = data.find(_CMS, 0, _CMS_SEARCH_BYTES)
    return at >= 0 and data[at + len(_CMS) : at + len(_CMS) + 1] in (_CMS_ENVELOPED, _CMS_ENCRYPTED)
