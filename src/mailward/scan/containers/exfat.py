"""exFAT (Microsoft, "exFAT File System Specification")."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.clusters import Clusters
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_BOOT = struct.Struct("<LLLLL")
_BOOT_AT, _SHIFTS_AT = 80, 108
_ENTRY_BYTES = 32
_FILE, _STREAM, _NAME = 0x85, 0xC0, 0xC1
_FOLDER, _IN_ONE_PIECE = 0x10, 2
_FOLDERS_MAX = 5000
_FOLDER_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_folder: bool
    cluster: int
    is_in_one_piece: bool
    size: int
    valid: int
    """Bytes that were written; zeros behind them."""


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    boot = source.read(0, 512)
    if len(boot) < 512:
        yield Shut(Reason.MALFORMED, "exFAT file system: truncated", label=label)
        return
    system = _FileSystem(source, boot)
    if not system.is_sound:
        yield Shut(Reason.MALFORMED, "exFAT file system: impossible sizes", label=label)
        return
    root = system.root()
    if not root:
        yield Shut(Reason.MALFORMED, "exFAT file system: truncated", label=label)
    waiting, visited = [("", root)], {system.root_cluster}
    while waiting:
        above, listing = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        for entry in _entries(listing):
            budget.check_time()
            path = above + entry.name
            if not entry.is_folder:
                wanted = min(entry.size, budget.room() + 1)
                content = system.content(entry, min(entry.valid, wanted))
                is_short = len(content) < min(entry.valid, wanted)
                if not is_short:
                    content = content.ljust(wanted, b"\0")
                yield Piece(content, Role.MEMBER, path, label=label)
                if is_short:
                    why = "truncated: it ends behind its file system"
                    yield Shut(Reason.MALFORMED, why, path, label)
            elif entry.cluster not in visited and len(visited) < _FOLDERS_MAX:
                visited.add(entry.cluster)
                inner = system.content(entry, min(entry.size, _FOLDER_MAX_BYTES))
                if len(inner) < entry.size:
                    yield Shut(Reason.MALFORMED, "truncated: a folder", path, label)
                waiting.append((path + "/", inner))


class _FileSystem:
    def __init__(self, source: Source, boot: bytes) -> None:
        table, _, data, count, self.root_cluster = _BOOT.unpack_from(boot, _BOOT_AT)
        sector, cluster = boot[_SHIFTS_AT], boot[_SHIFTS_AT + 1]
        self.is_sound = 9 <= sector <= 12 and sector + cluster <= 25
        self._source = source
        self._table_at = table << sector if self.is_sound else 0
        data_at = data << sector if self.is_sound else 0
        cluster_bytes = 1 << (sector + cluster) if self.is_sound else 1
        self._clusters = Clusters(source, data_at, cluster_bytes, count, self._next)

    def root(self) -> bytes:
        """The listing of the first folder."""
        return self._clusters.chain(self.root_cluster, _FOLDER_MAX_BYTES)

    def content(self, entry: _Entry, limit: int) -> bytes:
        """At most so many bytes."""
        if not entry.is_in_one_piece:
            return self._clusters.chain(entry.cluster, limit)
        if not self._clusters.holds(entry.cluster):
            return b""
        return self._source.read(self._clusters.place(entry.cluster), limit)

    def _next(self, cluster: int) -> int:
        return int.from_bytes(self._source.read(self._table_at + 4 * cluster, 4), "little")


def _entries(listing: bytes) -> Iterator[_Entry]:
    """Each is a file's entry, one of its stream, and some with its name."""
    attributes = chars = 0
    stream, name = b"", b""
    for at in range(0, len(listing) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        raw = listing[at : at + _ENTRY_BYTES]
        if not raw[0]:
            break
        if raw[0] == _STREAM:
            stream, chars = raw, raw[3]
        elif raw[0] == _NAME:
            name += raw[2:]
        else:
            if stream:
                yield _entry(attributes, stream, name, chars)
            stream, name = b"", b""
            attributes = raw[4] if raw[0] == _FILE else 0
    if stream:
        yield _entry(attributes, stream, name, chars)


def _entry(attributes: int, stream: bytes, name: bytes, chars: int) -> _Entry:
    valid, cluster, size = struct.unpack_from("<Q4xLQ", stream, 8)
    text = name[: 2 * chars].decode("utf-16-le", "replace")
    in_one = bool(stream[1] & _IN_ONE_PIECE)
    return _Entry(text, bool(attributes & _FOLDER), cluster, in_one, size, min(valid, size))
