"""Old Office documents (compound files): macros and embedded objects are overwritten with zeros.

Nothing moves, so the document stays readable: Office finds no project that it could run. Where a
document keeps them in ways that hide inside of its own streams (PowerPoint, Excel 4.0 macros, DDE),
it is unsound.
"""

import re

from mailward.protect.disarm.result import Disarmed, UnsoundError
from mailward.scan.documents.compound_file import CompoundFile, DamagedError, Stream

_PROJECT = "_vba_project"
_RENAMED = "_VBA_REMOVED".encode("utf-16-le")
_PROJECT_NAME = re.compile("_VBA_PROJECT".encode("utf-16-le"), re.IGNORECASE)
_BESIDE = ("project", "projectwm", "projectlk")
_OBJECTS = ("\1ole10native", "package", "contents", "equation native", "embeddedodf")
_DDE = re.compile(rb"\x13\0?[\s\0]*D\0?D\0?E", re.IGNORECASE)
_BOF, _BOUND_SHEET, _SUP_BOOK = b"\x09\x08", b"\x85\x00", b"\xae\x01"
_READ_MAX_BYTES = 100 * 1024 * 1024


def disarm(data: bytes) -> Disarmed | None:
    """Raises UnsoundError."""
    try:
        file = CompoundFile(data)
    except DamagedError as e:
        raise UnsoundError(f"a damaged compound file: {e}") from None
    names = {stream.name.lower() for stream in file.streams}
    if any(name.startswith("__substg1.0_") for name in names):
        return None  # an Outlook message: a scan tells what is in it
    _require_sound(file, names)
    projects = {stream.storage for stream in file.streams if stream.name.lower() == _PROJECT}
    macros = [s for s in file.streams if _is_of(s, projects) and any(file.read(s, s.size))]
    objects = [s for s in file.streams if s.name.lower() in _OBJECTS and s.storage]
    objects = [s for s in objects if any(file.read(s, s.size))]
    if not macros and not objects:
        return None
    out = bytearray(data)
    for stream in (*macros, *objects):
        for start, size in file.places(stream):
            out[start : start + size] = bytes(size)
    if macros:
        out = bytearray(_PROJECT_NAME.sub(_RENAMED, out))
    removed = (("macros", macros), ("embedded objects", objects))
    return Disarmed(bytes(out), tuple(what for what, streams in removed if streams))


def _is_of(stream: Stream, projects: set[tuple[str, ...]]) -> bool:
    if stream.storage in projects:
        return True
    return stream.name.lower() in _BESIDE and any(p[:-1] == stream.storage for p in projects)


def _require_sound(file: CompoundFile, names: set[str]) -> None:
    if "encryptedpackage" in names or "encryptedsummary" in names:
        raise UnsoundError("an encrypted document")
    for stream in file.streams:
        name = stream.name.lower()
        if name == "powerpoint document":
            if re.search(rb"\x10\0\x11\x10", file.read(stream, _READ_MAX_BYTES)):
                raise UnsoundError("a PowerPoint document with objects or macros in it")
        elif name == "worddocument" and _DDE.search(file.read(stream, _READ_MAX_BYTES)):
            raise UnsoundError("a Word document with DDE fields")
        elif name in ("workbook", "book"):
            _require_sound_workbook(file.read(stream, _READ_MAX_BYTES))


def _require_sound_workbook(workbook: bytes) -> None:
    """No macro sheets and no DDE links (MS-XLS 2.4.28, 2.4.271)."""
    at = 0
    while at + 4 <= len(workbook):
        kind = workbook[at : at + 2]
        size = int.from_bytes(workbook[at + 2 : at + 4], "little")
        value = workbook[at + 4 : at + 4 + size]
        if kind == b"\x2f\x00":
            raise UnsoundError("an encrypted Excel document")
        if kind == _BOUND_SHEET and len(value) > 5 and value[5] == 1:
            raise UnsoundError("a workbook with Excel 4.0 macros")
        if kind == _BOF and len(value) >= 4 and value[2:4] == b"\x40\x00":
            raise UnsoundError("a workbook with Excel 4.0 macros")
        if kind == _SUP_BOOK and _is_program(value):
            raise UnsoundError("a workbook with links to programs")
        at += 4 + size


def _is_program(sup_book: bytes) -> bool:
    """A DDE or OLE link has no sheets, and its name no mark in front that says it is a file."""
    return (
        sup_book[:2] == b"\0\0"
        and sup_book[3:4] not in (b"\x04", b"\x3a")
        and sup_book[5:6] > b"\x03"
    )
