"""Windows images (WIM, ESD): stored, or packed by XPRESS, LZX or LZMS, also several files as one.

Contents are in a table, each once however many files have it; names are in the metadata of each
image. All contents of the table are read, also those that no image names. Format: Microsoft,
"Windows Imaging File Format"; for what it leaves out, E. Biggers, wimlib's ``header.h``.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import wim_chunks as chunks
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

STARTS = rb"MSWIM\0\0\0"

_XPRESS, _LZX, _LZMS = 1 << 17, 1 << 18, 1 << 19
_UNPACK: dict[int, chunks.Packing] = {_XPRESS: "XPRESS", _LZX: "LZX", _LZMS: "LZMS"}
_METADATA, _PACKED, _SOLID = 2, 4, 16
_SOLID_SIZE = 1 << 32
"""Said of what holds several contents; those that follow it in the table are in it."""
_RESOURCE = struct.Struct("<QQQ")
_ENTRY_BYTES, _ENTRIES_MAX = 50, 100_000
_TABLE_AT = 48
_METADATA_MAX_BYTES = 32 << 20
_NAME = struct.Struct("<HHH")
_DENTRY_BYTES, _STREAM_BYTES = 102, 38
_NAMES_MAX = 200_000
_IS_FOLDER = 0x10
_NO_HASH = bytes(20)


@dataclass(frozen=True, slots=True)
class _Resource:
    at: int
    packed_bytes: int
    size: int
    flags: int


@dataclass(frozen=True, slots=True)
class _Entry:
    resource: _Resource
    part: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class _Image:
    data: bytes
    method: chunks.Method
    part: int

    def opens(self, resource: _Resource) -> bool:
        """Whether it is packed in a way that is understood, if it is."""
        return not resource.flags & _PACKED or self.method.is_known


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        image = _image(data)
        table = _resource(data, _TABLE_AT)
    except struct.error:
        yield Shut(Reason.MALFORMED, "Windows image: truncated")
        return
    listing, shut = _content(image, table, _ENTRIES_MAX * _ENTRY_BYTES, budget)
    if shut is not None or len(listing) < _ENTRY_BYTES:
        yield Shut(Reason.MALFORMED, "Windows image: its table of contents is damaged")
    entries = list(_entries(listing))
    here = [entry for entry in entries if entry.part == image.part]
    apart = [entry for entry in here if not entry.resource.flags & _SOLID]
    names: dict[bytes, str] = {}
    for entry in apart:
        if entry.resource.flags & _METADATA and image.opens(entry.resource):
            metadata, shut = _content(image, entry.resource, _METADATA_MAX_BYTES, budget)
            _read_names(metadata, names, budget)
            if shut is not None:
                yield Shut(shut.reason, "Windows image: its names are damaged")
    for entry in apart:
        budget.check_time()
        if not entry.resource.flags & _METADATA and image.opens(entry.resource):
            name = names.get(entry.hash, "")
            content, shut = _content(image, entry.resource, budget.room(), budget)
            yield Piece(content, Role.MEMBER, name)
            if shut is not None:
                yield Shut(shut.reason, shut.detail, name)
    for run in _runs([entry for entry in here if entry.resource.flags & _SOLID]):
        yield from _solid(data, run, names, budget)
    shut_here = sum(not image.opens(entry.resource) for entry in apart)
    if shut_here:
        why = f"Windows image: {shut_here} of its contents are packed in a way that is not known"
        yield Shut(Reason.UNSUPPORTED, why)
    if len(here) < len(entries):
        why = f"Windows image: {len(entries) - len(here)} of its contents are in another file"
        yield Shut(Reason.UNSUPPORTED, why)


def _image(data: bytes) -> _Image:
    flags, chunk_bytes = struct.unpack_from("<LL", data, 16)
    part = struct.unpack_from("<H", data, 40)[0]
    packing = flags & (_XPRESS | _LZX | _LZMS)
    bits = (chunk_bytes or 1 << 15).bit_length() - 1
    return _Image(data, chunks.Method(_UNPACK.get(packing, ""), bits), part)


def _resource(data: bytes, at: int) -> _Resource:
    first, place, size = _RESOURCE.unpack_from(data, at)
    return _Resource(place, first & (1 << 56) - 1, size, first >> 56)


def _entries(listing: bytes) -> Iterator[_Entry]:
    for at in range(0, len(listing) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        part = int.from_bytes(listing[at + 24 : at + 26], "little")
        yield _Entry(_resource(listing, at), part, listing[at + 30 : at + 50])


def _runs(entries: list[_Entry]) -> Iterator[tuple[list[_Resource], list[_Entry]]]:
    """What holds several contents, and those; some can be one behind another."""
    holders: list[_Resource] = []
    held: list[_Entry] = []
    for entry in entries:
        if entry.resource.size != _SOLID_SIZE:
            held.append(entry)
            continue
        if held:
            yield holders, held
            holders, held = [], []
        holders.append(entry.resource)
    if holders or held:
        yield holders, held


def _solid(
    data: bytes,
    run: tuple[list[_Resource], list[_Entry]],
    names: dict[bytes, str],
    budget: Budget,
) -> Contents:
    """The files of a run: each says where it is in all of it, and has its size as packed size."""
    whole, shut = b"", None
    for holder in run[0]:
        packed = data[holder.at : holder.at + holder.packed_bytes]
        content, shut = chunks.unpack_solid(packed, max(0, budget.room() - len(whole)), budget)
        whole += content
        if shut is not None:
            break
    missing = shut is not None and not run[1]
    for entry in run[1]:
        place = entry.resource
        content = whole[place.at : place.at + place.packed_bytes]
        is_cut = len(content) < place.packed_bytes
        missing |= is_cut
        if content or not is_cut:
            yield Piece(content, Role.MEMBER, names.get(entry.hash, ""))
    if missing:
        yield shut or Shut(Reason.MALFORMED, "Windows image: contents that are nowhere")


def _content(
    image: _Image, resource: _Resource, limit: int, budget: Budget
) -> tuple[bytes, Shut | None]:
    """At most so many bytes, and why they are not all. Raises only Spent."""
    if resource.flags & _PACKED:
        packed = image.data[resource.at : resource.at + resource.packed_bytes]
        return chunks.unpack(packed, resource.size, image.method, limit, budget)
    content = image.data[resource.at : resource.at + min(resource.packed_bytes, limit + 1)]
    if len(content) < min(resource.packed_bytes, limit):
        return content, Shut(Reason.MALFORMED, "truncated: it ends behind the image")
    shut = budget.over_room(limit) if len(content) > limit else None
    return content[:limit], shut


def _read_names(metadata: bytes, names: dict[bytes, str], budget: Budget) -> None:
    """Add the paths of an image, of each content the first; as many as can be read."""
    security_bytes = int.from_bytes(metadata[:4], "little")
    waiting, visited = [("", (max(security_bytes, 8) + 7) & ~7)], set[int]()
    while waiting and len(names) < _NAMES_MAX:
        above, at = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        while at not in visited and at + _DENTRY_BYTES <= len(metadata):
            budget.check_time()
            visited.add(at)
            length, attributes = struct.unpack_from("<QL", metadata, at)
            if length < _DENTRY_BYTES:
                break
            below = struct.unpack_from("<Q", metadata, at + 16)[0]
            streams, _, name_bytes = _NAME.unpack_from(metadata, at + 96)
            name = metadata[at + 102 : at + 102 + name_bytes].decode("utf-16-le", "replace")
            if attributes & _IS_FOLDER and below:
                waiting.append((f"{above}{name}/" if name else above, below))
            names.setdefault(metadata[at + 64 : at + 84], above + name)
            at += (length + 7) & ~7
            at = _read_streams(metadata, at, streams, above + name, names)
    names.pop(_NO_HASH, None)


def _read_streams(metadata: bytes, at: int, count: int, path: str, names: dict[bytes, str]) -> int:
    """Those beside a file's content, or that content itself; returns where they end."""
    for _ in range(count):
        length = int.from_bytes(metadata[at : at + 8], "little")
        if length < _STREAM_BYTES or at + length > len(metadata):
            break
        name_bytes = int.from_bytes(metadata[at + 36 : at + 38], "little")
        name = metadata[at + 38 : at + 38 + name_bytes].decode("utf-16-le", "replace")
        names.setdefault(metadata[at + 16 : at + 36], f"{path}:{name}" if name else path)
        at += (length + 7) & ~7
    return at
