"""What a file is by its content, and whether its name or declared type pretends something else.

For rules of the policy (``rules.Content``, ``rules.Disguise``): by the magic that signatures go by
(``scan.signatures.filetype``), by what containers are recognised by, and for scripts, which have
none, by words that they can hardly do without. Looks at the beginning and the end, so that it costs
microseconds; only a text with a name is searched further.
"""

import re

from mailward.rules import Content, Disguise
from mailward.scan.containers import disk, dmg, iso, tar, udf
from mailward.scan.containers import zip as zip_archive
from mailward.scan.containers.recognised import COMPOUND_FILE
from mailward.scan.part import Part, Role
from mailward.scan.signatures.file_magic import HEAD_BYTES
from mailward.scan.signatures.filetype import identify

_SEARCH_BYTES = 64 * 1024
"""Of a text from its beginning and of a zip from its end, where its directory is."""
_END_BYTES = 16 * 1024
"""Of a text: comments in front cost a sender nothing."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BY_TYPE = {
    Content.EXECUTABLE: "MSEXE ELF MACHO MACHO_UNIBIN JAVA PYTHON_COMPILED SIS",
    Content.SCRIPT: "SCRENC",
    Content.SHORTCUT: "LNK",
    Content.ARCHIVE: "GZ BZ XZ ZIP RAR 7Z ARJ MSCAB MSSZDD XAR EGG ALZ CPIO_NEWC CPIO_CRC CPIO_ODC "
    "CPIO_OLD LHA_LZH POSIX_TAR TNEF BINHEX UUENCODED",
    Content.DISK_IMAGE: "GPT APM MBR",
    Content.OFFICE: "MSOLE2 HWPOLE2 HWP3 XML_XL XML_WORD XML_HWP",
    Content.PDF: "PDF XDP",
    Content.RTF: "RTF",
    Content.HTML: "HTML HTML_UTF16 MHTML",
    Content.ONENOTE: "ONENOTE",
    Content.HELP: "MSCHM",
    Content.FLASH: "SWF",
    Content.MESSAGE: "MAIL",
    Content.IMAGE: "GRAPHICS GIF PNG JPEG TIFF PS",
    Content.MEDIA: "RIFF",
    Content.TEXT: "TEXT_ASCII TEXT_UTF8 TEXT_UTF16LE TEXT_UTF16BE",
}
_KINDS = {f"CL_TYPE_{name}": kind for kind, names in _BY_TYPE.items() for name in names.split()}

_MORE: tuple[tuple[Content, bytes], ...] = (
    (Content.EXECUTABLE, rb"dex\n0|\0asm"),
    (
        Content.ARCHIVE,
        rb"RE~\^|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\x02\x21\x4c\x18|\x1f[\x9d\xa0]|\x89LZO\0|MSWIM\0|"
        rb"!<arch>\n|LZIP\x01|SZ \x88|KWAJ|ISc\(|egg!|.{7}\*\*ACE\*\*|.{20}\xdc\xa7\xc4\xfd",
    ),
    (Content.INSTALLER, rb"\xed\xab\xee\xdb|!<arch>\ndebian"),
    (Content.DISK_IMAGE, rb"vhdxfile|conectix|KDMV|QFI\xfb|hsqs|sqsh|.{3}EXFAT {3}"),
    (Content.MEDIA, rb"ID3|OggS|fLaC|\xff[\xfb\xf3\xf2]|\x1aE\xdf\xa3|.{4}ftyp|MThd"),
    (Content.MEDIA, rb"\0\0\x01[\xb3\xba]"),
    (Content.IMAGE, rb"\0\0\x01\0|RIFF.{4}WEBP|.{4}ftyp(?:avif|heic|mif1)"),
    (Content.RTF, rb"[\s\0]{1,1024}\{\\rt"),
    (Content.PDF, rb".{0,1023}%PDF-"),
)  # fmt: skip
_MORE_STARTS = tuple((kind, re.compile(magic, re.DOTALL)) for kind, magic in _MORE)
_ANY_OF_MORE = re.compile(b"|".join(magic for _, magic in _MORE), re.DOTALL)

_MSI = bytes.fromhex("84100c0000000000c000000000000046")
"""Class of the root entry of Windows Installer's databases: {000C1084-0000-0000-C000-…46}."""
_MACRO_STREAM = "_VBA_PROJECT".encode("utf-16-le")
_IN_ZIP: tuple[tuple[bytes, Content], ...] = (
    (b"[Content_Types].xml", Content.OFFICE),
    (b"opendocument", Content.OFFICE),
    (b"META-INF/manifest.xml", Content.OFFICE),
    (b"vbaProject", Content.OFFICE_MACRO),
    (b"xl/macrosheets/", Content.OFFICE_MACRO),
    (b"Basic/script-l", Content.OFFICE_MACRO),
    (b"AppxManifest.xml", Content.INSTALLER),
    (b"AppxBundleManifest.xml", Content.INSTALLER),
    (b"AndroidManifest.xml", Content.INSTALLER),
    (b"META-INF/MANIFEST.MF", Content.EXECUTABLE),
)
"""Names of members, as they stand in the directory."""
_NO_ARCHIVE = (Content.OFFICE, Content.INSTALLER)

_STRONG = (
    b"wscript.", b"activexobject", b"on error resume next", b"executeglobal", b"echo off\r",
    b"echo off\n", b"%~dp0", b"<job", b"<scriptlet", b"<hta:", b"invoke-expression", b"iex(",
    b"frombase64string", b"windows registry editor", b"regedit4", b"<mmc_consolefile",
)  # fmt: skip
"""One of these makes a text a script."""
_IN_PAGES = (b"<job", b"<hta:", b"<scriptlet", b"<mmc_consolefile")
"""One of these makes a page something that runs by itself."""
_WEAK = (
    # JScript, VBScript
    b"createobject", b"getobject(", b"end sub", b"end function", b"dim ", b"msgbox",
    # JavaScript
    b"function(", b"function (", b"eval(", b"unescape(", b"fromcharcode", b"require(", b"=> {",
    b"var ", b"document.", b"const ",
    # PowerShell
    b"invoke-", b"new-object", b"start-process", b"[system.", b"set-executionpol", b"powershell",
    b"iex ", b"param(",
    # batch files, Python, AppleScript
    b"%comspec%", b"cmd /c", b"cmd.exe", b"certutil", b"bitsadmin", b"import os", b"import sys",
    b"subprocess", b"tell application", b"do shell script",
)  # fmt: skip
"""So many of these do; one alone stands in prose."""
_WEAK_MIN = 3
_PAGE = re.compile(rb"[\s\xef\xbb\xbf]*<(?:!doctype|[a-z?])", re.IGNORECASE)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf\xff\xfe"
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_SHORTCUT_WORDS = (
    b"[internetshortcut]", b"[desktop entry]", b"<librarydescription", b"<persistedquery",
    b"<pcsettings", b"full address:s:", b"[autorun]",
)  # fmt: skip
_SCRIPT_EXTENSIONS = _words(
    "bat cmd ps1 psm1 vbs vbe js jse ws wsf wsc wsh sct hta reg inf sh py command"
)

_HARMLESS = frozenset((Content.IMAGE, Content.MEDIA, Content.TEXT, Content.UNKNOWN))
_RUN = frozenset((Content.EXECUTABLE, Content.SCRIPT, Content.SHORTCUT, Content.INSTALLER))
"""What a click runs."""

_SEEMS_HARMLESS = _words(
    "pdf doc docx odt rtf txt log csv xls xlsx ods ppt pptx odp pps ppsx jpg jpeg png gif bmp tif "
    "tiff webp heic svg ico mp3 mp4 wav avi mov mkv flac ogg m4a mpg mpeg wmv htm html xml json "
    "eml msg ics vcf md zip rar 7z"
)
_TEXTS = _words("txt log csv htm html xml json eml ics vcf md")
"""Of these: a script in one of them is shown and not run."""
_ARCHIVES = frozenset(("zip", "rar", "7z"))
_RUN_BY_NAME = _words(
    "exe com scr pif cpl dll sys ocx msi msp mst msix appx bat cmd ps1 psm1 vbs vbe js jse ws wsf "
    "wsc wsh sct hta jar lnk url scf reg inf msc chm hlp iso img vhd vhdx gadget application "
    "appref-ms settingcontent-ms library-ms search-ms apk dmg pkg app command sh py desktop xll "
    "wll iqy slk diagcab ppkg"
)
_SEEMS_TYPE = re.compile(
    r"(?:image|audio|video|text)/.*|application/(?:pdf|msword|rtf|json|xml|vnd\.(?:ms-(?:excel|"
    r"powerpoint|word)|openxmlformats-|oasis\.opendocument).*)"
)
_TEXT_TYPE = "text/"
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Unicode's directional formatting characters (UAX 9)."""
_BLANKS = re.compile(r"[\s\u00a0\u2000-\u200a\u3000\u2800]+")


def kinds(part: Part) -> tuple[Content, ...]:
    """What a part is: mostly one thing, more where it can be taken for more; never empty."""
    if part.role is Role.MESSAGE:
        return (Content.MESSAGE,)
    data = part.data
    found = dict.fromkeys(_by_beginning(data))
    if Content.IMAGE in found:
        found.pop(Content.MEDIA, None)  # WebP, HEIC
    if Content.ARCHIVE not in found and zip_archive.looks_like_zip(data):
        found |= dict.fromkeys(_zip(data))
    if data.startswith(COMPOUND_FILE):
        found |= dict.fromkeys(_compound_file(data))
    if iso.looks_like_iso(data) or udf.looks_like_udf(data) or dmg.looks_like_dmg(data):
        found[Content.DISK_IMAGE] = None
    if not found and disk.looks_like_disk(data):
        found[Content.DISK_IMAGE] = None
    if not found and tar.looks_like_tar(data):
        found[Content.ARCHIVE] = None
    if (Content.TEXT in found or Content.HTML in found or Content.MESSAGE in found) and part.name:
        found = dict.fromkeys(_text(part, list(found)))
    if part.role is Role.MEMBER and part.name == "macros.xlm":
        found = {Content.OFFICE_MACRO: None}
    return tuple(found) or (Content.UNKNOWN,)


def is_notable(content: tuple[Content, ...]) -> bool:
    """Whether rules want to know of it even if it has no name."""
    return not _HARMLESS.issuperset(content)


def disguises(part: Part, content: tuple[Content, ...]) -> tuple[Disguise, ...]:
    """How a part that runs pretends to be harmless; a name alone is enough for some ways."""
    name = _BLANKS.sub("", _TURNING.sub("", part.name)).rstrip(".").lower()
    stem, _, last = name.rpartition(".")
    runs_by_name = last in _RUN_BY_NAME and bool(stem)
    runs = not _RUN.isdisjoint(content)
    found = []
    if runs and not runs_by_name and last in _SEEMS_HARMLESS and not _is_its_own(content, last):
        found.append(Disguise.EXTENSION)
    if (
        runs
        and _SEEMS_TYPE.fullmatch(part.content_type)
        and not (part.content_type.startswith(_TEXT_TYPE) and Content.EXECUTABLE not in content)
    ):
        found.append(Disguise.TYPE)
    if runs_by_name and stem.rpartition(".")[2] in _SEEMS_HARMLESS and "." in stem:
        found.append(Disguise.DOUBLE_EXTENSION)
    if _TURNING.search(part.name) and (runs or runs_by_name):
        found.append(Disguise.REVERSED_NAME)
    return tuple(found)


def extension(name: str) -> str:
    """The last one as Windows takes it, in lower case; empty if there is none."""
    _, dot, last = name.rstrip(". \t\r\n\0").rpartition(".")
    return last.lower() if dot else ""


def _by_beginning(data: bytes) -> list[Content]:
    head = data[:HEAD_BYTES]
    kind = _KINDS.get(identify(head).name)
    if head.startswith(b"MZ") and b"\0" not in head:
        kind = Content.TEXT  # a program's header has zeros
    if kind is Content.ARCHIVE and head.startswith(b"PK"):
        return _zip(data)
    found = [kind] if kind is not None else []
    if _ANY_OF_MORE.match(head) is None:
        return found
    return found + [more for more, magic in _MORE_STARTS if magic.match(head)]


def _zip(data: bytes) -> list[Content]:
    names = data[-_SEARCH_BYTES:] + data[:HEAD_BYTES]
    found = [kind for name, kind in _IN_ZIP if name in names]
    return found if not set(found).isdisjoint(_NO_ARCHIVE) else [*found, Content.ARCHIVE]


def _compound_file(data: bytes) -> list[Content]:
    if _MSI in data[:_SEARCH_BYTES] or _MSI in data[-_SEARCH_BYTES:]:
        return [Content.INSTALLER]
    return [Content.OFFICE_MACRO] if _MACRO_STREAM in data else []


def _text(part: Part, found: list[Content]) -> list[Content]:
    """Which kind of text. What lies in pages and documents has no name and is not asked."""
    data = part.data
    text = data if len(data) <= _SEARCH_BYTES else data[:_SEARCH_BYTES] + data[-_END_BYTES:]
    lower = text.replace(b"\0", b"").lower()  # UTF-16, as far as words go
    if part.role is not Role.BODY and _is_script(part.name, lower):
        return [kind for kind in found if kind is Content.HTML] + [Content.SCRIPT]
    if any(word in lower for word in _SHORTCUT_WORDS):
        return [Content.SHORTCUT]
    if _SVG.search(lower) and b"<html" not in lower:
        return [Content.SVG]
    return [Content.TEXT if kind is Content.MESSAGE else kind for kind in found]


def _is_script(name: str, lower: bytes) -> bool:
    if extension(name) in _SCRIPT_EXTENSIONS or lower.lstrip(_BYTE_ORDER_MARK).startswith(b"#!"):
        return True
    if _PAGE.match(lower):
        return any(word in lower for word in _IN_PAGES)
    if any(word in lower for word in _STRONG):
        return True
    return sum(word in lower for word in _WEAK) >= _WEAK_MIN


def _is_its_own(content: tuple[Content, ...], last: str) -> bool:
    """Whether what it is called opens it as something that runs nothing."""
    if last in _ARCHIVES:
        return Content.ARCHIVE in content
    return last in _TEXTS and Content.EXECUTABLE not in content
