"""A message or file in parts, simply: standard library only, three levels deep.

The scanner does this with more care; here it only has to show rules what they would see.
"""

import email
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from email.message import Message

from mailward.scan.part import Part, Role

_DEEPEST = 3
_MEMBERS_MAX = 300
_MEMBER_MAX_BYTES = 20 * 1024 * 1024


def message_parts(raw: bytes, path: str, depth: int = 0) -> Iterator[Part]:
    """The message itself, its bodies and attachments, and what is in those."""
    yield Part(path, raw, Role.MESSAGE, depth=depth)
    for number, piece in enumerate(email.message_from_bytes(raw).walk()):
        if piece.get_content_maintype() in ("multipart", "message"):
            continue
        content = piece.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        name = _name(piece)
        shown = piece.get_content_maintype() == "text" and not name
        role = Role.BODY if shown else Role.ATTACHMENT
        part = Part(f"{path}/{number}", content, role, name, piece.get_content_type(), depth)
        yield part
        yield from members(part)


def members(part: Part) -> Iterator[Part]:
    """What is in a container, and in containers in it; nothing if it is none or damaged."""
    if part.depth >= _DEEPEST:
        return
    for name, content in _unpack(part):
        inner = Part(f"{part.path}/{name}", content, Role.MEMBER, name, "", part.depth + 1)
        yield inner
        yield from members(inner)


def _unpack(part: Part) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    try:
        if part.data.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(part.data)) as archive:
                found.extend(
                    (info.filename, archive.read(info))
                    for info in archive.infolist()[:_MEMBERS_MAX]
                    if not info.filename.endswith("/") and info.file_size <= _MEMBER_MAX_BYTES
                )
        elif part.data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(part.data)) as stream:
                found.append((part.name.removesuffix(".gz"), stream.read(_MEMBER_MAX_BYTES)))
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, zlib.error):
        return found
    return found


def _name(piece: Message) -> str:
    try:
        return piece.get_filename() or ""
    except (LookupError, ValueError):
        return ""
