"""NTFS: the files by their records, each under its own name, streams beside the file included.

The master file table is read from end to end, not by its folders: a file that no folder lists is
read as well. Layout: R. Russon and Y. Fledel, "NTFS Documentation".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_IN_USE, _IS_FOLDER = 1, 2
_NAME, _DATA, _END = 0x30, 0x80, 0xFFFFFFFF
_COMPRESSED, _ENCRYPTED = 0x00FF, 0x4000
_DOS_NAME = 2
_FIRST_FILE = 24
"""Records before are the file system's own."""
_RECORDS_MAX = 200_000
_RUNS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Attribute:
    kind: int
    name: str
    flags: int
    content: bytes
    """If it is in the record."""
    runs: tuple[tuple[int, int], ...]
    """Else: first cluster (-1: zeros) and how many."""
    size: int


class _DamagedError(Exception):
    pass


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        volume = _Volume(source)
    except (_DamagedError, struct.error, IndexError):
        yield Shut(Reason.MALFORMED, "NTFS file system: its file table is damaged", label=label)
        return
    for number in range(_FIRST_FILE, min(volume.records, _RECORDS_MAX)):
        budget.check_time()
        try:
            attributes = volume.attributes(number)
        except (_DamagedError, struct.error, IndexError):
            why = f"NTFS file system: record {number} is damaged"
            yield Shut(Reason.MALFORMED, why, label=label)
            continue
        name = _name(attributes)
        for attribute in attributes:
            if attribute.kind != _DATA:
                continue
            shown = f"{name}:{attribute.name}" if attribute.name else name
            if attribute.flags & (_COMPRESSED | _ENCRYPTED):
                locked = attribute.flags & _ENCRYPTED
                reason = Reason.ENCRYPTED if locked else Reason.UNSUPPORTED
                why = "encrypted by NTFS" if locked else "compressed by NTFS"
                yield Shut(reason, why, shown, label)
                continue
            wanted = min(attribute.size, budget.room() + 1)
            content = volume.content(attribute, wanted)
            yield Piece(content, Role.MEMBER, shown, label=label)
            if len(content) < wanted:
                why = "truncated: it ends behind its file system"
                yield Shut(Reason.MALFORMED, why, shown, label)


class _Volume:
    def __init__(self, source: Source) -> None:
        boot = source.read(0, 512)
        self._source = source
        self._sector, per_cluster = struct.unpack_from("<HB", boot, 11)
        table, size = struct.unpack_from("<Q8xb", boot, 48)
        self._cluster = self._sector * per_cluster
        self._record = 1 << -size if size < 0 else size * self._cluster
        if self._sector not in (512, 1024, 2048, 4096) or not self._cluster:
            raise _DamagedError
        if self._record not in (512, 1024, 2048, 4096):
            raise _DamagedError
        first = self._parse(source.read(table * self._cluster, self._record))
        data = [a for a in first if a.kind == _DATA and not a.name]
        if not data:
            raise _DamagedError
        self._table = data[0]
        self.records = self._table.size // self._record

    def attributes(self, number: int) -> list[_Attribute]:
        """Of a record; none if it is no file in use. Raises _DamagedError, struct.error."""
        raw = self._at(self._table, number * self._record, self._record)
        if raw[:4] != b"FILE" or len(raw) < self._record:
            return []
        flags = struct.unpack_from("<H", raw, 22)[0]
        if not flags & _IN_USE or flags & _IS_FOLDER:
            return []
        return self._parse(raw)

    def content(self, attribute: _Attribute, limit: int) -> bytes:
        """At most so many bytes."""
        if not attribute.runs:
            return attribute.content[:limit]
        return self._at(attribute, 0, min(limit, attribute.size))

    def _at(self, attribute: _Attribute, at: int, size: int) -> bytes:
        out = bytearray()
        place = 0
        for first, count in attribute.runs:
            length = count * self._cluster
            skip = max(0, at + len(out) - place)
            if skip < length:
                wanted = min(length - skip, size - len(out))
                start = first * self._cluster + skip
                piece = bytes(wanted) if first < 0 else self._source.read(start, wanted)
                out += piece
                if len(piece) < wanted or len(out) >= size:
                    break
            place += length
        return bytes(out)

    def _parse(self, raw: bytes) -> list[_Attribute]:
        raw = self._repaired(raw)
        at = struct.unpack_from("<H", raw, 20)[0]
        found = []
        while at + 16 <= len(raw):
            kind, size = struct.unpack_from("<LL", raw, at)
            if kind == _END:
                break
            if size < 16 or at + size > len(raw):
                raise _DamagedError
            found.append(self._attribute(kind, raw[at : at + size]))
            at += size
        return found

    def _repaired(self, raw: bytes) -> bytes:
        """The last two bytes of each sector are kept at another place."""
        fixed = bytearray(raw)
        if fixed[:4] != b"FILE":
            raise _DamagedError
        at, count = struct.unpack_from("<HH", raw, 4)
        for number in range(1, min(count, len(raw) // 512 + 1)):
            fixed[number * 512 - 2 : number * 512] = raw[at + 2 * number : at + 2 * number + 2]
        return bytes(fixed[: len(raw)])

    def _attribute(self, kind: int, raw: bytes) -> _Attribute:
        elsewhere, name_chars, name_at, flags = struct.unpack_from("<BBHH", raw, 8)
        name = raw[name_at : name_at + 2 * name_chars].decode("utf-16-le", "replace")
        if not elsewhere:
            size, at = struct.unpack_from("<LH", raw, 16)
            return _Attribute(kind, name, flags, raw[at : at + size], (), size)
        runs_at = struct.unpack_from("<H", raw, 32)[0]
        size = struct.unpack_from("<Q", raw, 48)[0]
        return _Attribute(kind, name, flags, b"", tuple(_runs(raw[runs_at:])), size)


def _runs(raw: bytes) -> Iterator[tuple[int, int]]:
    at = cluster = 0
    for _ in range(_RUNS_MAX):
        if at >= len(raw) or not raw[at]:
            return
        count_bytes, offset_bytes = raw[at] & 0x0F, raw[at] >> 4
        at += 1
        count = int.from_bytes(raw[at : at + count_bytes], "little")
        offset = raw[at + count_bytes : at + count_bytes + offset_bytes]
        at += count_bytes + offset_bytes
        cluster += int.from_bytes(offset, "little", signed=True)
        yield (cluster if offset_bytes else -1), count


def _name(attributes: list[_Attribute]) -> str:
    """The long one, if there are two."""
    names = []
    for attribute in attributes:
        if attribute.kind == _NAME and len(attribute.content) > 66:
            chars, space = attribute.content[64], attribute.content[65]
            text = attribute.content[66 : 66 + 2 * chars].decode("utf-16-le", "replace")
            names.append((space == _DOS_NAME, text))
    return min(names)[1] if names else ""
