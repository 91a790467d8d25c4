"""SquashFS 4 (Linux, ``filesystems/squashfs.rst``; A. Carroll, "Squashfs Binary Format").

Packed by deflate, LZMA, LZO, xz, LZ4 or zstd; older releases stay shut.
"""

import functools
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backports import zstd

from mailward.scan.budget import Budget
from mailward.scan.containers import lz4_block, lzop
from mailward.scan.containers.disk_source import Source
from mailward.scan.containers.inflate import xz
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

MAGIC = b"hsqs"
STRANGE = (b"sqsh", b"shsq", b"qshs")
"""Of processors with the other byte order, and of makers of routers."""

_SUPER = struct.Struct("<4sLLLLHHHHHHQQQQQQQQ")
_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    1: lambda packed, size: zlib.decompressobj().decompress(packed, size),
    2: lambda packed, size: xz().decompress(packed, size),
    4: lambda packed, size: xz().decompress(packed, size),
    5: lz4_block.unpack,
    6: lambda packed, size: zstd.ZstdDecompressor().decompress(packed, size),
}
_ERRORS = (
    zlib.error, lzma.LZMAError, zstd.ZstdError, EOFError,
    ValueError, IndexError, struct.error, OverflowError,
)  # fmt: skip
_LZO = 3
_METADATA_BYTES = 8192
_METADATA_IS_PLAIN, _BLOCK_IS_PLAIN = 1 << 15, 1 << 24
_BLOCK_MAX_BYTES = 1 << 20
_NO_FRAGMENT = 0xFFFFFFFF
_FRAGMENTS_A_BLOCK = 512
_FOLDER, _FILE, _LINK, _LARGE = 1, 2, 3, 7
"""Kinds; that of large ones is so much more."""
_FOLDERS_MAX = 20_000
_FOLDER_MAX_BYTES = 4 * 1024 * 1024
_KEPT_METADATA, _KEPT_FRAGMENTS = 64, 4


@dataclass(frozen=True, slots=True)
class _File:
    start: int
    size: int
    fragment: int
    offset: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Inode:
    kind: int
    listing: tuple[int, int, int] = (0, 0, 0)
    """Of a folder: block, offset, bytes."""
    file: _File | None = None
    target: bytes = b""


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        image = _Image(source, budget)
    except struct.error:
        yield Shut(Reason.MALFORMED, "SquashFS: truncated", label=label)
        return
    if not image.is_known:
        yield Shut(Reason.UNSUPPORTED, "SquashFS: an old one, or an unknown packing", label=label)
        return
    waiting, visited = [("", image.root)], {image.root}
    while waiting:
        above, where = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        entries: list[tuple[str, int]] = []
        try:
            for entry in image.entries(image.inode(where)):
                budget.check_time()
                entries.append(entry)
        except _ERRORS:
            why = "SquashFS: a folder is truncated or damaged"
            yield Shut(Reason.MALFORMED, why, above.rstrip("/"), label)
        for name, inner in entries:
            budget.check_time()
            path = above + name
            try:
                inode = image.inode(inner, budget.room())
            except _ERRORS:
                yield Shut(Reason.MALFORMED, "SquashFS: a file is damaged", path, label)
                continue
            if inode.kind == _FOLDER and inner not in visited and len(visited) < _FOLDERS_MAX:
                visited.add(inner)
                waiting.append((path + "/", inner))
            elif inode.kind == _LINK:
                yield Piece(inode.target, Role.MEMBER, path, label=label)
            elif inode.file is not None:
                yield from _open(image, inode.file, path, label, budget)


def _open(image: "_Image", file: _File, path: str, label: str, budget: Budget) -> Contents:
    room = budget.room()
    out = bytearray()
    shut: Shut | None = None
    try:
        for block in image.blocks(file):
            budget.check_time()
            out += block
            if len(out) > room:
                shut = budget.over_room(room)
                break
    except _ERRORS:
        shut = Shut(Reason.MALFORMED, "SquashFS: truncated or damaged")
    yield Piece(bytes(out[:room]), Role.MEMBER, path, label=label)
    if shut is not None:
        yield Shut(shut.reason, shut.detail, path, label)


class _Image:
    def __init__(self, source: Source, budget: Budget) -> None:
        (_, _, _, self._block, _, packing, _, _, _, major, _, self.root, _, _, _,
         self._inodes, self._folders, self._fragments, _) = (
            _SUPER.unpack(source.read(0, _SUPER.size)))  # fmt: skip
        self.is_known = (
            major == 4 and packing in (_LZO, *_UNPACK) and 4096 <= self._block <= _BLOCK_MAX_BYTES
        )
        self._source = source
        self._budget = budget
        self._unpack = _UNPACK.get(packing, self._lzo)
        self._metadata = functools.lru_cache(_KEPT_METADATA)(self._metadata_block)
        self._fragment = functools.lru_cache(_KEPT_FRAGMENTS)(self._fragment_block)

    def inode(self, reference: int, room: int = 0) -> _Inode:
        """Of a file so many blocks as make ``room`` bytes. Raises one of _ERRORS."""
        place = self._inodes + (reference >> 16), reference & 0xFFFF
        raw = self._read(*place, 16 + 40)
        kind = struct.unpack_from("<H", raw)[0]
        if kind == _FOLDER:
            start, _, size, offset = struct.unpack_from("<LLHH", raw, 16)
            return _Inode(_FOLDER, (start, offset, size))
        if kind == _FOLDER + _LARGE:
            _, size, start, _, _, offset = struct.unpack_from("<LLLLHH", raw, 16)
            return _Inode(_FOLDER, (start, offset, size))
        if kind in (_LINK, _LINK + _LARGE):
            size = min(struct.unpack_from("<L", raw, 20)[0], 65535)
            return _Inode(_LINK, target=self._read(*place, 24 + size)[24:])
        if kind == _FILE:
            start, fragment, offset, size = struct.unpack_from("<LLLL", raw, 16)
            header = 32
        elif kind == _FILE + _LARGE:
            start, size, _, _, fragment, offset, _ = struct.unpack_from("<QQQLLLL", raw, 16)
            header = 56
        else:
            return _Inode(kind)
        count = size // self._block if fragment != _NO_FRAGMENT else -(-size // self._block)
        count = min(count, room // self._block + 2)
        sizes = struct.unpack_from(f"<{count}L", self._read(*place, header + 4 * count), header)
        return _Inode(_FILE, file=_File(start, size, fragment, offset, sizes))

    def entries(self, inode: _Inode) -> Iterator[tuple[str, int]]:
        """Names and references. Raises one of _ERRORS."""
        block, offset, size = inode.listing
        if size <= 3:
            return
        listing = self._read(self._folders + block, offset, min(size - 3, _FOLDER_MAX_BYTES))
        at = 0
        while at < len(listing):
            count, start = struct.unpack_from("<LL", listing, at)
            at += 12
            for _ in range(count + 1):
                inner, _, _, length = struct.unpack_from("<HhHH", listing, at)
                name = listing[at + 8 : at + 9 + length].decode("utf-8", "replace")
                yield name, start << 16 | inner
                at += 9 + length

    def blocks(self, file: _File) -> Iterator[bytes]:
        """The pieces of a file. Raises one of _ERRORS."""
        at, left = file.start, file.size
        for size in file.sizes:
            wanted = min(self._block, left)
            packed_bytes = size & _BLOCK_IS_PLAIN - 1
            yield self._data(at, size, wanted) if packed_bytes else bytes(wanted)
            at += packed_bytes
            left -= wanted
        if left and file.fragment != _NO_FRAGMENT and left < self._block:
            tail = self._fragment(file.fragment)[file.offset : file.offset + left]
            if len(tail) < left:
                raise ValueError("a tail that is not there")
            yield tail

    def _lzo(self, packed: bytes, size: int) -> bytes:
        out = bytearray()
        try:
            lzop.unpack(memoryview(packed), out, size, self._budget)
        except lzop.DamagedError as e:
            raise ValueError(str(e)) from e
        return bytes(out)

    def _fragment_block(self, number: int) -> bytes:
        first, index = divmod(number, _FRAGMENTS_A_BLOCK)
        pointer = struct.unpack("<Q", self._source.read(self._fragments + 8 * first, 8))[0]
        start, size = struct.unpack("<QL4x", self._read(pointer, 16 * index, 16))
        return self._data(start, size, self._block, is_tail=True)

    def _data(self, at: int, size: int, wanted: int, *, is_tail: bool = False) -> bytes:
        packed_bytes = min(size & _BLOCK_IS_PLAIN - 1, 2 * self._block)
        packed = self._source.read(at, packed_bytes)
        if len(packed) < packed_bytes:
            raise EOFError
        plain = packed if size & _BLOCK_IS_PLAIN else self._unpack(packed, wanted)
        if len(plain) < wanted and not is_tail:
            raise ValueError("a block that is too small")
        return plain[:wanted]

    def _metadata_block(self, at: int) -> tuple[bytes, int]:
        """And where the next begins."""
        header = struct.unpack("<H", self._source.read(at, 2))[0]
        size = header & _METADATA_IS_PLAIN - 1
        packed = self._source.read(at + 2, size)
        if len(packed) < size or not size:
            raise EOFError
        plain = packed if header & _METADATA_IS_PLAIN else self._unpack(packed, _METADATA_BYTES)
        return plain, at + 2 + size

    def _read(self, at: int, offset: int, size: int) -> bytes:
        """From metadata, over several of its blocks; less where there is no more."""
        out = b""
        try:
            while len(out) < size:
                plain, at = self._metadata(at)
                out += plain[offset : offset + size - len(out)]
                offset = max(0, offset - len(plain))
        except _ERRORS:
            if not out:
                raise
        return out
