"""HFS+ and HFSX (Apple, Technical Note TN1150), alone or wrapped in HFS; files, both their forks.

The catalog is read from leaf to leaf: a file that no folder lists is read as well.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers import decmpfs
from mailward.scan.containers.disk_source import Source, Window
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_HEADER_AT, _HEADER_BYTES = 1024, 512
_FORK = struct.Struct(">Q8x16L")
_OVERFLOW_AT, _CATALOG_AT, _ATTRIBUTES_AT = 192, 272, 352
_OVERFLOW, _CATALOG, _ATTRIBUTES = 3, 4, 8
"""Numbers of these files."""
_FOLDER, _FILE, _FILE_BYTES = 1, 2, 248
_DATA_AT, _RESOURCES_AT = 88, 168
_DATA, _RESOURCES = 0, 0xFF
_IS_LEAF = 0xFF
_NODES_MAX = 100_000
_FOLDERS_DEPTH_MAX = 100
_COMPRESSED = 0x20
_INLINE = 0x10
_DECMPFS = "com.apple.decmpfs".encode("utf-16-be")


@dataclass(frozen=True, slots=True)
class _Fork:
    file: int
    kind: int
    size: int
    extents: tuple[int, ...]
    """First block, how many, first block, …; more may be in the tree of extents."""


class _DamagedError(Exception):
    pass


_ERRORS = (_DamagedError, struct.error, OverflowError)


def looks_like_hfs(source: Source) -> bool:
    """By its header, or that of what wraps it."""
    raw = source.read(_HEADER_AT, 128)
    if raw[:4] in (b"H+\0\4", b"HX\0\5"):
        size = int.from_bytes(raw[40:44], "big")
        return size >= 512 and size & (size - 1) == 0
    return raw[:2] == b"BD" and raw[124:126] == b"H+"


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    folders: dict[int, tuple[int, str]] = {}
    files: list[tuple[int, str, bytes]] = []
    packed: dict[int, bytes] = {}
    try:
        volume = _Volume(_unwrapped(source), budget)
        for key, record in volume.leaves(volume.catalog):
            kind = int.from_bytes(record[:2], "big")
            above, chars = struct.unpack_from(">LH", key)
            name = key[6 : 6 + 2 * chars].decode("utf-16-be", "replace")
            if kind == _FOLDER:
                folders[struct.unpack_from(">L", record, 8)[0]] = above, name
            elif kind == _FILE and len(record) >= _FILE_BYTES:
                files.append((above, name, record))
        packed = dict(volume.packed())
    except _ERRORS:
        yield Shut(Reason.MALFORMED, "HFS+ file system: its catalog is damaged", label=label)
        if not files:
            return
    if not folders and not files:  # the volume itself is a folder
        yield Shut(Reason.MALFORMED, "HFS+ file system: its catalog is empty", label=label)
    for above, name, record in files:
        budget.check_time()
        path = _path(folders, above) + name
        attribute = packed.get(struct.unpack_from(">L", record, 8)[0], b"")
        yield from _file(volume, record, attribute, path, label, budget)


def _path(folders: dict[int, tuple[int, str]], number: int) -> str:
    """Of a folder; without that of the volume itself."""
    names: list[str] = []
    while number in folders and len(names) < _FOLDERS_DEPTH_MAX:
        number, name = folders[number]
        names.append(f"{name}/")
    return "".join(reversed(names[:-1]))


def _file(
    volume: "_Volume", record: bytes, attribute: bytes, path: str, label: str, budget: Budget
) -> Contents:
    number = struct.unpack_from(">L", record, 8)[0]
    data = volume.fork(number, _DATA, record[_DATA_AT:])
    resources = volume.fork(number, _RESOURCES, record[_RESOURCES_AT:])
    is_packed = bool(record[41] & _COMPRESSED)
    if is_packed:
        room = budget.room()
        content, shut = decmpfs.unpack(
            attribute, lambda limit: volume.content(resources, limit), room, budget
        )
        if content or shut is None:
            yield Piece(content, Role.MEMBER, path, label=label)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, path, label)
    for fork, name in ((data, path), (resources, f"{path}:resources")):
        if fork is data and is_packed and not fork.size:
            continue
        if fork is resources and not fork.size:
            continue
        wanted = min(fork.size, budget.room() + 1)
        content = volume.content(fork, wanted)
        yield Piece(content, Role.MEMBER, name, label=label)
        if len(content) < wanted:
            yield Shut(Reason.MALFORMED, "truncated: it ends behind its file system", name, label)


def _unwrapped(source: Source) -> Source:
    raw = source.read(_HEADER_AT, 162)
    if raw[:2] != b"BD":
        return source
    block_bytes = struct.unpack_from(">L", raw, 20)[0]
    first = struct.unpack_from(">H", raw, 28)[0]
    start, count = struct.unpack_from(">HH", raw, 126)
    return Window(source, first * 512 + start * block_bytes, count * block_bytes)


class _Volume:
    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        raw = source.read(_HEADER_AT, _HEADER_BYTES)
        self._block = struct.unpack_from(">L", raw, 40)[0]
        if raw[:2] not in (b"H+", b"HX") or not 512 <= self._block <= 1 << 20:
            raise _DamagedError
        self._more: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        overflow = self.fork(_OVERFLOW, _DATA, raw[_OVERFLOW_AT:])
        for key, record in self.leaves(overflow) if overflow.size else ():
            kind, number = struct.unpack_from(">BxL", key)
            self._more.setdefault((number, kind), []).append(struct.unpack_from(">16L", record))
        self.catalog = self.fork(_CATALOG, _DATA, raw[_CATALOG_AT:])
        self._attributes = self.fork(_ATTRIBUTES, _DATA, raw[_ATTRIBUTES_AT:])

    def fork(self, file: int, kind: int, raw: bytes) -> _Fork:
        """Raises struct.error."""
        size, *extents = _FORK.unpack_from(raw)
        return _Fork(file, kind, size, tuple(extents))

    def content(self, fork: _Fork, wanted: int) -> bytes:
        """So many bytes from its beginning; fewer if some are not there."""
        return self._at(fork, 0, wanted)

    def packed(self) -> Iterator[tuple[int, bytes]]:
        """What macOS notes about compressed files. Raises one of _ERRORS."""
        if not self._attributes.size:
            return
        for key, record in self.leaves(self._attributes):
            number, _, chars = struct.unpack_from(">2xLLH", key)
            if key[12 : 12 + 2 * chars] != _DECMPFS:
                continue
            kind, size = struct.unpack_from(">L8xL", record)
            if kind == _INLINE:
                yield number, record[16 : 16 + size]

    def leaves(self, tree: _Fork) -> Iterator[tuple[bytes, bytes]]:
        """Keys and records of a B-tree, from the first to the last. Raises one of _ERRORS."""
        header = self._at(tree, 0, 512)
        first = struct.unpack_from(">L", header, 24)[0]
        size = struct.unpack_from(">H", header, 32)[0]
        if size < 512:
            raise _DamagedError
        visited = set[int]()
        while first:
            self._budget.check_time()
            if first in visited or len(visited) > _NODES_MAX:
                raise _DamagedError
            visited.add(first)
            node = self._at(tree, first * size, size)
            if len(node) < size or node[8] != _IS_LEAF:
                raise _DamagedError
            first, count = struct.unpack_from(">L6xH", node)
            for number in range(min(count, size // 8)):
                at = struct.unpack_from(">H", node, size - 2 - 2 * number)[0]
                end = struct.unpack_from(">H", node, size - 4 - 2 * number)[0]
                length = struct.unpack_from(">H", node, at)[0]
                start = at + 2 + length + length % 2
                yield node[at + 2 : at + 2 + length], node[start:end]

    def _at(self, fork: _Fork, at: int, size: int) -> bytes:
        out = bytearray()
        place = 0
        size = max(0, min(size, fork.size - at))
        for extents in (fork.extents, *self._more.get((fork.file, fork.kind), ())):
            for first, count in zip(extents[::2], extents[1::2], strict=True):
                length = count * self._block
                skip = max(0, at + len(out) - place)
                if skip < length:
                    wanted = min(length - skip, size - len(out))
                    piece = self._source.read(first * self._block + skip, wanted)
                    out += piece
                    if len(piece) < wanted or len(out) >= size:
                        return bytes(out)
                place += length
        return bytes(out)
