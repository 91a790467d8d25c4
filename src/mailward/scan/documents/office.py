"""Office documents, Outlook messages and whatever else is a compound file: each stream, and more.

What a stream packs is given beside it: packaged files, macros, compressed objects of PowerPoint,
formulas of Excel 4.0 macro sheets, attachments and texts of Outlook messages under their names.
"""

import re
import struct
from collections import defaultdict

from mailward.scan.budget import Budget
from mailward.scan.containers.inflate import deflate, inflate
from mailward.scan.contents import Contents, Piece, Shut, Unlocked
from mailward.scan.documents import (
    excel4,
    hangul,
    mapi,
    msi,
    office_crypt,
    ole,
    powerpoint_crypt,
    vba,
)
from mailward.scan.documents.compound_file import CompoundFile, DamagedError, Stream
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_OVERLAP_RATIO = 4
"""Streams together to the size of the file: honest ones share nothing."""
_PROPERTY = re.compile(r"__substg1\.0_([0-9A-Fa-f]{4})([0-9A-Fa-f]{4})")
_NAMED_PROPERTIES = "__nameid_version1.0"
"""A storage whose streams are called like properties and are none."""
_COMPRESSED_OBJECT = re.compile(rb"\x10\0\x11\x10(.{4})(.{4})(?=\x78)", re.DOTALL)
"""PowerPoint's ExOleObjStgCompressedAtom (MS-PPT 2.10.35): size, size when unpacked, zlib."""
_HOLD_ZIPS = ("powerpoint document", "0table", "1table", "data")
"""Streams in which Office keeps themes, each an archive, between other things."""
_ZIP, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_ZIP_END_BYTES = 22
_ZLIB_HEADER_BYTES = 2
_WORD_ENCRYPTED = 0x0100
"""fEncrypted of FibBase (MS-DOC 2.5.2), in the 16 bits at offset 10."""


def read(data: bytes, name: str, budget: Budget) -> Contents:
    """Raises only Spent."""
    try:
        file = CompoundFile(data)
    except DamagedError as e:
        yield Shut(Reason.MALFORMED, f"compound file: {e}")
        return
    streams = [stream for stream in file.streams if stream.size]
    if sum(min(s.size, len(data)) for s in streams) > _OVERLAP_RATIO * len(data):
        yield Shut(Reason.MALFORMED, "compound file: its streams overlap, as in a bomb")
        return
    names = _outlook_names(file, streams)
    encrypted: Shut | None = None
    for stream in streams:
        budget.check_time()
        room = budget.room()
        content = file.read(stream, room)
        if stream.size > room:
            yield _named(stream, budget.over_room(room))
        elif len(content) < stream.size:
            yield _named(stream, Shut(Reason.MALFORMED, "its sectors end too early"))
        for found in _stream(stream, content, names, budget):
            if isinstance(found, Shut) and found.reason is Reason.ENCRYPTED:
                encrypted = encrypted or found
            else:
                yield found
    if encrypted is not None:
        opened = office_crypt.decrypt(data, file, budget)
        if opened is None:
            yield encrypted
        else:
            plain, by_password_of_mail = opened
            if by_password_of_mail:
                yield Unlocked()
            yield Piece(plain, Role.MEMBER, name, label="decrypted")
            if any(stream.name.lower() == "pictures" for stream in streams):
                what = "pictures of an encrypted presentation"
                yield Shut(Reason.ENCRYPTED, what, label="Pictures")
    yield from vba.read(file, streams, budget)
    yield from hangul.read_streams(file, streams, budget)


def _stream(
    stream: Stream, content: bytes, names: dict[tuple[str, ...], str], budget: Budget
) -> Contents:
    found = _PROPERTY.fullmatch(stream.name)
    if found is not None and stream.storage[:1] != (_NAMED_PROPERTIES,):
        yield from _outlook(stream, content, int(found[1], 16), int(found[2], 16), names, budget)
        return
    holds_zips = stream.name.lower() in _HOLD_ZIPS and _ZIP in content
    name, label = _shown(stream.name), _label(stream)
    yield Piece(content, Role.MEMBER, name, label=label, is_sealed=holds_zips)
    if holds_zips:
        yield from _zips(content, sized=stream.name.lower() == "powerpoint document")
    match stream.name.lower():
        case "\1ole10native":
            yield from ole.native(content)
        case "powerpoint document":
            yield from _compressed_objects(content, budget)
        case "worddocument" if _is_encrypted_word(content):
            yield Shut(Reason.ENCRYPTED, "encrypted Word document")
        case "workbook" | "book":
            yield from excel4.read(content, budget)
        case "encryptedpackage":
            yield Shut(Reason.ENCRYPTED, "encrypted Office document")
        case "encryptedsummary":
            yield Shut(Reason.ENCRYPTED, "encrypted PowerPoint document")
        case "current user" if powerpoint_crypt.is_encrypted(content):
            yield Shut(Reason.ENCRYPTED, "encrypted PowerPoint document")


def _is_encrypted_word(content: bytes) -> bool:
    return len(content) > 12 and bool(struct.unpack_from("<H", content, 10)[0] & _WORD_ENCRYPTED)


def _compressed_objects(content: bytes, budget: Budget) -> Contents:
    for number, found in enumerate(_COMPRESSED_OBJECT.finditer(content), 1):
        size = int.from_bytes(found[1], "little")
        packed = memoryview(content)[found.end() : found.end() + max(0, size - 4)]
        inflated = inflate(deflate, packed[_ZLIB_HEADER_BYTES:], budget)
        if inflated.data:
            yield Piece(inflated.data, Role.MEMBER, label=f"object {number}")
        if inflated.shut is not None and len(inflated.data) < int.from_bytes(found[2], "little"):
            # PowerPoint leaves out the end of the stream, and its checksum.
            yield Shut(inflated.shut.reason, inflated.shut.detail, label=f"object {number}")


def _zips(content: bytes, *, sized: bool) -> Contents:
    """Archives between other things: up to the size in front of them, or the end of a directory."""
    at = 0
    while (at := content.find(_ZIP, at)) >= 0:
        size = int.from_bytes(content[max(0, at - 4) : at], "little") if sized else 0
        end = at + size
        if not len(_ZIP) < size <= len(content) - at:
            directory_end = content.find(_ZIP_END, at)
            end = directory_end + _ZIP_END_BYTES if directory_end >= 0 else len(content)
        yield Piece(content[at:end], Role.MEMBER, label=f"archive at {at}")
        at = end


def _outlook_names(file: CompoundFile, streams: list[Stream]) -> dict[tuple[str, ...], str]:
    """The names of an Outlook message's attachments, by their storage (MS-OXMSG 2.2.2)."""
    read: dict[tuple[str, ...], dict[int, str]] = defaultdict(dict)
    for stream in streams:
        found = _PROPERTY.fullmatch(stream.name)
        if found is None:
            continue
        tag, kind = int(found[1], 16), int(found[2], 16)
        if tag in (mapi.ATTACH_NAME, mapi.ATTACH_LONG_NAME):
            value = mapi.text(kind, file.read(stream, 2048))
            read[stream.storage][tag] = value.decode("utf-8", "replace")
    return {
        storage: found.get(mapi.ATTACH_LONG_NAME) or found.get(mapi.ATTACH_NAME, "")
        for storage, found in read.items()
    }


def _outlook(
    stream: Stream,
    content: bytes,
    tag: int,
    kind: int,
    names: dict[tuple[str, ...], str],
    budget: Budget,
) -> Contents:
    if tag == mapi.ATTACH_DATA and kind == mapi.BINARY:
        yield Piece(content, Role.ATTACHMENT, names.get(stream.storage, ""), label=_label(stream))
        return
    shown = mapi.body(tag, kind, content, budget)
    if shown:
        yield from (_named(stream, each) for each in shown)
    else:
        yield Piece(content, Role.MEMBER, _shown(stream.name), label=_label(stream))


def _named(stream: Stream, found: Piece | Shut) -> Piece | Shut:
    label = "/".join(filter(None, (_label(stream), found.label or _shown(stream.name))))
    if isinstance(found, Shut):
        return Shut(found.reason, found.detail, found.name, label)
    return Piece(found.data, found.role, found.name, found.content_type, label)


def _label(stream: Stream) -> str:
    return "/".join(_shown(name) for name in stream.storage)


def _shown(name: str) -> str:
    return msi.stream_name("".join(c for c in name if c.isprintable()))
