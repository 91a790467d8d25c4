"""UDF disk images (ECMA-167, OSTA UDF 1.02 to 2.60), alone or beside ISO 9660.

A virtual partition (of discs written piece by piece) is not understood; then the image stays shut.
Of a sparable one the sectors that took the place of bad ones are not looked for.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_SECTOR = 2048
_RECOGNITION = range(16, 48)
_ANCHOR_SECTOR = 256
_ANCHOR, _PARTITION, _LOGICAL_VOLUME, _TERMINATING = 2, 5, 6, 8
_FILE_SET, _FILE_NAME, _FILE_ENTRY, _EXTENDED_ENTRY = 256, 257, 261, 266
_DESCRIPTORS_MAX = 64
_FOLDERS_MAX = 20_000
_EXTENTS_MAX = 10_000
_FOLDER_MAX_BYTES = 16 * 1024 * 1024
_METADATA, _SPARABLE = b"*UDF Metadata Partition", b"*UDF Sparable Partition"
_LONG = struct.Struct("<LLH6x")
_FOLDER_TYPE = 4
_IS_FOLDER, _IS_DELETED, _IS_PARENT = 1 << 1, 1 << 2, 1 << 3
_SHORT_FORM, _LONG_FORM, _IN_PLACE = 0, 1, 3


class _DamagedError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder: its size and where it is, or what it holds."""

    is_folder: bool
    size: int
    extents: tuple[tuple[int, int], ...]
    """First byte in the image (-1: zeros) and length of each."""


def looks_like_udf(data: bytes) -> bool:
    """By its volume recognition sequence."""
    return data[0x8001:0x8006] in (b"BEA01", b"CD001") and any(
        data.startswith((b"NSR02", b"NSR03"), sector * _SECTOR + 1) for sector in _RECOGNITION
    )


def read(data: bytes, _called: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        image = _Image(data)
        yield from image.files(budget)
    except (_DamagedError, struct.error) as e:
        yield Shut(Reason.MALFORMED, f"UDF disk image: {e}")
    except NotImplementedError as e:
        yield Shut(Reason.UNSUPPORTED, f"UDF disk image: {e}")


class _Image:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._block = _SECTOR
        self._partitions: dict[int, int] = {}
        """Number to first byte."""
        self._maps: list[int] = []
        """Partition numbers, as addresses refer to them."""
        self._metadata_at: dict[int, tuple[int, int]] = {}
        """Of a metadata partition, by its place in the maps: where its file is, and the copy."""
        self._metadata: dict[int, tuple[tuple[int, int], ...]] = {}
        """What that file consists of, which is what the partition consists of."""
        root = self._volume()
        for reference, places in self._metadata_at.items():
            self._metadata[reference] = self._metadata_file(reference, places)
        self._root = self._file_set(*root)

    def files(self, budget: Budget) -> Contents:
        waiting, visited = [("", self._root)], {self._root}
        while waiting:
            above, where = waiting.pop()
            budget.count_part(0)  # or millions of folders would cost nothing but time
            folder = self._entry(where)
            listing = self._content(folder, _FOLDER_MAX_BYTES)
            if len(listing) < folder.size:
                why = "UDF disk image: a folder is truncated"
                yield Shut(Reason.MALFORMED, why, above.rstrip("/"))
            for name, flags, inner in self._names(listing):
                budget.check_time()
                if flags & (_IS_PARENT | _IS_DELETED) or inner in visited:
                    continue
                path = above + name
                try:
                    entry = self._entry(inner)
                except (_DamagedError, struct.error) as e:
                    yield Shut(Reason.MALFORMED, f"UDF disk image: {e}", path)
                    continue
                visited.add(inner)
                if not (flags & _IS_FOLDER or entry.is_folder):
                    wanted = min(entry.size, budget.room() + 1)
                    content = self._content(entry, wanted)
                    yield Piece(content, Role.MEMBER, path)
                    if len(content) < wanted:
                        why = "truncated: it ends behind the image"
                        yield Shut(Reason.MALFORMED, why, path)
                elif len(visited) < _FOLDERS_MAX:
                    waiting.append((path + "/", inner))

    def _volume(self) -> tuple[int, int]:
        """Address of the file set, from the volume's descriptors."""
        anchor = self._at(_ANCHOR_SECTOR * _SECTOR, _SECTOR)
        if _tag(anchor) != _ANCHOR:
            raise _DamagedError("there is no anchor where it should be")
        size, first = struct.unpack_from("<LL", anchor, 16)
        found: tuple[int, int] | None = None
        for number in range(min(size // _SECTOR, _DESCRIPTORS_MAX)):
            descriptor = self._at((first + number) * _SECTOR, _SECTOR)
            kind = _tag(descriptor)
            if kind == _TERMINATING:
                break
            if kind == _PARTITION:
                start = struct.unpack_from("<L", descriptor, 188)[0]
                self._partitions[struct.unpack_from("<H", descriptor, 22)[0]] = start * _SECTOR
            elif kind == _LOGICAL_VOLUME:
                self._block = struct.unpack_from("<L", descriptor, 212)[0]
                _, block, reference = _LONG.unpack_from(descriptor, 248)
                found = block, reference
                self._read_maps(descriptor)
        if found is None or self._block not in (512, 1024, 2048, 4096):
            raise _DamagedError("there is no logical volume")
        return found

    def _read_maps(self, descriptor: bytes) -> None:
        count = struct.unpack_from("<L", descriptor, 268)[0]
        at = 440
        for _ in range(min(count, 8)):
            kind, size = struct.unpack_from("<BB", descriptor, at)
            name = descriptor[at + 5 : at + 28].rstrip(b"\0")
            if (kind, size) == (1, 6):
                self._maps.append(struct.unpack_from("<H", descriptor, at + 4)[0])
            elif (kind, size) == (2, 64) and name in (_METADATA, _SPARABLE):
                number, place, copy = struct.unpack_from("<HLL", descriptor, at + 38)
                if name == _METADATA:
                    self._metadata_at[len(self._maps)] = place, copy
                self._maps.append(number)
            else:
                raise NotImplementedError("a kind of partition that this release cannot open")
            at += size

    def _metadata_file(
        self, reference: int, places: tuple[int, int]
    ) -> tuple[tuple[int, int], ...]:
        start = self._partition(reference)
        for place in places:
            try:
                return self._entry_at(start + place * self._block, reference).extents
            except (_DamagedError, struct.error):
                continue
        raise _DamagedError("its file of metadata is damaged")

    def _file_set(self, block: int, reference: int) -> tuple[int, int]:
        descriptor = self._at(self._address(block, reference), _SECTOR)
        if _tag(descriptor) != _FILE_SET:
            raise _DamagedError("there is no file set where it should be")
        _, block, reference = _LONG.unpack_from(descriptor, 400)
        return block, reference

    def _address(self, block: int, reference: int) -> int:
        return next(self._stretches(block, reference, self._block))[0]

    def _stretches(self, block: int, reference: int, size: int) -> Iterator[tuple[int, int]]:
        """Where so many bytes are: first byte and length of each."""
        at = block * self._block
        if reference not in self._metadata:
            yield self._partition(reference) + at, size
            return
        for start, length in self._metadata[reference]:
            if at < length and size > 0:
                yield (start + at if start >= 0 else -1), min(size, length - at)
                size -= length - at
            at = max(0, at - length)
        if size > 0:
            raise _DamagedError("an address behind the metadata")

    def _partition(self, reference: int) -> int:
        if reference >= len(self._maps) or self._maps[reference] not in self._partitions:
            raise _DamagedError("an address in a partition that there is not")
        return self._partitions[self._maps[reference]]

    def _entry(self, where: tuple[int, int]) -> _Entry:
        return self._entry_at(self._address(*where), where[1])

    def _entry_at(self, start: int, reference: int) -> _Entry:
        raw = self._at(start, self._block)
        kind = _tag(raw)
        if kind not in (_FILE_ENTRY, _EXTENDED_ENTRY):
            raise _DamagedError("there is no file where one should be")
        size = struct.unpack_from("<Q", raw, 56)[0]
        lengths_at, body = (168, 176) if kind == _FILE_ENTRY else (208, 216)
        attributes, descriptors = struct.unpack_from("<LL", raw, lengths_at)
        at = body + attributes
        form = struct.unpack_from("<H", raw, 34)[0] & 7
        if form == _IN_PLACE:
            extents: list[tuple[int, int]] = [(start + at, descriptors)]
        else:
            extents = list(self._extents(raw[at : at + descriptors], form, reference))
        return _Entry(raw[27] == _FOLDER_TYPE, size, tuple(extents))

    def _extents(self, raw: bytes, form: int, reference: int) -> Iterator[tuple[int, int]]:
        if form not in (_SHORT_FORM, _LONG_FORM):
            raise _DamagedError("addresses in a form that nobody writes")
        step = 8 if form == _SHORT_FORM else 16
        for at in range(0, min(len(raw) - step + 1, step * _EXTENTS_MAX), step):
            size, block = struct.unpack_from("<LL", raw, at)
            if form == _LONG_FORM:
                reference = struct.unpack_from("<H", raw, at + 8)[0]
            kind, size = size >> 30, size & 0x3FFFFFFF
            if not size:
                return
            if kind == 3:
                raise NotImplementedError("a file in very many pieces")
            if kind:
                yield -1, size
            else:
                yield from self._stretches(block, reference, size)

    def _content(self, entry: _Entry, limit: int) -> bytes:
        wanted = min(entry.size, limit)
        out = bytearray()
        for start, size in entry.extents:
            count = min(size, wanted - len(out))
            out += bytes(count) if start < 0 else self._data[start : start + count]
            if len(out) >= wanted:
                break
        return bytes(out[:wanted])

    def _names(self, listing: bytes) -> Iterator[tuple[str, int, tuple[int, int]]]:
        at = 0
        while at + 38 <= len(listing) and _tag(listing[at : at + 16]) == _FILE_NAME:
            flags, name_bytes = listing[at + 18], listing[at + 19]
            _, block, reference = _LONG.unpack_from(listing, at + 20)
            use_bytes = struct.unpack_from("<H", listing, at + 36)[0]
            name = listing[at + 38 + use_bytes : at + 38 + use_bytes + name_bytes]
            yield _name(name), flags, (block, reference)
            at += (38 + use_bytes + name_bytes + 3) & ~3

    def _at(self, start: int, size: int) -> bytes:
        found = self._data[start : start + size]
        if len(found) < size:
            raise _DamagedError("truncated")
        return found


def _tag(descriptor: bytes) -> int:
    return int.from_bytes(descriptor[:2], "little")


def _name(raw: bytes) -> str:
    """Compressed Unicode (OSTA): the first byte says how many bits a character has."""
    if not raw:
        return ""
    return raw[1:].decode("utf-16-be" if raw[0] in (16, 255) else "latin-1", "replace")
