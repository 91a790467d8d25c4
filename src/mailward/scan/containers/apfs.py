"""APFS (Apple, "Apple File System Reference"): the files of every volume that is not encrypted.

The newest checkpoint counts. Trees are read from end to end, so a file that no folder lists is read
as well. Sealed volumes (of macOS itself) have their extents in another tree, and stay shut.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from mailward.scan.budget import Budget
from mailward.scan.containers import decmpfs
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_CHECKPOINTS_MAX = 1024
_VOLUMES_MAX = 100
_NODES_MAX = 50_000
_RECORDS_MAX = 500_000
_FOLDERS_DEPTH_MAX = 100
_NODE_AT, _INFO_BYTES = 56, 40
_IS_ROOT, _IS_LEAF, _IS_FIXED = 1, 2, 4
_DELETED = 1
_ROOT = 2
_UNENCRYPTED = 1
_HASHED, _SEALED = 0x01 | 0x08, 0x20
_INODE, _ATTRIBUTE, _EXTENT, _ENTRY = 3, 4, 8, 9
_ID = (1 << 60) - 1
_LENGTH = (1 << 56) - 1
_STREAM_FIELD = 8
_KIND, _REGULAR, _LINK = 0xF000, 0x8000, 0xA000
_COMPRESSED = 0x20
_IN_STREAM, _EMBEDDED = 1, 2
_DECMPFS, _RESOURCES = b"com.apple.decmpfs", b"com.apple.ResourceFork"
_LINK_TARGET = b"com.apple.fs.symlink"


class _DamagedError(Exception):
    pass


_ERRORS = (_DamagedError, struct.error, OverflowError)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Content: by the number of its extents, or as it is."""

    number: int
    size: int
    embedded: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Inode:
    mode: int
    flags: int
    content: _Stream


@dataclass(slots=True)
class _Files:
    """What the records of a volume tell."""

    entries: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Number to the folder it is in, and name."""
    inodes: dict[int, _Inode] = field(default_factory=dict)
    extents: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    """First byte, how many, first block (0: zeros)."""
    attributes: dict[tuple[int, bytes], _Stream] = field(default_factory=dict)

    def path(self, number: int) -> str:
        names: list[str] = []
        while number != _ROOT and number in self.entries and len(names) < _FOLDERS_DEPTH_MAX:
            number, name = self.entries[number]
            names.append(name)
        return "/".join(reversed(names))


def looks_like_apfs(source: Source) -> bool:
    """By its superblock."""
    return source.read(32, 4) == b"NXSB"


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        container = _Container(source, budget)
        volumes = container.volumes()
    except _ERRORS:
        yield Shut(Reason.MALFORMED, "APFS: truncated or damaged", label=label)
        return
    for block in volumes:
        files = _Files()
        try:
            volume = _Volume(container, block)
            if volume.shut is not None:
                yield Shut(volume.shut.reason, volume.shut.detail, label=label)
                continue
            for number, kind, key, value in volume.records():
                _note(files, volume.is_hashed, number, kind, key, value)
            if _ROOT not in files.inodes:
                raise _DamagedError
        except _ERRORS:
            yield Shut(Reason.MALFORMED, "APFS: a tree is truncated or damaged", label=label)
        for number, inode in files.inodes.items():
            budget.check_time()
            yield from _file(container, files, number, inode, label, budget)


def _note(files: _Files, is_hashed: bool, number: int, kind: int, key: bytes, value: bytes) -> None:
    """Raises struct.error."""
    if kind == _INODE:
        stream, flags = struct.unpack_from("<8xQ52xL", value)
        mode = struct.unpack_from("<H", value, 80)[0]
        files.inodes[number] = _Inode(mode, flags, _Stream(stream, _size(value)))
    elif kind == _ENTRY:
        name = key[12:] if is_hashed else key[10:]
        inner = struct.unpack_from("<Q", value)[0]
        files.entries[inner] = number, name.rstrip(b"\0").decode("utf-8", "replace")
    elif kind == _EXTENT:
        at = struct.unpack_from("<Q", key, 8)[0]
        length, block = struct.unpack_from("<QQ", value)
        files.extents.setdefault(number, []).append((at, length & _LENGTH, block))
    elif kind == _ATTRIBUTE:
        flags, length = struct.unpack_from("<HH", value)
        name = key[10:].rstrip(b"\0")
        if flags & _IN_STREAM:
            files.attributes[number, name] = _Stream(*struct.unpack_from("<QQ", value, 4))
        elif flags & _EMBEDDED:
            content = value[4 : 4 + length]
            files.attributes[number, name] = _Stream(0, len(content), content)


def _size(inode: bytes) -> int:
    """Of the content, in the fields behind the inode. Raises struct.error."""
    if len(inode) < 96:
        return 0
    count = struct.unpack_from("<H", inode, 92)[0]
    at = 96 + 4 * count
    for number in range(count):
        kind, _, length = struct.unpack_from("<BBH", inode, 96 + 4 * number)
        if kind == _STREAM_FIELD:
            size: int = struct.unpack_from("<Q", inode, at)[0]
            return size
        at += (length + 7) & ~7
    return 0


def _file(
    container: "_Container", files: _Files, number: int, inode: _Inode, label: str, budget: Budget
) -> Contents:
    kind = inode.mode & _KIND
    path = files.path(number)
    resources = files.attributes.get((number, _RESOURCES), _Stream(0, 0, b""))
    target = files.attributes.get((number, _LINK_TARGET))
    streams = [(resources, f"{path}:resources")] if resources.size else []
    if kind == _LINK and target is not None:
        streams.append((target, path))
    elif kind != _REGULAR:
        return
    elif not inode.flags & _COMPRESSED:
        streams.append((inode.content, path))
    else:
        note = files.attributes.get((number, _DECMPFS), _Stream(0, 0, b""))
        content, shut = decmpfs.unpack(
            container.content(files, note, min(note.size, 1 << 20)),
            lambda limit: container.content(files, resources, min(resources.size, limit)),
            budget.room(),
            budget,
        )
        if content or shut is None:
            yield Piece(content, Role.MEMBER, path, label=label)
        if shut is not None:
            yield Shut(shut.reason, shut.detail, path, label)
    for stream, name in streams:
        if not stream.size and files.extents.get(stream.number):
            yield Shut(Reason.MALFORMED, "APFS: it has content and no size", name, label)
        wanted = min(stream.size, budget.room() + 1)
        content = container.content(files, stream, wanted)
        yield Piece(content, Role.MEMBER, name, label=label)
        if len(content) < wanted:
            yield Shut(Reason.MALFORMED, "truncated: it ends behind its file system", name, label)


class _Container:
    def __init__(self, source: Source, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._block = struct.unpack_from("<L", source.read(0, 40), 36)[0]
        if self._block not in (4096, 8192, 16384, 32768, 65536):
            raise _DamagedError
        self._super = self._newest(self.block(0))

    def block(self, number: int) -> bytes:
        """Raises _DamagedError."""
        raw = self._source.read(number * self._block, self._block)
        if len(raw) < self._block:
            raise _DamagedError
        return raw

    def content(self, files: _Files, stream: _Stream, wanted: int) -> bytes:
        """So many bytes; fewer if some are not there."""
        if stream.embedded is not None:
            return stream.embedded[:wanted]
        out = bytearray()
        for at, length, block in sorted(files.extents.get(stream.number, ())):
            if at > wanted or at < len(out):
                break
            out += bytes(at - len(out))
            size = min(length, wanted - at)
            piece = self._source.read(block * self._block, size) if block else bytes(size)
            out += piece
            if len(piece) < size:
                break
        return bytes(out)

    def volumes(self) -> list[bytes]:
        """Their superblocks. Raises one of _ERRORS."""
        places = self.objects(struct.unpack_from("<Q", self._super, 160)[0])
        count = min(struct.unpack_from("<L", self._super, 180)[0], _VOLUMES_MAX)
        numbers = struct.unpack_from(f"<{count}Q", self._super, 184)
        if not any(numbers) or any(number and number not in places for number in numbers):
            raise _DamagedError
        return [self.block(places[number]) for number in numbers if number]

    def objects(self, at: int) -> dict[int, int]:
        """Numbers of objects to blocks, of an object map. Raises one of _ERRORS."""
        root = struct.unpack_from("<Q", self.block(at), 48)[0]
        found: dict[int, tuple[int, int]] = {}
        for key, value in self.leaves(root, None):
            number, when = struct.unpack_from("<QQ", key)
            flags, place = struct.unpack_from("<L4xQ", value)
            if not flags & _DELETED and (number not in found or found[number][0] < when):
                found[number] = when, place
        return {number: place for number, (_, place) in found.items()}

    def leaves(self, root: int, places: dict[int, int] | None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a tree. Raises one of _ERRORS.

        ``places``: where its nodes are, if they have numbers.
        """
        waiting, nodes, records = [root], 0, 0
        while waiting:
            self._budget.check_time()
            number = waiting.pop()
            nodes += 1
            if nodes > _NODES_MAX or (places is not None and number not in places):
                raise _DamagedError
            raw = self.block(number if places is None else places[number])
            flags = struct.unpack_from("<H", raw, 32)[0]
            children = []
            for key, value in _pairs(raw, flags):
                records += 1
                if records > _RECORDS_MAX:
                    raise _DamagedError
                if flags & _IS_LEAF:
                    yield key, value
                else:
                    children.append(struct.unpack_from("<Q", value)[0])
            waiting += reversed(children)

    def _newest(self, first: bytes) -> bytes:
        """Of the superblocks that are right. Raises struct.error."""
        count = struct.unpack_from("<L", first, 104)[0]
        base = struct.unpack_from("<Q", first, 112)[0]
        found = first
        for number in range(min(count & 0x7FFFFFFF, _CHECKPOINTS_MAX)):
            self._budget.check_time()
            raw = self._source.read((base + number) * self._block, self._block)
            is_newer = (
                raw[32:36] == b"NXSB" and len(raw) == self._block and _when(raw) > _when(found)
            )
            if is_newer and fletcher(raw[8:]) == raw[:8]:
                found = raw
        return found


def _when(raw: bytes) -> int:
    return int.from_bytes(raw[16:24], "little")


def _pairs(raw: bytes, flags: int) -> Iterator[tuple[bytes, bytes]]:
    """Of a node. Raises struct.error."""
    count, table, table_bytes = struct.unpack_from("<LHH", raw, 36)
    keys_at = _NODE_AT + table + table_bytes
    end = len(raw) - (_INFO_BYTES if flags & _IS_ROOT else 0)
    for number in range(count):
        at = _NODE_AT + table
        if flags & _IS_FIXED:
            key_at, value_at = struct.unpack_from("<HH", raw, at + 4 * number)
            key_bytes = value_bytes = 16
        else:
            key_at, key_bytes, value_at, value_bytes = struct.unpack_from(
                "<4H", raw, at + 8 * number
            )
        start = end - value_at
        key = raw[keys_at + key_at : keys_at + key_at + key_bytes]
        yield key, raw[start : start + value_bytes]


class _Volume:
    def __init__(self, container: _Container, raw: bytes) -> None:
        if raw[32:36] != b"APSB":
            raise _DamagedError
        features = struct.unpack_from("<Q", raw, 56)[0]
        objects, self._root = struct.unpack_from("<QQ", raw, 128)
        flags = struct.unpack_from("<Q", raw, 264)[0]
        self.is_hashed = bool(features & _HASHED)
        self.shut: Shut | None = None
        if not flags & _UNENCRYPTED:
            self.shut = Shut(Reason.ENCRYPTED, "encrypted APFS volume")
        elif features & _SEALED:
            self.shut = Shut(Reason.UNSUPPORTED, "sealed APFS volume, which is not understood")
        self._container = container
        self._places = container.objects(objects) if self.shut is None else {}

    def records(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Number, kind, key and value of each. Raises one of _ERRORS."""
        for key, value in self._container.leaves(self._root, self._places):
            first = struct.unpack_from("<Q", key)[0]
            yield first & _ID, first >> 60, key, value


def fletcher(data: bytes) -> bytes:
    """The checksum of a block, of all behind it."""
    low = high = 0
    for word in struct.unpack(f"<{len(data) // 4}L", data):
        low += word
        high += low
    low, high = low % 0xFFFFFFFF, high % 0xFFFFFFFF
    first = 0xFFFFFFFF - (low + high) % 0xFFFFFFFF
    second = 0xFFFFFFFF - (low + first) % 0xFFFFFFFF
    return struct.pack("<LL", first, second)
