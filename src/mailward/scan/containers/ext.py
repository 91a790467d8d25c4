"""ext2, ext3 and ext4 (Linux, ``Documentation/filesystems/ext4``); a journal is told, not played.

Read by folders, since a file's name is there alone. Inline data and groups of descriptors in other
places (``inline_data``, ``meta_bg``) are not understood: then a file, or all, stays shut.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_SUPER_AT, _SUPER_BYTES = 1024, 1024
_MAGIC = 0xEF53
_ROOT, _FIRST_INODE = 2, 11
_DAMAGED = -1
_IN_JOURNAL, _META_GROUPS, _64_BITS = 0x04, 0x10, 0x80
_ENCRYPTED, _EXTENTS, _INLINE = 0x800, 0x80000, 0x10000000
_KIND, _FOLDER, _FILE, _LINK = 0xF000, 0x4000, 0x8000, 0xA000
_IN_INODE_BYTES = 60
_EXTENT_MAGIC = 0xF30A
_DIRECT = 12
_UNWRITTEN = 0x8000
_DEPTH_MAX = 5
_FOLDERS_MAX = 20_000
_FOLDER_MAX_BYTES = 16 * 1024 * 1024
_NODES_MAX = 2000
"""Of the tree of one file's extents."""


@dataclass(frozen=True, slots=True)
class _Inode:
    mode: int
    size: int
    flags: int
    blocks: bytes


class _DamagedError(Exception):
    pass


def looks_like_ext(source: Source) -> bool:
    """By its superblock: the magic number alone is short."""
    raw = source.read(_SUPER_AT, 100)
    if len(raw) < 100 or int.from_bytes(raw[56:58], "little") != _MAGIC:
        return False
    inodes, blocks = struct.unpack_from("<LL", raw)
    first, block_size = struct.unpack_from("<LL", raw, 20)
    per_group, inodes_per_group = struct.unpack_from("<L4xL", raw, 32)
    return (
        bool(inodes and blocks and per_group and inodes_per_group)
        and first <= 1 and block_size <= 6 and raw[76] <= 1 and not any(raw[77:80])
    )  # fmt: skip


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        system = _FileSystem(source)
    except (_DamagedError, struct.error):
        yield Shut(Reason.MALFORMED, "ext file system: impossible sizes", label=label)
        return
    if system.features & _META_GROUPS:
        yield Shut(Reason.UNSUPPORTED, "ext file system: in groups of groups", label=label)
        return
    if system.features & _IN_JOURNAL:
        why = "ext file system: its journal was not played back, what that changes is not seen"
        yield Shut(Reason.UNSUPPORTED, why, label=label)
    waiting, visited = [("", _ROOT)], {_ROOT}
    while waiting:
        above, number = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        try:
            folder = system.inode(number)
            if folder.mode & _KIND != _FOLDER:
                raise _DamagedError
            listing = system.content(folder, min(folder.size, _FOLDER_MAX_BYTES))
        except (_DamagedError, struct.error):
            folder, listing = _Inode(_FOLDER, 1, 0, b""), b""
        if folder.flags & (_INLINE | _ENCRYPTED) or len(listing) < folder.size:
            yield _why_not(folder, above.rstrip("/"), label)
        for name, inner in _entries(listing):
            budget.check_time()
            if inner == _DAMAGED:
                why = "ext file system: a folder is damaged, what follows in it is not seen"
                yield Shut(Reason.MALFORMED, why, above.rstrip("/"), label)
            if inner in visited or inner < _FIRST_INODE:
                continue
            visited.add(inner)
            path = above + name
            try:
                inode = system.inode(inner)
            except (_DamagedError, struct.error):
                yield Shut(Reason.MALFORMED, "ext file system: a file is damaged", path, label)
                continue
            if inode.mode & _KIND == _FOLDER and len(visited) < _FOLDERS_MAX:
                waiting.append((path + "/", inner))
            elif inode.mode & _KIND in (_FILE, _LINK):
                yield from _file(system, inode, path, label, budget)


def _file(system: "_FileSystem", inode: _Inode, path: str, label: str, budget: Budget) -> Contents:
    wanted = min(inode.size, budget.room() + 1)
    content, is_whole = b"", False
    if inode.mode & _KIND == _LINK and inode.size < _IN_INODE_BYTES:
        content, is_whole = inode.blocks[:wanted], True
    elif not inode.flags & (_INLINE | _ENCRYPTED):
        try:
            content = system.content(inode, wanted)
            is_whole = len(content) >= wanted
        except (_DamagedError, struct.error):
            is_whole = False
    if content or is_whole:
        yield Piece(content, Role.MEMBER, path, label=label)
    if not is_whole:
        yield _why_not(inode, path, label)


def _why_not(inode: _Inode, path: str, label: str) -> Shut:
    if inode.flags & _ENCRYPTED:
        return Shut(Reason.ENCRYPTED, "encrypted by ext4", path, label)
    if inode.flags & _INLINE:
        return Shut(Reason.UNSUPPORTED, "ext4: its content is in its inode", path, label)
    return Shut(Reason.MALFORMED, "truncated or damaged", path, label)


class _FileSystem:
    def __init__(self, source: Source) -> None:
        raw = source.read(_SUPER_AT, _SUPER_BYTES)
        self._source = source
        self._inodes = struct.unpack_from("<L", raw)[0]
        first, power = struct.unpack_from("<LL", raw, 20)
        self._per_group = struct.unpack_from("<L", raw, 40)[0]
        is_old = not raw[76]
        self._inode_bytes = 128 if is_old else struct.unpack_from("<H", raw, 88)[0]
        self.features = 0 if is_old else struct.unpack_from("<L", raw, 96)[0]
        size = struct.unpack_from("<H", raw, 254)[0]
        self._descriptor_bytes = size if self.features & _64_BITS else 32
        if power > 6 or not self._per_group or not 128 <= self._inode_bytes <= 4096:
            raise _DamagedError
        if not 32 <= self._descriptor_bytes <= 1024:
            raise _DamagedError
        self._block = 1024 << power
        self._descriptors_at = (first + 1) * self._block

    def inode(self, number: int) -> _Inode:
        """Raises _DamagedError, struct.error."""
        if not 0 < number <= self._inodes:
            raise _DamagedError
        group, index = divmod(number - 1, self._per_group)
        size = self._descriptor_bytes
        descriptor = self._source.read(self._descriptors_at + group * size, size)
        table = struct.unpack_from("<L", descriptor, 8)[0]
        if size >= 64:
            table |= struct.unpack_from("<L", descriptor, 40)[0] << 32
        raw = self._source.read(table * self._block + index * self._inode_bytes, 128)
        mode, low = struct.unpack_from("<H2xL", raw)
        flags = struct.unpack_from("<L", raw, 32)[0]
        high = struct.unpack_from("<L", raw, 108)[0] if mode & _KIND != _FOLDER else 0
        return _Inode(mode, low | high << 32, flags, raw[40:100])

    def content(self, inode: _Inode, wanted: int) -> bytes:
        """So many bytes, fewer if some are not there. Raises _DamagedError, struct.error."""
        if inode.flags & _EXTENTS:
            runs = self._extents(inode.blocks)
        else:
            runs = self._mapped(inode.blocks, -(-wanted // self._block))
        out = bytearray()
        for logical, count, block in runs:
            start = logical * self._block
            if start >= wanted:
                break
            if start < len(out):
                raise _DamagedError
            out += bytes(start - len(out))
            size = min(count * self._block, wanted - start)
            piece = self._source.read(block * self._block, size) if block else bytes(size)
            out += piece
            if len(piece) < size:
                return bytes(out)
        return bytes(out) + bytes(wanted - len(out))

    def _extents(self, root: bytes) -> Iterator[tuple[int, int, int]]:
        """First block of the file, how many, first block on the disk (0: zeros)."""
        waiting, nodes = [(root, _DEPTH_MAX)], 0
        while waiting:
            node, depth = waiting.pop()
            nodes += 1
            magic, count, _, below = struct.unpack_from("<HHHH", node)
            if magic != _EXTENT_MAGIC or below > depth or nodes > _NODES_MAX:
                raise _DamagedError
            for at in range(12, 12 + 12 * count, 12):
                logical, length, high, low = struct.unpack_from("<LHHL", node, at)
                if not below:
                    is_zeros = length > _UNWRITTEN
                    length -= _UNWRITTEN if is_zeros else 0
                    yield logical, length, 0 if is_zeros else low | high << 32
            for at in range(12 * count if below else 0, 0, -12):
                low, high = struct.unpack_from("<4xLH", node, at)
                inner = self._source.read((low | high << 32) * self._block, self._block)
                waiting.append((inner, below - 1))

    def _mapped(self, blocks: bytes, wanted: int) -> Iterator[tuple[int, int, int]]:
        """The same from lists of blocks, and lists of lists."""
        pointers = struct.unpack("<15L", blocks)
        logical = 0
        for number, pointer in enumerate(pointers):
            depth = max(0, number - _DIRECT + 1)
            for block in self._below(pointer, depth, wanted - logical):
                if logical >= wanted:
                    return
                if block:
                    yield logical, 1, block
                logical += 1

    def _below(self, pointer: int, depth: int, left: int) -> Iterator[int]:
        if not depth:
            yield pointer
            return
        if not pointer:
            yield from (0 for _ in range(min((self._block // 4) ** depth, left)))
            return
        raw = self._source.read(pointer * self._block, self._block)
        if len(raw) < self._block:
            raise _DamagedError
        for inner in struct.unpack(f"<{self._block // 4}L", raw):
            yield from self._below(inner, depth - 1, left)


def _entries(listing: bytes) -> Iterator[tuple[str, int]]:
    """Names and inodes; at last ``_DAMAGED`` if more cannot be read."""
    at = 0
    while at + 8 <= len(listing):
        number, length, name_bytes = struct.unpack_from("<LHB", listing, at)
        if length < 8:
            yield "", _DAMAGED
            return
        name = listing[at + 8 : at + 8 + name_bytes]
        if number and name not in (b".", b".."):
            yield name.decode("utf-8", "replace"), number
        at += length
