"""Archives behind something else: self-extractors, and pictures with an archive glued to them.

Their programs look for the archive's beginning, so does this; zips are found by their end
(``zip.looks_like_zip``).
"""

import re

from mailward.scan import programs
from mailward.scan.budget import Budget
from mailward.scan.containers import ace, autoit, inno, installshield, installshield_cabinet, nsis
from mailward.scan.containers import zip as zip_archive
from mailward.scan.contents import Contents, Piece, Shut, within
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = (
    rb"MZ|\x7fELF|\xca\xfe\xba\xbe|[\xce\xcf]\xfa\xed\xfe|\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a"
    rb"|BM.{4}\0{4}|RIFF.{4}WEBP"
)
"""Programs (Windows, ELF, Mach-O) and pictures (JPEG, PNG, GIF, BMP, WebP)."""

_ARCHIVES = (
    (b"7z\xbc\xaf\x27\x1c", re.compile(rb".{6}\0[\0-\x04].{4}.{4}\0{4}", re.DOTALL), "7z"),
    (b"Rar!\x1a\x07", re.compile(rb".{6}(?:\0..\x73|\x01\0)", re.DOTALL), "rar"),
    (b"MSCF\0\0\0\0", re.compile(rb".{8}.{3}\0\0{4}.{3}\0\0{4}\x03\x01", re.DOTALL), "cab"),
)
"""What to look for, and what else is true of the header that it begins."""
_ZIP = re.compile(
    rb"PK\x03\x04[\n-\x3f]\0.[\0-\x0f][\0\1\6\x08\x09\x0c\x0e\x5d\x63]\0.{16}.\0.\0", re.DOTALL
)
"""The first member of a zip whose end is not there: unpackers of programs may spoil it."""
_LOOKED_AT = 64
_FOUND_MAX = 20
"""Archives in one file."""


def holds_archive(data: bytes) -> bool:
    """Whether what begins as nothing known, and is no text, has an archive in it."""
    return b"\0" in data[:_LOOKED_AT] and any(
        header.match(data, at) is not None
        for magic, header, _ in _ARCHIVES
        if (at := data.find(magic, 1)) > 0
    )


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """Each archive from where it begins to the end of the file. Raises only Spent."""
    found = 0
    shield = installshield.find(data)
    end = shield.at if shield is not None else len(data)
    for magic, header, kind in _ARCHIVES:
        at = data.find(magic, 1, end)
        while at >= 0:
            if header.match(data, at):
                found += 1
                if found > _FOUND_MAX:
                    yield Shut(Reason.LIMIT, f"more than {_FOUND_MAX} archives are in it")
                    return
                budget.check_time()
                yield Piece(data[at : at + budget.room() + 1], Role.MEMBER, f"{at}.{kind}")
            at = data.find(magic, at + 1, end)
    at = data.find(ace.MAGIC, ace.MAGIC_AT + 1, end) - ace.MAGIC_AT
    if at > 0 and ace.looks_so(data, at):
        yield Piece(data[at : at + budget.room() + 1], Role.MEMBER, f"{at}.ace")
    if shield is not None:
        yield from installshield.read(data, shield, budget)
    else:
        yield from installshield_cabinet.carve(data, budget)
    first = _ZIP.search(data, 1)
    if first is not None and not zip_archive.looks_like_zip(data):
        at = first.start()
        yield Piece(data[at : at + budget.room() + 1], Role.MEMBER, f"{at}.zip")
    installer = nsis.find(data)
    if installer is not None:
        yield from within("CL_TYPE_NULSFT", nsis.read(data, installer, budget))
    yield from within("CL_TYPE_AUTOIT", autoit.read(data, budget))
    if inno.holds_installer(data):
        yield from inno.read(data, budget)
    yield from programs.read(data, budget)
