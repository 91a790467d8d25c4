"""Containers: recognised by their content, never by their name, and unpacked within a budget.

A new format is a module beside these with ``read``, and a line in one of the tables. What two
programs would take for two things is read as both.
"""

import re
from collections.abc import Callable
from functools import partial
from itertools import chain

from mailward.scan import marks
from mailward.scan.budget import Budget
from mailward.scan.containers import (
    ace,
    alzip,
    apple_archive,
    arj,
    chm,
    disk,
    dmg,
    embedded,
    installshield_3,
    installshield_cabinet,
    iso,
    libarchive,
    lz_expand,
    lzop,
    lzw,
    onenote,
    rar,
    sevenzip,
    shortcut,
    sis,
    stream,
    tar,
    udf,
    universal,
    wim,
    zisofs,
    zoo,
)
from mailward.scan.containers import zip as zip_archive
from mailward.scan.containers.recognised import recognise
from mailward.scan.contents import Contents, Shut, within
from mailward.scan.documents import readers
from mailward.scan.mime import inline
from mailward.scan.verdict import Reason

Reader = Callable[[bytes, str, Budget], Contents]
"""The content, the container's own name, the budget. Raises Spent while it is iterated, and nothing
else, whatever the content is."""


Format = tuple[bytes, str, Reader]
"""How it begins (a regular expression without groups), what it is, and who reads it."""


def _libarchive(magic: bytes, kind: libarchive.Kind) -> Format:
    return magic, kind.what, partial(libarchive.read, kind)


def _never_silent(empty_bytes: int, magic: bytes, what: str, read: Reader) -> Format:
    """Of archives that nobody makes without a file: the smallest may be so large (S11)."""

    def reading(data: bytes, name: str, budget: Budget) -> Contents:
        folders_before = budget.parts
        contents = read(data, name, budget)
        first = next(contents, None)
        if first is not None:
            yield first
            yield from contents
        elif budget.parts == folders_before and len(data) > empty_bytes:
            yield Shut(Reason.MALFORMED, f"{what}: nothing in it can be read")

    return magic, what, reading


def _behind(type_: str, read: Reader) -> Reader:
    """Of formats that may stand behind something else; a zip that begins as one does not."""

    def reading(data: bytes, name: str, budget: Budget) -> Contents:
        contents = read(data, name, budget)
        return contents if data.startswith(b"PK") else within(type_, contents)

    return reading


_AT_START: tuple[Format, ...] = (
    (stream.STARTS, "compressed file", stream.read),
    _never_silent(32, rb"7z\xbc\xaf\x27\x1c", "7-Zip archive", sevenzip.read),
    (rar.STARTS, "RAR archive", rar.read),
    _libarchive(rb"MSCF\0\0\0\0", libarchive.CAB),
    _libarchive(rb"..-(?:lh[0-9dx]|lz[s45]|pm[012])-", libarchive.LHA),
    _libarchive(rb"07070[12][0-9A-Fa-f]{104}|070707[0-7]{70}", libarchive.CPIO),
    _libarchive(rb"\xc7\x71.{4}.[\x21-\xcf].{12}.[\0-\x04]", libarchive.CPIO),
    _libarchive(rb"\x71\xc7.{4}[\x21-\xcf]..{12}[\0-\x04].", libarchive.CPIO),
    _libarchive(rb"xar!\0", libarchive.XAR),
    _libarchive(rb"!<arch>\n", libarchive.AR),
    _libarchive(rb"\xed\xab\xee\xdb", libarchive.RPM),
    _libarchive(rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18", libarchive.LZ4),
    _never_silent(0, ace.STARTS, "ACE archive", ace.read),
    _never_silent(64, alzip.ALZ_STARTS, "ALZ archive", alzip.read_alz),
    _never_silent(64, alzip.EGG_STARTS, "EGG archive", alzip.read_egg),
    (arj.STARTS, "ARJ archive", arj.read),
    _never_silent(0, chm.STARTS, "compiled HTML help", chm.read),
    _never_silent(
        0, installshield_cabinet.STARTS, "InstallShield cabinet", installshield_cabinet.read
    ),
    (lzop.STARTS, "lzop'ed file", lzop.read),
    (lzw.STARTS, "compress'ed file (.Z)", lzw.read),
    (lzw.SCO_STARTS, "compress'ed file of SCO", lzw.read_sco),
    _never_silent(0, installshield_3.STARTS, "InstallShield archive", installshield_3.read),
    (lz_expand.STARTS, "file of COMPRESS.EXE", lz_expand.read),
    (shortcut.STARTS, "Windows shortcut", shortcut.read),
    _never_silent(128, zoo.STARTS, "ZOO archive", zoo.read),
    _never_silent(0, sis.STARTS, "Symbian package (SIS)", sis.read),
    (onenote.STARTS, "OneNote section", onenote.read),
    (zisofs.STARTS, "compressed file of an ISO 9660 image", zisofs.read),
    (wim.STARTS, "Windows image", wim.read),
    _never_silent(
        16, apple_archive.BLOCKS_START, "packed blocks of macOS", apple_archive.read_blocks
    ),
    _never_silent(0, apple_archive.ARCHIVE_STARTS, "Apple Archive", apple_archive.read_archive),
    (apple_archive.LZFSE_STARTS, "file of lzfse", apple_archive.read_lzfse),
    (embedded.STARTS, "program or picture", embedded.read),
    *readers.AT_START,
)
_START = re.compile(b"|".join(b"(%b)" % magic for magic, _, _ in _AT_START), re.DOTALL)

_BY_LOOK: tuple[tuple[Callable[[bytes], bool], str, Reader], ...] = (
    (universal.looks_so, "program of macOS for several processors", universal.read),
    (iso.looks_raw, "ISO 9660 disk image in raw sectors", iso.read_raw),
    (iso.looks_like_iso, "ISO 9660 disk image", _behind("CL_TYPE_ISO9660", iso.read)),
    (disk.looks_like_disk, "disk image", disk.read),
    (udf.looks_like_udf, "UDF disk image", udf.read),
    (zip_archive.looks_like_zip, "zip archive", _behind("CL_TYPE_ZIP", zip_archive.read)),
    *readers.BY_LOOK,
)
"""Besides what it starts as."""

_BY_MARKS: tuple[tuple[Callable[[bytes, int], bool], str, Reader], ...] = (
    (inline.holds_files, "files in a text", inline.read),
    *readers.BY_MARKS,
)
"""Given what a text holds (``scan.marks``)."""


def unpack(data: bytes, name: str, content_type: str, budget: Budget) -> Contents | None:
    """What is inside; None if ``data`` is no container.

    Making it costs nothing: the work is done while it is iterated, which raises Spent and nothing
    else, whatever ``data`` is. ``name``: the container's own.
    """
    found = [read(data, name, budget) for _, read in _formats(data)]
    shut = recognise(data, content_type)
    if shut is not None:
        found.append(iter((shut,)))
    if not found and tar.looks_like_tar(data):
        found.append(tar.read(data, name, budget))
    if len(found) > 1:
        return chain.from_iterable(found)
    return found[0] if found else None


def kind(data: bytes) -> str:
    """What ``data`` is, for people; empty if it is no container that can be opened."""
    what = " and ".join(what for what, _ in _formats(data))
    return what or ("tar archive" if tar.looks_like_tar(data) else "")


def _formats(data: bytes) -> list[tuple[str, Reader]]:
    if dmg.looks_like_dmg(data):  # it begins with a piece of itself, which is no file
        return [("macOS disk image", dmg.read)]
    start = _START.match(data)
    found = [_AT_START[start.lastindex - 1][1:]] if start is not None and start.lastindex else []
    found += [(what, read) for looks_so, what, read in _BY_LOOK if looks_so(data)]
    held = marks.of(data)
    if held:
        found += [(what, read) for looks_so, what, read in _BY_MARKS if looks_so(data, held)]
    if not found and embedded.holds_archive(data):
        found.append(("archive behind something else", embedded.read))
    return found
