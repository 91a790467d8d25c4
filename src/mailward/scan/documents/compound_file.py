"""Compound files (MS-CFB): a file system in a file, used by Office, Outlook and Windows Installer.

Chains are followed no further than there are sectors, and there are no more entries than fit; a
damaged file is read as far as it makes sense.
"""

import array
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_HEADER_BYTES = 512
_HEADER = struct.Struct("<8s16s5H6x9L")
_DIFAT_IN_HEADER = 109
_ENTRY = struct.Struct("<64sHBBLLL16sLQQLQ")
_END, _MAX_SECTOR = 0xFFFFFFFE, 0xFFFFFFFA
_NONE = 0xFFFFFFFF
_STORAGE, _STREAM, _ROOT = 1, 2, 5
_ENTRIES_MAX = 20_000
"""A large Outlook message has some thousands."""


class DamagedError(Exception):
    """It cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A file in it."""

    path: tuple[str, ...]
    """Storages, then its name, as they are: control characters and all."""
    start: int
    size: int

    @property
    def name(self) -> str:
        """The last piece of its path."""
        return self.path[-1]

    @property
    def storage(self) -> tuple[str, ...]:
        """What it is in."""
        return self.path[:-1]


class CompoundFile:
    """One of them, opened. Raises DamagedError if it is none."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER_BYTES or not data.startswith(MAGIC):
            raise DamagedError("too short for a compound file")
        (_, _, _, _, _, shift, mini_shift, _, _, directory, _, self._mini_limit,
         mini_fat, _, difat, _) = _HEADER.unpack_from(data)  # fmt: skip
        if not 7 <= shift <= 20 or not 2 <= mini_shift < shift:
            raise DamagedError("sectors of an impossible size")
        self._data = memoryview(data)
        self._sector, self._mini_sector = 1 << shift, 1 << mini_shift
        self._fat = self._read_fat(difat)
        self._mini_fat = _numbers(self._chain(mini_fat, len(data)))
        entries = self._chain(directory, _ENTRIES_MAX * _ENTRY.size)
        self._streams, root = _directory(entries)
        if root is None:
            raise DamagedError("its directory cannot be read")
        self._root = root
        self._mini = self._chain(root.start, root.size)

    @property
    def streams(self) -> list[Stream]:
        """All of them, also those that no storage refers to."""
        return self._streams

    def read(self, stream: Stream, limit: int) -> bytes:
        """Its first ``limit`` bytes, or as many as there are."""
        size = min(stream.size, limit)
        if stream.size < self._mini_limit:
            return self._mini_chain(stream.start, size)
        return self._chain(stream.start, size)

    def places(self, stream: Stream) -> Iterator[tuple[int, int]]:
        """Where its content lies in the file: beginnings and sizes, as far as it makes sense."""
        if stream.size >= self._mini_limit:
            yield from self._sectors(stream.start, stream.size)
            return
        mini = [
            (start + at, self._mini_sector)
            for start, size in self._sectors(self._root.start, self._root.size)
            for at in range(0, size - self._mini_sector + 1, self._mini_sector)
        ]
        number, size, left = stream.start, stream.size, len(self._mini_fat)
        while number < len(mini) and size > 0 and left >= 0:
            yield mini[number][0], min(size, self._mini_sector)
            size -= self._mini_sector
            left -= 1
            number = self._mini_fat[number] if number < len(self._mini_fat) else _END

    def _sectors(self, number: int, size: int) -> Iterator[tuple[int, int]]:
        left = len(self._data) // self._sector + 1
        while number < _MAX_SECTOR and size > 0 and left > 0:
            start = (number + 1) * self._sector
            here = min(size, self._sector, len(self._data) - start)
            if here > 0:
                yield start, here
            size -= self._sector
            left -= 1
            number = self._fat[number] if number < len(self._fat) else _END

    def _read_fat(self, difat: int) -> "array.array[int]":
        first = self._data[_HEADER_BYTES - 4 * _DIFAT_IN_HEADER : _HEADER_BYTES]
        sectors = [number for number in _numbers(first) if number < _MAX_SECTOR]
        left = len(self._data) // self._sector + 1
        seen = set[int]()
        while difat < _MAX_SECTOR and difat not in seen and len(seen) < left:
            seen.add(difat)
            numbers = _numbers(self._at(difat))
            if not numbers:
                break
            sectors += [number for number in numbers[:-1] if number < _MAX_SECTOR]
            difat = numbers[-1]
        return _numbers(b"".join(self._at(number) for number in sectors[:left]))

    def _at(self, number: int) -> memoryview:
        start = (number + 1) * self._sector
        return self._data[start : start + self._sector]

    def _chain(self, start: int, limit: int) -> bytes:
        """Sectors that lie behind each other are taken in one go: most files are so."""
        runs: list[memoryview] = []
        number, size = start, 0
        left = min(len(self._fat), len(self._data) // self._sector + 1)
        while number < _MAX_SECTOR and size < limit and left > 0:
            first = number
            count = 0
            while True:
                count += 1
                left -= 1
                following = self._fat[number] if number < len(self._fat) else _END
                if following != number + 1 or left <= 0 or size + count * self._sector >= limit:
                    break
                number = following
            begin = (first + 1) * self._sector
            runs.append(self._data[begin : begin + count * self._sector])
            size += count * self._sector
            number = following
        return b"".join(runs)[:limit]

    def _mini_chain(self, start: int, limit: int) -> bytes:
        out = bytearray()
        number, left = start, len(self._mini_fat)
        while number < _MAX_SECTOR and len(out) < limit and left >= 0:
            left -= 1
            begin = number * self._mini_sector
            out += self._mini[begin : begin + self._mini_sector]
            number = self._mini_fat[number] if number < len(self._mini_fat) else _END
        return bytes(out[:limit])


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size: int


def _directory(data: bytes) -> tuple[list[Stream], _Entry | None]:
    """The streams with their paths, and the root."""
    entries = [_entry(data, at) for at in range(0, len(data) - _ENTRY.size + 1, _ENTRY.size)]
    root = next((e for e in entries if e is not None and e.kind == _ROOT), None)
    paths: dict[int, tuple[str, ...]] = {}
    waiting: list[tuple[int, tuple[str, ...]]] = [(root.child, ())] if root is not None else []
    while waiting:
        number, above = waiting.pop()
        entry = entries[number] if number < len(entries) else None
        if entry is None or number in paths:
            continue
        paths[number] = (*above, entry.name)
        waiting += [(entry.left, above), (entry.right, above)]
        if entry.kind != _STREAM:
            waiting.append((entry.child, paths[number]))
    streams = [
        Stream(paths.get(number, ("?", entry.name)), entry.start, entry.size)
        for number, entry in enumerate(entries)
        if entry is not None and entry.kind == _STREAM
    ]
    return streams, root


def _entry(data: bytes, at: int) -> _Entry | None:
    name, name_bytes, kind, _, left, right, child, _, _, _, _, start, size = _ENTRY.unpack_from(
        data, at
    )
    if kind not in (_STORAGE, _STREAM, _ROOT):
        return None
    text = name[: max(0, min(name_bytes, 64) - 2)].decode("utf-16-le", "replace")
    # Versions 3 write junk into the upper half of the size.
    return _Entry(text, kind, left, right, child, start, size & 0xFFFFFFFF)


def _numbers(data: "bytes | memoryview") -> "array.array[int]":
    numbers = array.array("I", bytes(data[: len(data) - len(data) % 4]))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
