"""What the first bytes of a file say it is: ClamAV's file type magic.

One line of an ``.ftm`` file is ``magictype:offset:magicbytes:name:rtype:type[:min[:max]]``
(docs.clamav.net, manual/Signatures/FileTypeMagic). A set that has such a file is typed by it alone;
one that has none by ``BUILT_IN``, which lists what ClamAV 1.4 knows without it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailward.errors import FormatError

LEVEL = 216
"""Functionality level of ClamAV 1.4: lines for older or newer releases alone are left out."""
HEAD_BYTES = 1024
"""How much of a file is looked at; ClamAV's ``CL_FILE_MBUFF_SIZE``."""
_MAGIC_MAX = 4096
"""Characters of one magic: the longest known has 200, and each costs every file."""
_RUN_MIN_BYTES = 6
"""Of a magic's bytes in a row that are looked for by themselves."""
_STARS_MAX = 16
"""Of one magic."""
_WAYS_MAX = 4 << 20
"""In which one magic may lie in a head: some 50 ms for a head that is made to try them all."""

_TYPE_NAME = re.compile(r"CL_TYPE_[A-Z0-9_]{1,40}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_TOKEN = re.compile(
    r"(?P<any>\?\?)"
    r"|(?P<byte>[0-9a-f]{2})"
    r"|(?P<low>\?[0-9a-f])"
    r"|(?P<high>[0-9a-f]\?)"
    r"|(?P<star>\*)"
    r"|\{(?P<gap>[0-9]{1,5}|[0-9]{0,5}-[0-9]{1,5}|[0-9]{1,5}-)\}"
    r"|\((?P<either>(?:[0-9a-f]{2})+(?:\|(?:[0-9a-f]{2})+)+)\)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Magic:
    """Bytes that tell a type."""

    type: str
    at: int | None
    """Where they begin; None: anywhere."""
    within: int = 0
    """How many bytes later they may begin too."""
    literal: bytes | None = None
    """Compared as they are; None if ``pattern`` is to be matched."""
    pattern: re.Pattern[bytes] | None = None
    begin: bytes = b""
    """The byte that its pattern begins with; empty if there are several."""
    sign: bytes = b""
    """A byte of it that few texts have: where it is not, the pattern need not be tried."""
    run: bytes = b""
    """Some of its bytes in a row, if it is searched for: likewise, and the same for many."""

    def matches(self, head: bytes) -> bool:
        """Whether ``head``, the beginning of a file, has them."""
        if self.literal is not None:
            return self.at is not None and head.startswith(self.literal, self.at)
        if self.pattern is None or self.sign not in head:
            return False
        if self.at is None:
            return self.pattern.search(head) is not None
        if not self.within:
            return self.pattern.match(head, self.at) is not None
        found = self.pattern.search(head, self.at)
        return found is not None and found.start() <= self.at + self.within


def parse_line(line: str) -> Magic | None:
    """A line of an ``.ftm`` file; None for what does not concern us: magic for other releases,
    for partitions, or counted from the end. Raises FormatError."""
    fields = line.rstrip("\r\n").split(":")
    if not 6 <= len(fields) <= 8:
        raise FormatError(f"a file type line has 6 to 8 fields, this one {len(fields)}")
    kind, offset, magic, _, rtype, type_ = fields[:6]
    if kind not in ("0", "1", "4"):
        raise FormatError(f"unknown kind of magic {kind!r}: 0, 1 and 4 exist")
    if not _TYPE_NAME.fullmatch(rtype) or not _TYPE_NAME.fullmatch(type_):
        raise FormatError("type names begin with CL_TYPE_")
    if not magic or len(magic) > _MAGIC_MAX:
        raise FormatError(f"a magic has 1 to {_MAGIC_MAX} characters")
    if not in_level(fields[6:]) or kind == "4" or offset.startswith("EOF-"):
        return None
    at, within = _offset(offset)
    if kind == "1":
        return _searched(type_, at, within, magic)
    try:
        literal = bytes.fromhex(magic)
    except ValueError:
        raise FormatError("magic of kind 0 is hexadecimal bytes alone") from None
    if at is None or within:
        raise FormatError("magic of kind 0 has one fixed offset")
    return Magic(type_, at, literal=literal)


def in_level(levels: Sequence[str]) -> bool:
    """Whether a line with these bounds, lowest and highest level if given, is for us. Raises
    FormatError."""
    for level in levels:
        if level and not _NUMBER.fullmatch(level):
            raise FormatError("functionality levels are numbers")
    lowest = int(levels[0]) if levels and levels[0] else 0
    highest = int(levels[1]) if len(levels) > 1 and levels[1] else LEVEL
    return lowest <= LEVEL <= highest


def _offset(text: str) -> tuple[int | None, int]:
    if text == "*":
        return None, 0
    at, _, within = text.partition(",")
    if not _NUMBER.fullmatch(at) or (within and not _NUMBER.fullmatch(within)):
        raise FormatError(f"unknown offset {text[:40]!r}: a number, two with a comma, or *")
    return int(at), int(within or 0)


def _searched(type_: str, offset: int | None, within: int, magic: str) -> Magic:
    """The body format, as far as file type magic uses it, as a regular expression."""
    pattern = ""
    fixed: list[bytes] = []
    at = stars = 0
    ways = HEAD_BYTES if offset is None or within else 1
    is_loose = False
    while at < len(magic):
        token = _TOKEN.match(magic, at)
        if token is None:
            raise FormatError(f"cannot read the magic at {magic[at : at + 20]!r}")
        fixed.append(bytes.fromhex(token.group()) if token.lastgroup == "byte" else b"")
        if token.lastgroup != "star":
            lengths = _lengths(token)
            is_loose |= lengths > 1
            ways *= lengths
        elif pattern.endswith(".*?"):
            at = token.end()  # two say no more than one
            continue
        else:
            stars += 1
            # Where everything before has one length, its first place leaves most room for the rest.
            pattern = pattern if is_loose else f"(?>{pattern})"
            ways *= HEAD_BYTES if is_loose or stars == 1 else 1
        pattern += _as_regex(token)
        at = token.end()
    if stars > _STARS_MAX or ways > _WAYS_MAX:
        raise FormatError("a magic with so many gaps of any length takes too long to look for")
    try:
        compiled = re.compile(pattern.encode("latin-1"), re.DOTALL)
    except (re.error, OverflowError):
        raise FormatError("a gap in the magic ends before it begins") from None
    sign = max(filter(None, fixed), key=_rarity, default=b"")
    run = _long_run(fixed) if offset is None or within else b""
    return Magic(type_, offset, within, pattern=compiled, begin=fixed[0], sign=sign, run=run)


def _long_run(fixed: list[bytes]) -> bytes:
    """The last long run of fixed bytes, an empty one for any other byte; empty if none is long."""
    runs = b"".join(byte or b"\0" for byte in fixed).split(b"\0")
    return next((run for run in reversed(runs) if len(run) >= _RUN_MIN_BYTES), b"")


def _lengths(token: re.Match[str]) -> int:
    """How many it may have within a head."""
    if token.lastgroup == "either":
        words = token["either"].split("|")
        return len(words) if len({len(word) for word in words}) > 1 else 1
    low, dash, high = (token["gap"] or "").partition("-")
    return max(1, min(int(high or HEAD_BYTES), HEAD_BYTES) - int(low or 0) + 1) if dash else 1


def _rarity(byte: bytes) -> int:
    """How rare a byte is in texts, roughly."""
    if byte.isalpha() or byte in b"\t\r\n ":
        return 0
    return 1 if byte in b"0123456789!\"'(),-./:;?" else 3 if byte < b" " or byte > b"~" else 2


def _as_regex(token: re.Match[str]) -> str:
    kind, text = token.lastgroup, token.group()
    if kind == "byte":
        return f"\\x{text}"
    if kind == "any":
        return "."
    if kind == "star":
        return ".*?"
    if kind == "low":
        return "[" + "".join(f"\\x{high:x}{text[1]}" for high in range(16)) + "]"
    if kind == "high":
        return f"[\\x{text[0]}0-\\x{text[0]}f]"
    if kind == "gap":
        low, dash, high = token["gap"].partition("-")
        return f".{{{low or 0}{',' if dash else ''}{high}}}"
    words = token["either"].split("|")
    return "(?:" + "|".join(re.sub("(..)", r"\\x\1", word) for word in words) + ")"


_AT_START: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("GRAPHICS", (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"BM")),
    ("BINARY_DATA", (b"\x00\x00\x01\xb3", b"\x00\x00\x01\xba")),
    ("GZ", (b"\x1f\x8b",)),
    ("BZ", (b"BZh",)),
    ("XZ", (b"\xfd7zXZ\x00",)),
    ("ZIP", (b"PK\x03\x04", b"PK00PK\x03\x04")),
    ("RAR", (b"Rar!",)),
    ("7Z", (b"7z\xbc\xaf\x27\x1c",)),
    ("ARJ", (b"\x60\xea",)),
    ("MSCAB", (b"MSCF\x00\x00\x00\x00",)),
    ("MSSZDD", (b"SZDD",)),
    ("MSCHM", (b"ITSF",)),
    ("XAR", (b"xar!",)),
    ("EGG", (b"EGGA",)),
    ("ALZ", (b"ALZ\x01",)),
    ("CPIO_NEWC", (b"070701",)),
    ("CPIO_CRC", (b"070702",)),
    ("CPIO_ODC", (b"070707",)),
    ("CPIO_OLD", (b"\x71\xc7", b"\xc7\x71")),
    ("TNEF", (b"\x78\x9f\x3e\x22",)),
    ("BINHEX", (b"(This file must be converted with BinHex 4.0)",)),
    ("UUENCODED", (b"begin ",)),
    ("CRYPTFF", (b"\xb6\xb9\xac\xae\xfe\xff\xff\xff",)),
    ("SCRENC", (b"#@~^",)),
    ("PS", (b"%!PS-Adobe-",)),
    ("MSEXE", (b"MZ",)),
    ("ELF", (b"\x7fELF",)),
    (
        "MACHO",
        (b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf"),
    ),
    ("MSOLE2", (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)),
    ("ONENOTE", (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3",)),
    ("HWP3", (b"HWP Document File V3.00 \x1a\x01\x02\x03\x04\x05",)),
    ("RTF", (b"{\\rt",)),
    ("PDF", (b"%PDF-",)),
    ("SWF", (b"FWS", b"CWS", b"ZWS")),
    ("LNK", (b"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46",)),
    ("GIF", (b"GIF",)),
    ("PNG", (b"\x89PNG",)),
    ("JPEG", (b"\xff\xd8\xff",)),
    ("TIFF", (b"II*\x00", b"MM")),
    ("RIFF", (b"RIFF", b"RIFX")),
    ("POSIX_TAR", (b"[aliases]",)),
    ("INTERNAL", (b'{\n  "Magic":"CLAMJSONv0"',)),
    (
        "IGNORED",
        (
            b".RMF",
            b"ID3",
            b"OggS",
            b"\xff\xfb\x90",
            b"SIP-HIT (SIP/H",
            b"SYMC\x01\x00",
            b"7\x7f\x06\x82\x00-\xe2\x18",
            b"SQLite format 3\x00",
            b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7",
        ),
    ),
    (
        "MAIL",
        (
            *(b"Date: ", b"Delivered-To: ", b"Delivery-date: ", b"Envelope-to: ", b"For: "),
            *(b"From ", b">From ", b"From: ", b"Hi. This is the qmail-send"),
            *(b"Message-ID: ", b"Message-Id: ", b"Received: ", b"Received-SPF: "),
            *(b"Return-Path: ", b"Return-path: ", b"Subject: ", b"To: ", b"X-Apparently-To: "),
            *(b"X-EVS", b"X-Envelope-From: ", b"X-Original-To: ", b"X-Real-To: ", b"X-Sieve: "),
            *(b"X-Symantec-", b"X-UIDL: ", b"v:\nReceived: ", b"v:\r\nReceived: "),
        ),
    ),
)
_PYTHON_COMPILED = bytes.fromhex(
    "d2f2 dbf2 e5f2 eff2 f9f2 03f3 04f3 0af3 b80b c20b cc0b d60b e00b ea0b f40b f50b ff0b 090c "
    "130c 1d0c 1f0c 270c 3b0c 450c 4f0c 580c 620c 6c0c 760c 800c 8a0c 940c 9e0c b20c bc0c c60c "
    "d00c da0c e40c ee0c f80c 020d 0c0d 160d 170d 200d 210d 2a0d 2b0d 2c0d 2d0d 2f0d 300d 310d "
    "320d 330d 3e0d 3f0d f00d 0001 5001"
)
"""Pairs of bytes, each before CR and LF."""

_MAIL_FURTHER_DOWN = (
    ("0,1024", "0a(46|66)726f6d3a20{-1024}0a(4d|6d)(49|69)(4d|6d)(45|65)2d(56|76)657273696f6e3a20"),
    ("0,1024", "0a(46|66)726f6d3a20{-2048}0a(43|63)6f6e74656e742d(54|74)7970653a20"),
    (
        "0,1024",
        "0a(4d|6d)(49|69)(4d|6d)(45|65)2d(56|76)657273696f6e3a20{-2048}"
        "0a(43|63)6f6e74656e742d(54|74)7970653a20",
    ),
    (
        "0,1024",
        "0a(4d|6d)6573736167652d(49|69)643a20{-1024}0a(43|63)6f6e74656e742d(54|74)7970653a20",
    ),
    ("0,2048", "0a(52|72)656365697665643a20{-2048}0a(43|63)6f6e74656e742d(54|74)7970653a20"),
    ("0,1024", "44656c6976657265642d546f3a{-256}52656365697665643a"),
)
_XML = "3c3f786d6c2076657273696f6e3d22312e3022"
_MIME_HEADERS = (
    "(4d|6d)(49|69)(4d|6d)(45|65)2d(56|76)657273696f6e3a20{-1024}"
    "0a(43|63)6f6e74656e742d(54|74)7970653a20"
)
HTML_OPENERS = (
    *("<Head>", "<HEAD>", "<head>", "<Html>", "<HTML>", "<html>", "<Img", "<IMG", "<img"),
    *("<Object", "<OBJECT", "<object", "<Script", "<SCRIPT", "<script"),
    *("<IFRAME", "<iframe", "<TABLE", "<table"),
)
"""What makes a text HTML, beside ``<a …href``: in these spellings and no other."""

_PATTERNS: tuple[tuple[str, str, str], ...] = (
    *(("HTML", "*", opener.encode().hex()) for opener in HTML_OPENERS),
    *(
        ("HTML", "*", f"3c{a}20*(68|48)(72|52){ef}")
        for a in ("41", "61")
        for ef in ("4546", "6566")
    ),
    ("HTML", "0", b"<%@ LANGUAGE =".hex()),
    ("MSEXE", "*", "4d5a{60-300}50450000"),
    ("PDF", "*", "255044462d??2e"),
    ("PDF", "*", "257064662d??2e"),
    *(("MAIL", offset, magic) for offset, magic in _MAIL_FURTHER_DOWN),
    ("MHTML", "0", _MIME_HEADERS),
    ("MHTML", "*", "0a" + _MIME_HEADERS),
    ("IGNORED", "0,128", "2f5247420a49440a" + "ff" * 24),
    ("SIS", "8,12", "19040010"),
    ("MACHO_UNIBIN", "0", "cafebabe0000000?"),
    ("MACHO_UNIBIN", "0", "cafebabe0000001?"),
    ("JAVA", "0", "cafebabe0000002?"),
    ("JAVA", "0", "cafebabe0000003?"),
    *(
        (type_, "0", _XML + "{0-1024}" + root)
        for type_, root in (
            ("XML_XL", "3c576f726b626f6f6b"),
            ("XML_XL", "3c??3a576f726b626f6f6b"),
            ("XML_WORD", "3c776f7264446f63756d656e74"),
            ("XML_WORD", "3c??3a776f7264446f63756d656e74"),
            ("XML_WORD", "70726f6769643d22576f72642e446f63756d656e74223f3e"),
        )
    ),
    ("XML_HWP", "0", "efbbbf" + _XML + "*3c4857504d4c"),
    ("XDP", "*", "3c7864703a786470"),
    ("APM", "0", "4552{510}504d0000"),
    ("MBR", "510", "55aa"),
    ("PYTHON_COMPILED", "0", "??0d0d0a"),
    ("LHA_LZH", "2", "2d6c68(30|31|32|33|34|35|36|37|64|78)2d"),
    ("LHA_LZH", "2", "2d6c7a(73|34|35)2d"),
    ("LHA_LZH", "2", "2d706d(30|31|32)2d"),
)


def _built_in() -> Iterable[Magic]:
    for type_, beginnings in _AT_START:
        for beginning in beginnings:
            yield Magic(f"CL_TYPE_{type_}", 0, literal=beginning)
    for i in range(0, len(_PYTHON_COMPILED), 2):
        release = _PYTHON_COMPILED[i : i + 2]
        yield Magic("CL_TYPE_PYTHON_COMPILED", 0, literal=release + b"\r\n")
    yield Magic("CL_TYPE_POSIX_TAR", 257, literal=b"ustar")
    yield Magic("CL_TYPE_GPT", 512, literal=b"EFI PART")
    yield Magic("CL_TYPE_HWPOLE2", 4, literal=b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    for type_, offset, magic in _PATTERNS:
        at, within = _offset(offset)
        yield _searched(f"CL_TYPE_{type_}", at, within, magic)


BUILT_IN: tuple[Magic, ...] = tuple(_built_in())
