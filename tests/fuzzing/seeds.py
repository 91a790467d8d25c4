"""What a parser's fuzzing begins with: what is kept, and real files where there are some.

Real ones are the folder ``../shared/data`` and Debian's ``clamav-testfiles``; nothing that was made
of them is kept.
"""

import ast
import binascii
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType

from mailward.scan.containers import autoit
from tests.fuzzing import corpus
from tests.scan.containers import installers, test_apfs, test_file_systems, test_virtual_disk

PROJECT = Path(__file__).parent.parent.parent
DATA = PROJECT.parent / "shared" / "data"
TEST_FILES = Path("/usr/share/clamav-testfiles")

MAX_BYTES = 48 * 1024
"""Of a seed: what is longer is slow to change and to read, and is cut."""
MAX_TEXT_BYTES = 8 * 1024
MAX_SEEDS = 40
_LINES_OF_A_FILE = 15
_BLOCK_BYTES, _DIFFERENT = 32, 12
"""Of a piece by which a real file is known again, and different ones among them."""
MAX_WORDS = 400
MAX_WORD_BYTES = 24
_TRIED = 20
"""Inputs that show which modules a parser comes through."""

Parser = Callable[[bytes], object]

STARTS: dict[str, tuple[tuple[int, bytes], ...]] = {
    "7z": ((0, b"7z\xbc\xaf\x27\x1c"),),
    "Z": ((0, b"\x1f\x9d"),),
    "ace": ((7, b"**ACE**"),),
    "alz": ((0, b"ALZ\x01"),),
    "apfs": ((32, b"NXSB"),),
    "ar": ((0, b"!<arch>\n"),),
    "arj": ((0, b"\x60\xea"),),
    "autoit": ((0, b"MZ"),),
    "cab": ((0, b"MSCF"),),
    "chm": ((0, b"ITSF"),),
    "compound-file": ((0, b"\xd0\xcf\x11\xe0"),),
    "cpio": ((0, b"07070"),),
    "disk": ((510, b"\x55\xaa"), (1080, b"\x53\xef"), (0, b"hsqs")),
    "dmg": ((0, b"\x78\x01"), (0, b"\xfa\x33\xc0"), (0, b"\0\0\0\0\0\0\0\0")),
    "egg": ((0, b"EGGA"),),
    "elf": ((0, b"\x7fELF"),),
    "embedded": ((0, b"MZ"),),
    "exfat": ((3, b"EXFAT"),),
    "ext": ((1080, b"\x53\xef"),),
    "flash": ((0, b"FWS"), (0, b"CWS")),
    "hfs": ((1024, b"H+"), (1024, b"HX")),
    "inno": ((0, b"MZ"),),
    "installer": ((0, b"MZ"),),
    "installshield": ((0, b"ISc("),),
    "iso": ((0x8001, b"CD001"),),
    "kwaj": ((0, b"KWAJ"),),
    "lha": ((2, b"-lh"),),
    "lnk": ((0, b"L\0\0\0\x01\x14\x02\0"),),
    "lz4": ((0, b"\x04\x22\x4d\x18"),),
    "lzop": ((0, b"\x89LZO"),),
    "nsis": ((0, b"MZ"),),
    "ntfs": ((3, b"NTFS"),),
    "office": ((0, b"\xd0\xcf\x11\xe0"),),
    "ole": ((0, b"\xd0\xcf\x11\xe0"),),
    "onenote": ((0, b"\xe4\x52\x5c\x7b"),),
    "packed-code": ((0, b"MZ"),),
    "pdf": ((0, b"%PDF-"),),
    "pdf-crypt": ((0, b"%PDF-"),),
    "pdf-pieces": ((0, b"%PDF-"),),
    "pe": ((0, b"MZ"),),
    "program": ((0, b"MZ"),),
    "program-elf": ((0, b"\x7fELF"),),
    "qcow": ((0, b"QFI\xfb"),),
    "rar": ((0, b"Rar!\x1a\x07\x01"),),
    "rar4": ((0, b"Rar!\x1a\x07\0"),),
    "rpm": ((0, b"\xed\xab\xee\xdb"),),
    "rtf": ((0, b"{\\rtf"),),
    "sis": ((8, b"\x19\x04\0\x10"),),
    "squashfs": ((0, b"hsqs"), (0, b"sqsh")),
    "stream": ((0, b"\x1f\x8b"), (0, b"BZh"), (0, b"\xfd7zXZ"), (0, b"\x28\xb5\x2f\xfd"),
               (0, b"LZIP"), (0, b"\x5d\0\0")),
    "szdd": ((0, b"SZDD"),),
    "tar": ((257, b"ustar"),),
    "tnef": ((0, b"\x78\x9f\x3e\x22"),),
    "udf": ((0x8001, b"BEA01"), (0x8801, b"BEA01"), (0x8001, b"CD001")),
    "vmdk": ((0, b"KDMV"),),
    "web": ((0, b"<"), (0, b"\n<")),
    "html": ((0, b"<"),),
    "wim": ((0, b"MSWIM"),),
    "xar": ((0, b"xar!"),),
    "zip": ((0, b"PK"),),
    "zisofs": ((0, b"\x37\xe4\x53\x96"),),
    "zoo": ((20, b"\xdc\xa7\xc4\xfd"),),
}  # fmt: skip
"""What a file holds at which place for a parser to be fed with it."""

_FRONTS = {"apfs": 40, "ext": 1024, "hfs": 1028, "vdi": 68, "nsis": 0, "installer": 528}
"""Bytes that a parser puts in front by itself."""

_MAIL = (
    "mail/mimekit/**/*",
    "mail/mikel/**/*",
    "mail/mime4j/**/*.msg",
    "mail/stalwart/**/*",
)
LISTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("message", "mailbox", "header", "encodings", "files-in-text", "passwords", "strip",
         "header-fields", "smtp-data", "everything"),
        _MAIL,
    ),
    "links": ("mail/phishing/**/*",),
    "javascript": ("mail/phishing/**/*",),
    "yara-text": ("definitions/yara/**/*.yar",),
    "feed-yara": ("definitions/yara/**/*.yar",),
    "feed-hashes": ("definitions/hashes/**/*",),
    "feed-clamav": ("definitions/clamav/**/*.ndb", "definitions/clamav/**/*.ldb"),
}  # fmt: skip
LINES: dict[str, tuple[str, ...]] = {
    "signature.ndb": ("definitions/clamav/*.ndb",),
    "signature.ndu": ("definitions/clamav/*.ndb",),
    "signature.ldb": ("definitions/clamav/*.ldb",),
    "signature.ldu": ("definitions/clamav/*.ldb",),
    "signature.pdb": ("definitions/clamav/*.pdb",),
    "signature.wdb": ("definitions/clamav/*.wdb",),
    "signature-pieces": ("definitions/clamav/*.ndb", "definitions/clamav/*.ldb"),
    "digest-line": ("definitions/clamav/*.hdb",),
    "hash-lines": ("definitions/clamav/*.hdb",),
}


def of(target: str) -> Iterator[bytes]:
    """To begin with: all that are kept, what tests build, and at most ``MAX_SEEDS`` real ones."""
    yield from corpus.inputs(target)
    yield from (data[_FRONTS.get(target, 0) :] for data in _built(target))
    yield from islice(_real(target), MAX_SEEDS)


def _built(target: str) -> Iterator[bytes]:
    """Of which there are no small real ones."""
    if target in ("exfat", "ext", "hfs", "squashfs"):
        yield getattr(test_file_systems, target)()
    elif target == "apfs":
        yield test_apfs.apfs().rstrip(b"\0")
    elif target in ("vdi", "vmdk"):
        yield getattr(test_virtual_disk, target)(test_virtual_disk.IMAGE)
    elif target == "qcow":
        for packing in ("", "deflate", "zstd"):
            yield test_virtual_disk.qcow2(test_virtual_disk.IMAGE, packing)
    elif target == "autoit":
        made = installers.autoit({">AUTOIT SCRIPT<": b"; a\r\n", "a.com": bytes(100)})
        yield made[made.index(autoit.MAGIC) :]


def _real(target: str) -> Iterator[bytes]:
    if target in LISTS:
        paths = (path for pattern in LISTS[target] for path in sorted(DATA.glob(pattern)))
        files = [path for path in paths if path.is_file() and path.stat().st_size <= MAX_TEXT_BYTES]
        for path in files[:: max(1, len(files) // MAX_SEEDS)]:
            yield path.read_bytes()
    for pattern in LINES.get(target, ()):
        for path in sorted(DATA.glob(pattern)):
            lines = path.read_bytes().splitlines()
            for line in lines[:: max(1, len(lines) // _LINES_OF_A_FILE)]:
                yield line + b"\n" + bytes(range(64))
    for data in _files() if target in STARTS else ():
        if any(data[at : at + len(magic)] == magic for at, magic in STARTS[target]):
            yield data[_FRONTS.get(target, 0) :][:MAX_BYTES]


@cache
def _files() -> tuple[bytes, ...]:
    """Small ones first: they say as much in less time."""
    found: list[bytes] = []
    for folder in (DATA / "containers", DATA / "clean", TEST_FILES):
        for path in sorted(folder.glob("**/*")):
            if path.is_file() and path.stat().st_size <= 4 * MAX_BYTES:
                data = path.read_bytes()
                found.append(_decoded(data) if path.suffix == ".uu" else data)
    return tuple(sorted(found, key=len))


def _decoded(text: bytes) -> bytes:
    found = bytearray()
    for line in text.splitlines()[1:]:
        with suppress(binascii.Error):
            found += binascii.a2b_uu(line)
    return bytes(found)


@cache
def _blocks() -> frozenset[bytes]:
    """What no two people write alike, out of each real file."""
    blocks: set[bytes] = set()
    for folder in (DATA, TEST_FILES):
        for path in folder.glob("**/*"):
            if path.is_file() and path.stat().st_size <= 4 * MAX_BYTES:
                data = path.read_bytes()
                blocks.add(data)
                data += _decoded(data) if path.suffix == ".uu" else b""
                cut = (data[at : at + _BLOCK_BYTES] for at in range(0, len(data), _BLOCK_BYTES))
                blocks.update(block for block in cut if len(set(block)) >= _DIFFERENT)
    return frozenset(blocks)


def is_of_real_files(data: bytes) -> bool:
    """Whether a piece of a real file is in it. Raises FileNotFoundError if they are not there."""
    if not DATA.is_dir():
        raise FileNotFoundError(f"{DATA}: what is kept cannot be told from real files without it")
    starts = range(len(data) - _BLOCK_BYTES + 1)
    return data in _blocks() or any(data[at : at + _BLOCK_BYTES] in _blocks() for at in starts)


# --- words ---


def words(parse: Parser, inputs: list[bytes]) -> list[bytes]:
    """Literals of the modules that a parser comes through: changing bits rarely hits on them."""
    reached: set[CodeType] = set()

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            reached.add(frame.f_code)

    sys.setprofile(see)
    try:
        for data in (b"", *inputs[:_TRIED]):
            with suppress(Exception):
                parse(data)
    finally:
        sys.setprofile(None)
    files = {code.co_filename for code in reached if "/mailward/" in code.co_filename}
    found: set[bytes] = set()
    for file in files:
        for node in ast.walk(ast.parse(Path(file).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes | str):
                value = node.value
                word = value.encode() if isinstance(value, str) else value
                if 2 <= len(word) <= MAX_WORD_BYTES and word.strip(b"\0"):
                    found.add(word)
    return sorted(found, key=lambda word: (len(word), word))[:MAX_WORDS]


def dictionary(found: list[bytes]) -> str:
    """As libFuzzer reads one."""
    quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in found)
    return "# literals\n" + "".join(f'"{each}"\n' for each in quoted)  # it takes no empty file
