"""NTFS: the files by their records, each under its own name, streams beside the file included.

The master file table is read from end to end, not by its folders: a file that no folder lists is
read as well. Files that NTFS compressed are opened, and those that Windows made compact (WOF: their
content is in a stream beside them). Layout: R. Russon and Y. Fledel, "NTFS Documentation".
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailward.scan.budget import Budget
from mailward.scan.containers import lznt1, wim_chunks
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_IN_USE, _IS_FOLDER = 1, 2
_LIST, _NAME, _DATA, _REPARSE, _END = 0x20, 0x30, 0x80, 0xC0, 0xFFFFFFFF
_COMPRESSED, _LZNT1, _ENCRYPTED = 0x00FF, 1, 0x4000
_UNIT_MAX_BYTES = 1 << 20
"""What is compressed together; NTFS takes 64 KiB."""
_WOF, _WOF_FILE, _WOF_STREAM = b"\x17\0\0\x80", b"\2\0\0\0", "WofCompressedData"
_WOF_METHODS = {
    0: wim_chunks.Method("XPRESS", 12),
    1: wim_chunks.Method("LZX", 15),
    2: wim_chunks.Method("XPRESS", 13),
    3: wim_chunks.Method("XPRESS", 14),
}
"""[MS-FSCC] 2.1.2.11 and Windows' ``wofapi.h``."""
_PARTS_MAX = 1000
"""Records that one file may be spread over."""
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
    unit_bits: int = 0
    first: int = 0
    """Cluster of the file that the runs begin with: a file may be spread over several records."""


class _DamagedError(Exception):
    pass


class _EndError(_DamagedError):
    pass


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    try:
        volume = _Volume(source)
    except (_DamagedError, struct.error, IndexError):
        yield Shut(Reason.MALFORMED, "NTFS file system: its file table is damaged", label=label)
        return
    if volume.records > _RECORDS_MAX:
        why = f"NTFS file system: only its first {_RECORDS_MAX} records were read"
        yield Shut(Reason.LIMIT, why, label=label)
    for number in range(_FIRST_FILE, min(volume.records, _RECORDS_MAX)):
        budget.check_time()
        try:
            attributes = volume.attributes(number)
        except _EndError:
            why = f"NTFS file system: truncated, of {volume.records} records {number} are there"
            yield Shut(Reason.MALFORMED, why, label=label)
            break
        except (_DamagedError, struct.error, IndexError):
            why = f"NTFS file system: record {number} is damaged"
            yield Shut(Reason.MALFORMED, why, label=label)
            continue
        name = _name(attributes)
        compact = _compact(attributes)
        for attribute in attributes:
            if attribute.kind != _DATA:
                continue
            shown = f"{name}:{attribute.name}" if attribute.name else name
            if compact is None:
                yield from _open(volume, attribute, shown, label, budget)
            elif not attribute.name:
                yield from _open_compact(volume, attributes, compact, name, label, budget)
            elif attribute.name != _WOF_STREAM:
                yield from _open(volume, attribute, shown, label, budget)


def _open(
    volume: "_Volume", attribute: _Attribute, shown: str, label: str, budget: Budget
) -> Contents:
    if attribute.flags & _ENCRYPTED:
        yield Shut(Reason.ENCRYPTED, "encrypted by NTFS", shown, label)
        return
    packing = attribute.flags & _COMPRESSED
    if packing and (packing != _LZNT1 or volume.cluster << attribute.unit_bits > _UNIT_MAX_BYTES):
        yield Shut(Reason.UNSUPPORTED, "compressed by NTFS: it is not known how", shown, label)
        return
    wanted = min(attribute.size, budget.room() + 1)
    if packing and attribute.runs:
        content = volume.unpacked(attribute, wanted, budget)
    else:
        content = volume.content(attribute, wanted)
    yield Piece(content, Role.MEMBER, shown, label=label)
    if len(content) < wanted:
        why = "truncated: it ends behind its file system"
        yield Shut(Reason.MALFORMED, why, shown, label)


def _compact(attributes: list[_Attribute]) -> int | None:
    """How Windows packed a file; -1 if it is not known, None if it did not."""
    for attribute in attributes:
        if attribute.kind == _REPARSE and attribute.content[:4] == _WOF:
            provider = attribute.content[12:16]
            is_file = provider == _WOF_FILE and len(attribute.content) >= 24
            return int.from_bytes(attribute.content[20:24], "little") if is_file else -1
    return None


def _open_compact(
    volume: "_Volume", attributes: list[_Attribute], how: int, name: str, label: str, budget: Budget
) -> Contents:
    """A file whose own content is nothing but a size."""
    sizes = [a.size for a in attributes if a.kind == _DATA and not a.name]
    packed = [a for a in attributes if a.kind == _DATA and a.name == _WOF_STREAM]
    if not sizes or not packed or how not in _WOF_METHODS:
        yield Shut(Reason.UNSUPPORTED, "made compact by Windows: it is not known how", name, label)
        return
    room = budget.room()
    raw = volume.content(packed[0], min(packed[0].size, room))
    content, shut = wim_chunks.unpack(raw, sizes[0], _WOF_METHODS[how], room, budget)
    yield Piece(content, Role.MEMBER, name, label=label)
    if shut is not None:
        yield Shut(shut.reason, f"made compact by Windows: {shut.detail}", name, label)


class _Volume:
    def __init__(self, source: Source) -> None:
        boot = source.read(0, 512)
        self._source = source
        self._sector, per_cluster = struct.unpack_from("<HB", boot, 11)
        table, size = struct.unpack_from("<Q8xb", boot, 48)
        self.cluster = self._sector * per_cluster
        self._record = 1 << -size if size < 0 else size * self.cluster
        if self._sector not in (512, 1024, 2048, 4096) or not self.cluster:
            raise _DamagedError
        if self._record not in (512, 1024, 2048, 4096):
            raise _DamagedError
        first = self._parse(source.read(table * self.cluster, self._record))
        data = [a for a in first if a.kind == _DATA and not a.name]
        if not data:
            raise _DamagedError
        self._table = data[0]
        lists = [attribute for attribute in first if attribute.kind == _LIST]
        if lists:
            gathered = self._gathered(first, lists[0], 0)
            self._table = next(a for a in gathered if a.kind == _DATA and not a.name)
        self.records = self._table.size // self._record

    def attributes(self, number: int) -> list[_Attribute]:
        """Of a record; none if it is no file in use. Raises _DamagedError, struct.error."""
        raw = self._at(self._table, number * self._record, self._record)
        if len(raw) < self._record:
            raise _EndError
        if raw[:4] != b"FILE":
            return []
        flags = struct.unpack_from("<H", raw, 22)[0]
        base = struct.unpack_from("<Q", raw, 32)[0]
        if not flags & _IN_USE or flags & _IS_FOLDER or base:
            return []
        found = self._parse(raw)
        lists = [attribute for attribute in found if attribute.kind == _LIST]
        return self._gathered(found, lists[0], number) if lists else found

    def _gathered(self, found: list[_Attribute], listed: _Attribute, own: int) -> list[_Attribute]:
        """With what is in other records, and what is spread over several put together."""
        raw = self.content(listed, min(listed.size, _PARTS_MAX * 64))
        at, records = 0, list[int]()
        while at + 26 <= len(raw) and len(records) < _PARTS_MAX:
            size = struct.unpack_from("<H", raw, at + 4)[0]
            number = int.from_bytes(raw[at + 16 : at + 22], "little")
            if number != own and number not in records:
                records.append(number)
            if size < 26:
                raise _DamagedError
            at += size
        for number in records:
            part = self._at(self._table, number * self._record, self._record)
            if len(part) == self._record and int.from_bytes(part[32:38], "little") == own:
                found = found + self._parse(part)
        whole: dict[tuple[int, str, bytes], _Attribute] = {}
        for one in sorted(found, key=lambda one: one.first):
            key = one.kind, one.name, one.content  # of names there may be several
            before = whole.get(key)
            whole[key] = replace(before, runs=before.runs + one.runs) if before else one
        return list(whole.values())

    def content(self, attribute: _Attribute, limit: int) -> bytes:
        """At most so many bytes."""
        if not attribute.runs:
            return attribute.content[:limit]
        return self._at(attribute, 0, min(limit, attribute.size))

    def unpacked(self, attribute: _Attribute, limit: int, budget: Budget) -> bytes:
        """At most so many bytes of one that is compressed by units; up to damage."""
        clusters = 1 << attribute.unit_bits
        unit_bytes = clusters * self.cluster
        out = bytearray()
        for used, stored in self._units(attribute, clusters):
            budget.check_time()
            wanted = min(unit_bytes, limit - len(out))
            if used == 0:
                out += bytes(wanted)
            elif used >= clusters:
                out += stored[:wanted]
            else:
                try:
                    piece = lznt1.unpack(stored, unit_bytes)
                except (IndexError, ValueError):
                    break
                # What is behind the last chunk of a unit is zeros.
                out += piece.ljust(unit_bytes, b"\0")[:wanted]
            if len(stored) < used * self.cluster or len(out) >= limit:
                break
        return bytes(out)

    def _units(self, attribute: _Attribute, clusters: int) -> Iterator[tuple[int, bytes]]:
        """Of each unit how many clusters are stored, and they."""
        used, stored = 0, bytearray()
        at = 0
        for first, count in attribute.runs:
            done = 0
            while done < count:
                part = min(count - done, clusters - at)
                if first >= 0:
                    place, used = (first + done) * self.cluster, used + part
                    stored += self._source.read(place, part * self.cluster)
                done, at = done + part, at + part
                if at == clusters:
                    yield used, bytes(stored)
                    at, used, stored = 0, 0, bytearray()
        if at:
            yield (clusters if used == at else used), bytes(stored)

    def _at(self, attribute: _Attribute, at: int, size: int) -> bytes:
        out = bytearray()
        place = 0
        for first, count in attribute.runs:
            length = count * self.cluster
            skip = max(0, at + len(out) - place)
            if skip < length:
                wanted = min(length - skip, size - len(out))
                start = first * self.cluster + skip
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
        first, runs_at, unit_bits = struct.unpack_from("<Q8xHH", raw, 16)
        size = struct.unpack_from("<Q", raw, 48)[0] if not first else 0
        runs = tuple(_runs(raw[runs_at:]))
        return _Attribute(kind, name, flags, b"", runs, size, unit_bits, first)


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
