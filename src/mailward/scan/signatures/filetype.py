"""What a part is, as ClamAV sees it: its file type, and so the target that signatures are for.

The order is ClamAV's (docs.clamav.net, manual/appendix/FileTypes and Signatures/FileTypeMagic; the
rest was found by trying clamscan 1.4): magic at fixed places first, then text or not, then, for
texts and for data without magic, what the first 1,024 bytes hold anywhere. A sender's name and
content type say nothing here: whoever writes malware chooses them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from mailward.scan.part import Part, Role
from mailward.scan.signatures.file_magic import BUILT_IN, HEAD_BYTES, HTML_OPENERS, Magic


class Target(IntEnum):
    """ClamAV's target numbers: what kind of file a signature is for."""

    ANY = 0
    PE = 1
    OLE2 = 2
    HTML = 3
    MAIL = 4
    GRAPHICS = 5
    ELF = 6
    TEXT = 7
    MACHO = 9
    PDF = 10
    FLASH = 11
    JAVA = 12
    INTERNAL = 13
    OTHER = 14


_TARGETS = {
    "CL_TYPE_MSEXE": Target.PE,
    "CL_TYPE_MSOLE2": Target.OLE2,
    "CL_TYPE_HTML": Target.HTML,
    "CL_TYPE_HTML_UTF16": Target.HTML,
    "CL_TYPE_MAIL": Target.MAIL,
    "CL_TYPE_GRAPHICS": Target.GRAPHICS,
    "CL_TYPE_GIF": Target.GRAPHICS,
    "CL_TYPE_PNG": Target.GRAPHICS,
    "CL_TYPE_JPEG": Target.GRAPHICS,
    "CL_TYPE_TIFF": Target.GRAPHICS,
    "CL_TYPE_ELF": Target.ELF,
    "CL_TYPE_TEXT_ASCII": Target.TEXT,
    "CL_TYPE_TEXT_UTF8": Target.TEXT,
    "CL_TYPE_TEXT_UTF16LE": Target.TEXT,
    "CL_TYPE_TEXT_UTF16BE": Target.TEXT,
    "CL_TYPE_MACHO": Target.MACHO,
    "CL_TYPE_MACHO_UNIBIN": Target.MACHO,
    "CL_TYPE_PDF": Target.PDF,
    "CL_TYPE_SWF": Target.FLASH,
    "CL_TYPE_JAVA": Target.JAVA,
    "CL_TYPE_INTERNAL": Target.INTERNAL,
    "CL_TYPE_BINARY_DATA": Target.OTHER,
}


@dataclass(frozen=True, slots=True)
class FileType:
    """A part's type."""

    name: str
    """ClamAV's, e.g. ``CL_TYPE_MSEXE``: what HandlerType and Container of a signature name."""
    target: Target
    """ANY if there is no target of its own for it: then only signatures for any target apply."""
    html_inside: bool = False
    """A text that becomes HTML further down; it is then matched raw and as HTML, not as text."""

    @property
    def ignored(self) -> bool:
        """Sound, film and database files that ClamAV does not look into at all."""
        return self.name == "CL_TYPE_IGNORED"


MAIL = "CL_TYPE_MAIL"
HTML = "CL_TYPE_HTML"
HTML_UTF16 = "CL_TYPE_HTML_UTF16"
OLD_TAR = "CL_TYPE_OLD_TAR"
ANY_TYPE = "CL_TYPE_ANY"
"""In signatures only."""
ZIP = "CL_TYPE_ZIP"
OFFICE_ZIP = "CL_TYPE_OOXML_"
"""What the types of zips that are Office documents begin with. For what lies in them, ClamAV takes
such a zip for both."""

_MAIL = FileType("CL_TYPE_MAIL", Target.MAIL)
_SFX_SUFFIX = "SFX"
_LATER_WINS = {"CL_TYPE_HTML": 1, "CL_TYPE_MAIL": 2, "CL_TYPE_MSEXE": 3}
"""Of several magics further down in the same file; ClamAV goes by the order of its type numbers."""

_LINK = re.compile(rb"<[aA] ")
_HREF = re.compile(rb"[hH][rR](?:ef|EF)")
_OPENER = re.compile(
    b"<(?:" + b"|".join(re.escape(opener[1:].encode()) for opener in HTML_OPENERS) + b")"
)

_NEVER_IN_TEXT = bytes(
    byte for byte in range(256) if (byte < 0x20 and byte not in b"\a\b\t\n\f\r\x1b") or byte == 0x7F
)
_IN_TEXT = bytes(byte for byte in range(256) if byte not in _NEVER_IN_TEXT)
_BYTE_ORDER_MARKS = {b"\xff\xfe": "little", b"\xfe\xff": "big"}
_WIDE_BEGINNINGS = (
    *((b"\xff\xfe\0\0", "utf-32-le"), (b"<\0\0\0", "utf-32-le")),
    *((b"\0\0\xfe\xff", "utf-32-be"), (b"\0\0\0<", "utf-32-be")),
    *((b"\xff\xfe", "utf-16-le"), (b"<\0?\0", "utf-16-le")),
    *((b"\xfe\xff", "utf-16-be"), (b"\0<\0?", "utf-16-be")),
)
_SHIFTED = bytes(byte << 4 & 0xFF for byte in range(256))

_ZIP_ENTRY = re.compile(
    rb"PK\x03\x04.{26}(?:(xl/)|(ppt/)|(word/)|(Contents/content\.hpf))", re.DOTALL
)
_OOXML = ("CL_TYPE_OOXML_XL", "CL_TYPE_OOXML_PPT", "CL_TYPE_OOXML_WORD", "CL_TYPE_OOXML_HWP")


class FileTypes:
    """Types files by one table of magic."""

    def __init__(self, magics: Iterable[Magic] = BUILT_IN) -> None:
        """``magics``: from a set's ``.ftm`` files; of two that match, the later one counts."""
        starts: dict[bytes, str] = {}
        self._elsewhere: list[Magic] = []
        self._further_down: list[Magic] = []
        for magic in magics:
            if magic.literal is None:
                if not _is_common_html(magic):
                    self._further_down.append(magic)
            elif magic.at == 0:
                starts[magic.literal] = magic.type
            else:
                self._elsewhere.insert(0, magic)
        self._to_search: dict[bytes, list[tuple[int, Magic]]] = {}
        self._last = b"", "", ""
        self._starts: dict[bytes, list[tuple[bytes, str]]] = {}
        for literal, type_ in reversed(starts.items()):
            self._starts.setdefault(literal[:1], []).append((literal, type_))

    def identify(self, data: bytes, part: Part | None = None) -> FileType:
        """The type of ``data``. ``part``: where it comes from; a message is mail whatever it
        begins with, where ClamAV knows some headers only."""
        if part is not None and part.role is Role.MESSAGE:
            return _MAIL
        if part is not None and part.type:
            return FileType(part.type, _TARGETS.get(part.type, Target.ANY))
        head = data[:HEAD_BYTES]
        name = self._by_magic(head)
        if name == ZIP:
            name = _ooxml(data) or name
        if name is None or name == "CL_TYPE_BINARY_DATA":
            name = self._searched(head, name or text_type(head))
            if name.startswith("CL_TYPE_TEXT_") and has_html(data, len(head)):
                return FileType(name, _TARGETS[name], html_inside=True)
        return FileType(name, _TARGETS.get(name, Target.ANY))

    def _by_magic(self, head: bytes) -> str | None:
        for literal, type_ in self._starts.get(head[:1], ()):
            if head.startswith(literal):
                return type_
        for magic in self._elsewhere:
            if magic.matches(head):
                return magic.type
        return None

    def _searched(self, head: bytes, name: str) -> str:
        """``_by_search``, once for what is asked for two reasons, one right after the other."""
        last_head, last_name, found = self._last
        if head != last_head or name != last_name:
            found = self._by_search(head, name)
            self._last = head, name, found
        return found

    def _magics(self, first: bytes) -> list[tuple[int, Magic]]:
        """The magics that files which begin with this byte may have, each with what it wins by."""
        found = self._to_search[first] = [
            (_LATER_WINS.get(m.type, 0), m)
            for m in self._further_down
            if (m.at != 0 or m.within or m.begin in (b"", first))
            and not m.type.endswith(_SFX_SUFFIX)
        ]
        return found

    def _by_search(self, head: bytes, name: str) -> str:
        """What texts, and data without magic, hold near their beginning; ``name`` if nothing."""
        best, rank = name, -1
        if has_html(head):
            best, rank = "CL_TYPE_HTML", _LATER_WINS["CL_TYPE_HTML"]
        first, runs = head[:1], dict[bytes, bool]()
        for this, magic in self._to_search.get(first) or self._magics(first):
            if this <= rank or magic.sign not in head:
                continue
            if magic.run not in runs:
                runs[magic.run] = magic.run in head
            if runs[magic.run] and magic.matches(head):
                best, rank = magic.type, this
        if rank < 0 and b"\0" in head and has_html(head.replace(b"\0", b"")):
            return _wide_html(head) or name
        return best


def has_html(data: bytes, start: int = 0) -> bool:
    """Whether ``data`` has, from ``start`` on, one of the tags that make a text HTML."""
    if data.find(b"<", start) < 0:
        return False
    if _OPENER.search(data, start):
        return True
    link = _LINK.search(data, start)
    return link is not None and _HREF.search(data, link.end()) is not None


def text_type(head: bytes) -> str:
    """Which kind of text ``head`` is, or CL_TYPE_BINARY_DATA; as the program ``file`` judged it
    before version 5: no control characters that texts have no use for."""
    if not head.translate(None, _IN_TEXT):  # five times faster than a regular expression
        return "CL_TYPE_TEXT_ASCII"
    # A text in UTF-8 has no such characters either, so only UTF-16 is left.
    order = _BYTE_ORDER_MARKS.get(head[:2])
    if len(head) < 2 or _is_not_utf16(head, order):
        return "CL_TYPE_BINARY_DATA"
    return "CL_TYPE_TEXT_UTF16LE" if order == "little" else "CL_TYPE_TEXT_UTF16BE"


def _is_not_utf16(head: bytes, order: str | None) -> bool:
    """Control characters show that it is none; with a byte order mark, many of them."""
    length = len(head) & ~1
    high, low = (
        (head[3:length:2], head[2:length:2])
        if order == "little"
        else (
            head[2:length:2],
            head[3:length:2],
        )
    )
    bad = 0
    for above, below in zip(high, low, strict=True):
        if above == 0:
            bad += below in _NEVER_IN_TEXT
            if bad and order is None:
                return True
        elif above == 0xFF and below == 0xFE:
            return True
    return order is not None and bad >= len(head) // 2


def _wide_html(head: bytes) -> str | None:
    """The type of a page whose letters have NULs beside them: as ClamAV reads UTF-16, or in the
    encoding that it sees in the first bytes."""
    if has_html(narrow(head)):
        return HTML_UTF16
    for beginning, codec in _WIDE_BEGINNINGS:
        if head.startswith(beginning):
            text = head.decode(codec, "replace").encode("latin-1", "replace")
            return HTML if has_html(text) else None
    return None


def narrow(data: bytes) -> bytes:
    """UTF-16 as ClamAV reads it where it has found a page: little-endian whatever the mark says, a
    byte for each two, the upper one shifted by four bits and added."""
    whole = len(data) & ~1
    low, high = data[:whole:2], data[1:whole:2].translate(_SHIFTED)
    if not any(high):
        return low
    # All bytes are added at once: but for their highest bits nothing is carried to the next.
    size, left, right = len(low), int.from_bytes(low), int.from_bytes(high)
    lower, highest = int.from_bytes(b"\x7f" * size), int.from_bytes(b"\x80" * size)
    return (((left & lower) + (right & lower)) ^ ((left ^ right) & highest)).to_bytes(size)


def _is_common_html(magic: Magic) -> bool:
    """Whether ``has_html`` looks for it already."""
    return magic in BUILT_IN and magic.type == "CL_TYPE_HTML" and magic.at is None


def _ooxml(data: bytes) -> str | None:
    found = _ZIP_ENTRY.search(data)
    return _OOXML[found.lastindex - 1] if found and found.lastindex else None


def target_of(type_name: str) -> Target:
    """Which signatures are for files of a type."""
    return _TARGETS.get(type_name, Target.ANY)


BUILT_IN_TYPES = FileTypes()
"""What ClamAV knows without ``.ftm`` files."""


def identify(data: bytes, part: Part | None = None) -> FileType:
    """The type of ``data`` by ``BUILT_IN_TYPES``; see ``FileTypes``."""
    return BUILT_IN_TYPES.identify(data, part)
