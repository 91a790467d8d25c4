"""ISO 9660 disk images (ECMA-119) with Joliet and Rock Ridge names.

Read here: a Rock Ridge continuation that refers to itself makes libarchive 3.6 use up all memory.
Programs differ in which of several directory trees they show, so the files of all are taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

SECTOR = 2048
_FIRST_DESCRIPTOR = 16
_RAW_MARK = b"\0" + b"\xff" * 10 + b"\0"
_RAW_BYTES, _RAW_STARTS = (2352, 2448), (16, 24)
"""Of a sector, the latter with subchannels; its content in mode 1, or form 1 of mode 2."""
_DESCRIPTORS_MAX = 32
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_JOLIET = (b"%/@", b"%/C", b"%/E")
_ROOT_RECORD = 156
_RECORD_BYTES = 33
_FOLDER, _GOES_ON = 1 << 1, 1 << 7
_FOLDERS_MAX = 20_000
_FOLDER_MAX_BYTES = 16 * 1024 * 1024


def looks_like_iso(data: bytes) -> bool:
    """By the first volume descriptor."""
    return data.startswith(b"CD001", _FIRST_DESCRIPTOR * SECTOR + 1)


def looks_raw(data: bytes) -> bool:
    """By the beginning of a sector as it is on the disk (ECMA-130), and such a descriptor."""
    return data.startswith(_RAW_MARK) and _raw_shape(data) is not None


def _raw_shape(data: bytes) -> tuple[int, int] | None:
    """Bytes of a sector, and where in it the content begins."""
    return next(
        (
            (size, start)
            for size in _RAW_BYTES
            for start in _RAW_STARTS
            if data.startswith(b"CD001", _FIRST_DESCRIPTOR * size + start + 1)
        ),
        None,
    )


def read_raw(data: bytes, name: str, budget: Budget) -> Contents:
    """The same of an image with all that is in the sectors of a disk. Raises only Spent."""
    shape = _raw_shape(data)
    if shape is not None:
        size, start = shape
        sectors = range(start, len(data), size)
        yield from read(b"".join(data[at : at + SECTOR] for at in sectors), name, budget)


@dataclass(frozen=True, slots=True)
class _Record:
    name: str
    flags: int
    extent: int
    size: int


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files, each once, under the first of its names. Raises only Spent."""
    roots = sorted(_roots(data), key=lambda root: not root[1])  # the tree with long names first
    if not roots:
        yield Shut(Reason.MALFORMED, "ISO 9660 disk image: no volume can be read")
    seen: set[tuple[int, int]] = set()
    for root, is_joliet in roots:
        for path, pieces in _files(data, root, is_joliet, budget):
            if isinstance(pieces, Shut):
                yield pieces
                continue
            where = pieces[0].extent, sum(piece.size for piece in pieces)
            if where in seen and where[1]:
                continue
            seen.add(where)
            yield from _open(data, path, pieces, budget)


def _open(data: bytes, path: str, pieces: list[_Record], budget: Budget) -> Contents:
    room = budget.room()
    wanted = min(sum(piece.size for piece in pieces), room + 1)
    if len(pieces) == 1:
        start = pieces[0].extent * SECTOR
        content = data[start : start + wanted]
    else:
        content = b"".join(
            data[piece.extent * SECTOR : piece.extent * SECTOR + min(piece.size, wanted)]
            for piece in pieces[: wanted // SECTOR + 2]
        )[:wanted]
    yield Piece(content, Role.MEMBER, path)
    if len(content) < wanted:
        yield Shut(Reason.MALFORMED, "truncated: it ends behind the image", path)


def _roots(data: bytes) -> Iterator[tuple[_Record, bool]]:
    for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + _DESCRIPTORS_MAX):
        descriptor = data[number * SECTOR : (number + 1) * SECTOR]
        if len(descriptor) < SECTOR or descriptor[1:6] != b"CD001":
            continue
        if descriptor[0] == _TERMINATOR:
            return
        if descriptor[0] in (_PRIMARY, _SUPPLEMENTARY):
            joliet = descriptor[0] == _SUPPLEMENTARY and descriptor[88:91] in _JOLIET
            root = _record(descriptor[_ROOT_RECORD : _ROOT_RECORD + 34], joliet)
            if root is not None:
                yield root, joliet


def _files(
    data: bytes, root: _Record, joliet: bool, budget: Budget
) -> Iterator[tuple[str, list[_Record] | Shut]]:
    """Paths, and what each consists of: large files have several extents."""
    waiting, visited = [("", root)], {root.extent}
    while waiting:
        above, folder = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        extents: list[_Record] = []
        start = folder.extent * SECTOR
        size = min(folder.size, _FOLDER_MAX_BYTES)
        if start + size > len(data):
            why = "truncated: a folder ends behind the image"
            yield "", Shut(Reason.MALFORMED, why, above.rstrip("/"))
        for record in _folder(data[start : start + size], joliet):
            budget.check_time()
            path = above + record.name
            if not record.flags & _FOLDER:
                extents.append(record)
                if not record.flags & _GOES_ON:
                    yield path, extents
                    extents = []
            elif record.extent not in visited and len(visited) < _FOLDERS_MAX:
                visited.add(record.extent)
                waiting.append((path + "/", record))
        if extents:
            yield above + extents[-1].name, extents


def _folder(content: bytes, joliet: bool) -> Iterator[_Record]:
    at = 0
    while at < len(content):
        length = content[at]
        if not length:  # the next begins with a sector
            at = (at // SECTOR + 1) * SECTOR
            continue
        record = _record(content[at : at + length], joliet)
        if record is not None and record.name not in ("\0", "\1"):
            yield record
        at += length


def _record(raw: bytes, joliet: bool) -> _Record | None:
    if len(raw) <= _RECORD_BYTES or raw[32] > len(raw) - _RECORD_BYTES:
        return None
    name = raw[_RECORD_BYTES : _RECORD_BYTES + raw[32]]
    if name in (b"\0", b"\1"):
        text = name.decode()
    elif joliet:
        text = name.decode("utf-16-be", "replace")
    else:
        uses = _RECORD_BYTES + raw[32] + (1 - raw[32] % 2)
        text = _rock_ridge(raw[uses:]) or name.decode("latin-1")
    extent = int.from_bytes(raw[2:6], "little") + raw[1]
    size = int.from_bytes(raw[10:14], "little")
    return _Record(text.partition(";")[0], raw[25], extent, size)


def _rock_ridge(uses: bytes) -> str:
    """The name in NM entries of the record itself; a continuation elsewhere is not followed."""
    name = b""
    while len(uses) >= 5 and uses[2] >= 4:
        if uses[:2] == b"NM":
            name += uses[5 : uses[2]]
        uses = uses[uses[2] :]
    return name.decode("utf-8", "replace")
