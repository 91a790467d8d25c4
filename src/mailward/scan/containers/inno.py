"""Inno Setup installers, versions 5 to 6: the script and the files.

Behind the program lie the packed files ("chunks", each of one or more files), a mark with the
version, and two blocks: the script (all sections, texts and compiled code), and where the files
are. How the latter's entries are laid out differs between versions; the one is taken whose entries
all lead to a chunk. Layout: ``Shared.Struct.pas`` of Inno Setup, innoextract's sources.
"""

import hashlib
import re
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import inno_crypt
from mailward.scan.containers.inflate import Inflated
from mailward.scan.containers.inno_streams import read_block, undo_calls, unpack_chunk
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_LOADER = re.compile(
    rb"rDlPtS(?:\xcd\xe6\xd7\x7b\x0b\x2a|0[24567]\x87eVx)|nS5W7dT\x83\xaa\x1b\x0fj", re.DOTALL
)
"""What begins the table of offsets in the program."""
_LOADER_LETTERS = (b"rDlPtS", b"nS5W7dT")
_MARK = re.compile(
    rb"Inno Setup Setup Data \((\d)\.(\d{1,2})\.(\d{1,2})(?:\.\d{1,2})?\)( \([uU]\))?"
)
_MARK_BYTES = 64
_OFFSETS_FROM_5 = struct.Struct("<12s7L")
_OFFSETS_LONG = struct.Struct("<12sLQQLLQQ4xL")
_OFFSETS_BEFORE = struct.Struct("<12s6L")
_ENCRYPTION = struct.Struct("<LB48x")
_ENCRYPTION_FULL = 2
_OTHER_CIPHER = (6, 4, 0)
"""XChaCha20 since then, with a key derived from what the header has."""
_CHUNK = b"zlb\x1a"
_ENTRY_FRONT = {4: struct.Struct("<LLLQQQ"), 8: struct.Struct("<LLQQQQ")}
_TIMES_BYTES = 16
_DIGESTS = {16: "md5", 20: "sha1", 32: "sha256"}
_LAYOUTS = (
    (4, 20, 2), (8, 32, 1), (4, 32, 1), (4, 32, 3), (4, 20, 3), (4, 16, 2), (4, 16, 1),
)  # fmt: skip
"""Of entries: bytes of an offset, of the digest, of flags. 5.3.9 to 6.2, 6.5.2, 6.4.3, 6.4, 6.3,
5.1.13 to 5.3.8, 5.0."""
_ENTRIES_MAX = 100_000
_SLICES_MAX = 10_000
_CHECKED = 200
"""Entries whose chunk is looked at before a layout is taken."""
_NAME_MAX_BYTES = 1024
_WINDOWS_BYTES = 20
_NO_PLACE = 0xFFFFFFFF
_NAMES_LOOK_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Installer:
    """Where its pieces are."""

    version: tuple[int, int, int]
    mark: int
    chunks: int
    """Where offsets of chunks count from; the first of them is there. -1: in other files."""
    wide: bool
    setup: int = 0
    """Where the program that does the work is; 0 if that is not known."""
    setup_checksum: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    is_elsewhere: bool
    """In another file than this one."""
    chunk: int
    packed: int
    at: int
    size: int
    digest: bytes
    calls: bool
    encrypted: bool
    compressed: bool


def holds_installer(data: bytes) -> bool:
    """Whether a program is one of Inno Setup's loaders."""
    return _loader(data) is not None or _MARK.search(data) is not None


def _loader(data: bytes) -> "re.Match[bytes] | None":
    """What begins its table; found by its letters, which is ten times as fast as the expression."""
    for letters in _LOADER_LETTERS:
        at = data.find(letters)
        while at >= 0:
            found = _LOADER.match(data, at)
            if found is not None:
                return found
            at = data.find(letters, at + 1)
    return None


def read(data: bytes, budget: Budget) -> Contents:
    """Script and files. Raises only Spent."""
    installer = _find(data)
    if installer is None:
        why = "Inno Setup installer: older than version 5, changed, or cut: it cannot be opened"
        yield Shut(Reason.UNSUPPORTED, why)
        return
    yield from _setup(data, installer, budget)
    script, behind, shut = _script(data, installer, budget)
    if script is None:
        yield shut
        return
    yield Piece(script.data, Role.MEMBER, label="script", is_sealed=True)
    if script.shut is not None:
        yield Shut(script.shut.reason, script.shut.detail, label="script")
    block = read_block(data, behind, budget)
    if block is None or block[0].shut is not None:
        yield Shut(Reason.MALFORMED, "Inno Setup installer: its list of files is damaged or cut")
        if block is None:
            return
    entries = _entries(block[0].data, data, installer)
    if entries is None:
        why = f"Inno Setup installer: files of version {_dotted(installer)} are not known"
        yield Shut(Reason.UNSUPPORTED, why)
        return
    names = _names(script.data, installer, len(entries), budget)
    yield from _files(data, installer, entries, names, budget)


def _dotted(installer: Installer) -> str:
    return ".".join(map(str, installer.version))


def _find(data: bytes) -> Installer | None:
    mark = _MARK.search(data)
    if mark is None or mark.start() + _MARK_BYTES > len(data):
        return None
    version = int(mark[1]), int(mark[2]), int(mark[3])
    if version < (5, 0, 0):
        return None
    wide = mark[4] is not None or version >= (6, 3, 0)
    first = data.find(_CHUNK)
    setup, checksum, chunks = _offsets(data)
    if chunks == 0 or (chunks is not None and data.startswith(_CHUNK, chunks)):
        first = chunks or -1
    return Installer(version, mark.start(), first, wide, setup, checksum)


def _offsets(data: bytes) -> tuple[int, int, int | None]:
    """The loader's table: its program, the program's checksum, chunks; None if it is not whole."""
    loader = _loader(data)
    if loader is not None:
        way, place, *_ = (
            (_OFFSETS_BEFORE, 2) if loader[0].startswith(b"rDlPtS0")
            else (_OFFSETS_FROM_5, 3) if data[loader.end() : loader.end() + 1] == b"\1"
            else (_OFFSETS_LONG, 3)
        )  # fmt: skip
        if loader.start() + way.size <= len(data):
            setup, _, checksum, _, chunks = way.unpack_from(data, loader.start())[place : place + 5]
            return setup, checksum, chunks
    return 0, 0, None


def _setup(data: bytes, installer: Installer, budget: Budget) -> Contents:
    """The program that the loader unpacks and starts."""
    if not installer.setup:
        return
    block = read_block(data, installer.setup, budget)
    if block is None:
        why = "Inno Setup installer: its program is damaged or cut"
        yield Shut(Reason.MALFORMED, why, label="setup")
        return
    content = undo_calls(block[0].data, installer.version, budget)
    yield Piece(content, Role.MEMBER, label="setup")
    shut = block[0].shut
    if shut is None and zlib.crc32(content) != installer.setup_checksum:
        shut = Shut(Reason.MALFORMED, "a checksum is wrong")
    if shut is not None:
        yield Shut(shut.reason, shut.detail, label="setup")


def _script(data: bytes, installer: Installer, budget: Budget) -> tuple[Inflated | None, int, Shut]:
    """The first block, where the second begins, and why there is none."""
    at = installer.mark + _MARK_BYTES
    block = read_block(data, at, budget)
    if block is None and at + _ENCRYPTION.size <= len(data):
        checksum, use = _ENCRYPTION.unpack_from(data, at)
        if zlib.crc32(data[at + 4 : at + _ENCRYPTION.size]) == checksum:
            if use == _ENCRYPTION_FULL:
                return None, 0, Shut(Reason.ENCRYPTED, "encrypted Inno Setup installer")
            block = read_block(data, at + _ENCRYPTION.size, budget)
    if block is None:
        why = f"Inno Setup installer {_dotted(installer)}: its script is damaged, cut or not known"
        return None, 0, Shut(Reason.MALFORMED, why)
    return *block, Shut(Reason.MALFORMED, "")


def _entries(block: bytes, data: bytes, installer: Installer) -> list[_Entry] | None:
    """None if no layout fits."""
    if not block:
        return []
    for offset_bytes, digest_bytes, flag_bytes in _LAYOUTS:
        front = _ENTRY_FRONT[offset_bytes]
        size = front.size + digest_bytes + _TIMES_BYTES + flag_bytes
        if len(block) % size:
            continue
        entries = []
        for number, at in enumerate(range(0, min(len(block), size * _ENTRIES_MAX), size)):
            first, last, chunk, start, plain, packed = front.unpack_from(block, at)
            digest = block[at + front.size : at + front.size + digest_bytes]
            flags = int.from_bytes(block[at + size - flag_bytes : at + size], "little")
            slim = digest_bytes == 32 and flag_bytes == 1
            elsewhere = bool(first or last) or installer.chunks < 0
            if not first <= last <= _SLICES_MAX or (
                number < _CHECKED
                and not elsewhere
                and not data.startswith(_CHUNK, installer.chunks + chunk)
            ):
                break
            calls, encrypted, compressed = (2, 3, 4) if slim else (4, 6, 7)
            entries.append(
                _Entry(
                    number, elsewhere, chunk, packed, start, plain, digest,
                    bool(flags >> calls & 1), bool(flags >> encrypted & 1),
                    bool(flags >> compressed & 1),
                )
            )  # fmt: skip
        else:
            return entries
    return None


def _files(
    data: bytes, installer: Installer, entries: list[_Entry], names: dict[int, str], budget: Budget
) -> Contents:
    """Chunk after chunk, each unpacked once."""
    chunks: dict[tuple[int, int, bool, bool], list[_Entry]] = defaultdict(list)
    elsewhere = 0
    for entry in entries:
        elsewhere += entry.is_elsewhere
        if not entry.is_elsewhere:
            key = entry.chunk, entry.packed, entry.compressed, entry.encrypted
            chunks[key].append(entry)
    if elsewhere:
        why = f"Inno Setup installer: {elsewhere} files are in other files (setup-1.bin)"
        yield Shut(Reason.UNSUPPORTED, why)
    for (chunk, packed_bytes, compressed, encrypted), together in chunks.items():
        start = installer.chunks + chunk + len(_CHUNK)
        packed = memoryview(data)[start : start + packed_bytes]
        if encrypted:
            locked = memoryview(data)[start : start + inno_crypt.SALT_BYTES + packed_bytes]
            opened = _opened(locked, together[0], installer, budget)
            for entry in together:
                name = names.get(entry.number, "")
                if opened is not None:
                    yield Unlocked(name, _label(entry))
                    continue
                yield Shut(Reason.ENCRYPTED, "encrypted file of an installer", name, _label(entry))
            if opened is None:
                continue
            done = opened
        else:
            done = unpack_chunk(packed, compressed, budget)
        shut = done.shut
        if shut is None and len(packed) < packed_bytes:
            shut = Shut(Reason.MALFORMED, "truncated: the installer ends too early")
        for entry in together:
            budget.check_time()
            yield from _file(entry, names.get(entry.number, ""), done.data, shut, installer, budget)


def _opened(
    locked: memoryview, first: _Entry, installer: Installer, budget: Budget
) -> Inflated | None:
    """A chunk with the first password that makes its first file what it should be."""
    if installer.version >= _OTHER_CIPHER:
        return None
    for password, plain in inno_crypt.opened(locked, budget, wide=installer.wide):
        done = unpack_chunk(memoryview(plain), first.compressed, budget)
        content = done.data[first.at : first.at + first.size]
        if first.calls:
            content = undo_calls(content, installer.version, budget)
        digest = hashlib.new(_DIGESTS[len(first.digest)], content, usedforsecurity=False).digest()
        over = done.shut is not None and done.shut.reason is Reason.LIMIT
        if over or digest == first.digest:
            budget.passwords.worked(password)
            return done
    return None


def _label(entry: _Entry) -> str:
    return f"file {entry.number}"


def _file(
    entry: _Entry, name: str, chunk: bytes, shut: Shut | None, installer: Installer, budget: Budget
) -> Contents:
    content = chunk[entry.at : entry.at + entry.size]
    whole = len(content) == entry.size
    if entry.calls:
        content = undo_calls(content, installer.version, budget)
    yield Piece(content, Role.MEMBER, name, label=_label(entry))
    if not whole:
        shut = shut or Shut(Reason.MALFORMED, "truncated: its packed data ends too early")
        yield Shut(shut.reason, shut.detail, name, _label(entry))
        return
    digest = hashlib.new(_DIGESTS[len(entry.digest)], content, usedforsecurity=False).digest()
    if digest != entry.digest:
        yield Shut(Reason.MALFORMED, "a checksum is wrong", name, _label(entry))


def _names(script: bytes, installer: Installer, count: int, budget: Budget) -> dict[int, str]:
    """File names by number of the entry, as far as they are found.

    The script's sections before that of files differ between versions; so what looks like an entry
    of a file is looked for: a path that begins with a constant, and what follows it.
    """
    brace = b"{\0" if installer.wide else b"{"
    names: dict[int, str] = {}
    at = turns = 0
    while (at := script.find(brace, at + 1)) >= 0 and len(names) < count:
        turns += 1
        if turns % _NAMES_LOOK_EVERY == 0:
            budget.check_time()
        size = int.from_bytes(script[at - 4 : at], "little") if at >= 8 else 0
        if not 0 < size <= _NAME_MAX_BYTES or script[at - 8 : at - 4] != bytes(4):
            continue
        number = _place(script, at + size, installer.version)
        if number is None or number >= count:
            continue
        raw = script[at : at + size]
        path = raw.decode("utf-16-le" if installer.wide else "cp1252", "replace")
        names.setdefault(number, re.split(r"[/\\]", path)[-1])
    return names


def _place(script: bytes, at: int, version: tuple[int, int, int]) -> int | None:
    """Which place an entry of a file names, if ``at`` is behind its path; None if it is none."""
    strings, more = (7, 0) if version < (5, 2, 5) else (8, 0) if version < (6, 5, 0) else (14, 33)
    for _ in range(strings):
        size = int.from_bytes(script[at : at + 4], "little")
        at += 4 + size
        if at > len(script):
            return None
    fields = script[at + more + _WINDOWS_BYTES : at + more + _WINDOWS_BYTES + 16]
    if len(fields) < 16:
        return None
    number, attributes, size = struct.unpack("<LLQ", fields)
    if attributes > 0xFFFF or size or number == _NO_PLACE:
        return None
    return int(number)
