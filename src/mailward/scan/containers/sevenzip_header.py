"""The header of a 7z archive: what is where, and how it is packed (7zFormat.txt of the LZMA SDK).

Every count is held against the bytes that are there before anything is made from it.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAGIC = b"7z\xbc\xaf\x27\x1c"
START = struct.Struct("<6s2sLQQL")
"""Magic, version, checksum; where behind this the header is, its size, its checksum."""

_END, _HEADER, _PROPERTIES, _ADDITIONAL, _STREAMS, _FILES = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05
_PACK, _UNPACK, _SUBSTREAMS, _SIZE, _CRC, _FOLDER = 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B
_UNPACK_SIZE, _SUBSTREAM_COUNT, _EMPTY_STREAM, _EMPTY_FILE, _NAMES = 0x0C, 0x0D, 0x0E, 0x0F, 0x11
_ENCODED = 0x17
_CODERS_MAX = 16
"""Of a folder; 7-Zip itself takes 32, and makes at most 5."""


class DamagedError(Exception):
    """It cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Coder:
    """One step of unpacking."""

    method: bytes
    properties: bytes
    inputs: int = 1


@dataclass(slots=True)
class Folder:
    """What is packed together: the files in it lie behind each other once unpacked."""

    coders: tuple[Coder, ...]
    """In the order of unpacking, if each has one input."""
    is_chain: bool
    packed_streams: int
    sizes: tuple[int, ...] = ()
    """Unpacked, after each coder of ``coders``."""
    crc: int | None = None
    files: list[tuple[int, int | None]] = field(default_factory=list)
    """Size and checksum of each."""

    @property
    def size(self) -> int:
        """Of all that comes out."""
        return self.sizes[-1] if self.sizes else 0


@dataclass(frozen=True, slots=True)
class Streams:
    """Folders, and where what they are packed in begins and how long each of it is."""

    start: int
    packed_sizes: tuple[int, ...]
    folders: tuple[Folder, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What there is: names, in the order of the files in the folders."""

    streams: Streams
    names: tuple[str, ...]
    empty: tuple[str, ...]
    """Files without content."""
    positions: tuple[int, ...] = ()
    """Of ``names`` among all entries, folders included."""
    has_folders: bool = False


class Cursor:
    """Reads numbers and bytes. Raises DamagedError behind the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > self.left:
            raise DamagedError("the header ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        """The next one."""
        return self.take(1)[0]

    def number(self) -> int:
        """As many bytes follow the first as it has leading ones; the rest of it is the top."""
        first = self.byte()
        mask, value = 0x80, 0
        for index in range(8):
            if not first & mask:
                return value | (first & mask - 1) << 8 * index
            value |= self.byte() << 8 * index
            mask >>= 1
        return value

    def count(self) -> int:
        """A number of things, each of which takes at least a bit."""
        value = self.number()
        if value > 8 * self.left + 8:
            raise DamagedError("the header names more than it can hold")
        return value

    def bits(self, count: int) -> list[bool]:
        """The highest of each byte first."""
        raw = self.take((count + 7) // 8)
        return [bool(raw[n // 8] & 0x80 >> n % 8) for n in range(count)]

    def digests(self, count: int) -> list[int | None]:
        """A checksum for each thing that has one."""
        defined = [True] * count if self.byte() else self.bits(count)
        return [int.from_bytes(self.take(4), "little") if has else None for has in defined]

    def expect(self, kind: int) -> None:
        """Pass over a mark that must be there."""
        if self.byte() != kind:
            raise DamagedError("something else is in the header than should be")


def parse(data: bytes) -> Header | Streams:
    """A header, or where the real one is packed. Raises DamagedError."""
    cursor = Cursor(data)
    kind = cursor.byte()
    if kind == _ENCODED:
        return _streams(cursor)
    if kind != _HEADER:
        raise DamagedError("there is no header where it should be")
    streams = Streams(0, (), ())
    files: list[tuple[int, str, bool]] = []
    entries = 0
    while (kind := cursor.byte()) != _END:
        if kind == _PROPERTIES:
            while cursor.byte() != _END:
                cursor.take(cursor.number())
        elif kind == _ADDITIONAL:
            _streams(cursor)
        elif kind == _STREAMS:
            streams = _streams(cursor)
        elif kind == _FILES:
            entries, files = _files(cursor)
        else:
            raise DamagedError("something else is in the header than should be")
    return Header(
        streams,
        tuple(name for _, name, has in files if has),
        tuple(name for _, name, has in files if not has),
        tuple(position for position, _, has in files if has),
        entries > len(files),
    )


def _streams(cursor: Cursor) -> Streams:
    start, packed, folders = 0, list[int](), list[Folder]()
    while (kind := cursor.byte()) != _END:
        if kind == _PACK:
            start, packed = _pack(cursor)
        elif kind == _UNPACK:
            folders = _unpack(cursor)
        elif kind == _SUBSTREAMS:
            _substreams(cursor, folders)
        else:
            raise DamagedError("something else is in the header than should be")
    for folder in folders:
        if not folder.files:
            folder.files = [(folder.size, folder.crc)]
    return Streams(start, tuple(packed), tuple(folders))


def _pack(cursor: Cursor) -> tuple[int, list[int]]:
    start, count = cursor.number(), cursor.count()
    sizes = list[int]()
    while (kind := cursor.byte()) != _END:
        if kind == _SIZE:
            sizes = [cursor.number() for _ in range(count)]
        elif kind == _CRC:
            cursor.digests(count)
        else:
            raise DamagedError("something else is in the header than should be")
    return start, sizes


def _unpack(cursor: Cursor) -> list[Folder]:
    cursor.expect(_FOLDER)
    count = cursor.count()
    if cursor.byte():
        raise DamagedError("its folders are somewhere else")
    parsed = [_folder(cursor) for _ in range(count)]
    cursor.expect(_UNPACK_SIZE)
    for folder, order in parsed:
        sizes = [cursor.number() for _ in order]
        folder.sizes = tuple(sizes[index] for index in order)
    folders = [folder for folder, _ in parsed]
    while (kind := cursor.byte()) != _END:
        if kind != _CRC:
            raise DamagedError("something else is in the header than should be")
        for folder, crc in zip(folders, cursor.digests(count), strict=True):
            folder.crc = crc
    return folders


def _folder(cursor: Cursor) -> tuple[Folder, Sequence[int]]:
    """And the order in which its coders unpack."""
    coders = []
    for _ in range(_few(cursor.number())):
        flags = cursor.byte()
        method = cursor.take(flags & 0x0F) or b"\0"  # no number is the number 0: a copy
        inputs, outputs = (cursor.number(), cursor.number()) if flags & 0x10 else (1, 1)
        properties = cursor.take(cursor.number()) if flags & 0x20 else b""
        if outputs != 1:
            raise DamagedError("a coder with several outputs")
        coders.append(Coder(method, properties, _few(inputs)))
    inputs = sum(coder.inputs for coder in coders)
    pairs = [(cursor.number(), cursor.number()) for _ in range(len(coders) - 1)]
    packed = inputs - len(pairs)
    if packed < 1:
        raise DamagedError("a folder without input")
    if packed > 1:
        for _ in range(packed):
            cursor.number()
    order = _chain(len(coders), pairs) if inputs == len(coders) else None
    if order is None:
        return Folder(tuple(coders), False, packed), range(len(coders))
    return Folder(tuple(coders[index] for index in order), True, packed), order


def _few(count: int) -> int:
    if not 1 <= count <= _CODERS_MAX:
        raise DamagedError("a folder with an impossible number of coders")
    return count


def _chain(count: int, pairs: Sequence[tuple[int, int]]) -> list[int] | None:
    """Coders with one input each, from the packed stream on; None if they are no chain."""
    feeds = {output: consumer for consumer, output in pairs}
    first = set(range(count)) - {consumer for consumer, _ in pairs}
    if len(first) != 1:
        return None
    order = [first.pop()]
    while order[-1] in feeds and len(order) <= count:
        order.append(feeds[order[-1]])
    return order if sorted(order) == list(range(count)) else None


def _substreams(cursor: Cursor, folders: list[Folder]) -> None:
    counts = [1] * len(folders)
    kind = cursor.byte()
    if kind == _SUBSTREAM_COUNT:
        counts = [cursor.count() for _ in folders]
        kind = cursor.byte()
    sizes = [list[int]() for _ in folders]
    if kind == _SIZE:
        for of_folder, count in zip(sizes, counts, strict=True):
            of_folder += [cursor.number() for _ in range(count - 1)]
        kind = cursor.byte()
    for folder, of_folder, count in zip(folders, sizes, counts, strict=True):
        if count:
            of_folder.append(folder.size - sum(of_folder))
        if len(of_folder) != count or min(of_folder, default=0) < 0:
            raise DamagedError("files that are larger than what they are packed in")
    known = [
        count == 1 and folder.crc is not None for folder, count in zip(folders, counts, strict=True)
    ]
    crcs: Iterator[int | None] = iter(())
    if kind == _CRC:
        crcs = iter(cursor.digests(sum(c for c, k in zip(counts, known, strict=True) if not k)))
        kind = cursor.byte()
    for folder, of_folder, has in zip(folders, sizes, known, strict=True):
        folder.files = [(size, folder.crc if has else next(crcs, None)) for size in of_folder]
    if kind != _END:
        raise DamagedError("something else is in the header than should be")


def _files(cursor: Cursor) -> tuple[int, list[tuple[int, str, bool]]]:
    """How many entries, and of files their positions, names, and whether each has content."""
    count = cursor.count()
    names = [""] * count
    empty = [False] * count
    empty_files = list[bool]()
    while (kind := cursor.byte()) != _END:
        body = Cursor(cursor.take(cursor.number()))
        if kind == _EMPTY_STREAM:
            empty = body.bits(count)
        elif kind == _EMPTY_FILE:
            empty_files = body.bits(sum(empty))
        elif kind == _NAMES and not body.byte():
            text = body.take(body.left).decode("utf-16-le", "replace").split("\0")
            names = (text + names)[:count] if len(text) >= count else text + names[len(text) :]
    is_file = iter(empty_files)
    entries = enumerate(zip(names, empty, strict=True))
    return count, [(position, name, not is_empty) for position, (name, is_empty) in entries
                   if not is_empty or next(is_file, False)]  # fmt: skip
