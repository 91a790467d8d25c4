"""FAT12, FAT16 and FAT32 (Microsoft, "FAT: General Overview of On-Disk Format")."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mailward.scan.budget import Budget
from mailward.scan.containers.clusters import Clusters
from mailward.scan.containers.disk_source import Source
from mailward.scan.contents import Contents, Piece, Shut
from mailward.scan.part import Role
from mailward.scan.verdict import Reason

_BOOT = struct.Struct("<HBHBHHBHHHLL")
_ENTRY_BYTES = 32
_LONG_NAME, _VOLUME, _FOLDER = 0x0F, 0x08, 0x10
_DELETED = 0xE5
_FOLDERS_MAX = 5000
_FOLDER_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    is_folder: bool
    cluster: int
    size: int


def read(source: Source, label: str, budget: Budget) -> Contents:
    """The files. Raises only Spent."""
    boot = source.read(0, 512)
    if len(boot) < 512:
        yield Shut(Reason.MALFORMED, "FAT file system: truncated", label=label)
        return
    system = _FileSystem(source, boot)
    if not system.is_sound:
        yield Shut(Reason.MALFORMED, "FAT file system: impossible sizes", label=label)
        return
    waiting, visited = [("", system.root())], {0}
    while waiting:
        above, listing = waiting.pop()
        budget.count_part(0)  # or millions of folders would cost nothing but time
        for entry in _entries(listing):
            budget.check_time()
            path = above + entry.name
            if not entry.is_folder:
                wanted = min(entry.size, budget.room() + 1)
                content = system.clusters.chain(entry.cluster, wanted)
                yield Piece(content, Role.MEMBER, path, label=label)
                if len(content) < wanted:
                    why = "truncated: it ends behind its file system"
                    yield Shut(Reason.MALFORMED, why, path, label)
            elif entry.cluster not in visited and len(visited) < _FOLDERS_MAX:
                visited.add(entry.cluster)
                waiting.append(
                    (path + "/", system.clusters.chain(entry.cluster, _FOLDER_MAX_BYTES))
                )


class _FileSystem:
    def __init__(self, source: Source, boot: bytes) -> None:
        (sector, per_cluster, reserved, fats, roots, total, _, fat, _, _, _, total_32) = (
            _BOOT.unpack_from(boot, 11)
        )
        fat = fat or struct.unpack_from("<L", boot, 36)[0]
        total = total or total_32
        self._source = source
        cluster_bytes = sector * per_cluster
        self._root_at = (reserved + fats * fat) * sector
        self._root_bytes = roots * _ENTRY_BYTES
        data_at = self._root_at + -(-self._root_bytes // max(sector, 1)) * sector
        count = max(0, total * sector - data_at) // max(cluster_bytes, 1)
        self.is_sound = (
            sector in (512, 1024, 2048, 4096) and per_cluster > 0 and fats > 0 and fat > 0
            and per_cluster & per_cluster - 1 == 0 and data_at < source.size
        )  # fmt: skip
        self._bits = 12 if count < 4085 else 16 if count < 65525 else 32
        self._root_cluster = struct.unpack_from("<L", boot, 44)[0] if self._bits == 32 else 0
        wanted = min(fat * sector, (count + 2) * self._bits // 8 + 2)
        self._fat = source.read(reserved * sector, wanted) if self.is_sound else b""
        self.clusters = Clusters(source, data_at, cluster_bytes, count, self._next)

    def root(self) -> bytes:
        """The listing of the first folder."""
        if self._bits == 32:
            return self.clusters.chain(self._root_cluster, _FOLDER_MAX_BYTES)
        return self._source.read(self._root_at, self._root_bytes)

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            at = cluster + cluster // 2
            value = int.from_bytes(self._fat[at : at + 2], "little")
            return value >> 4 if cluster & 1 else value & 0xFFF
        at = cluster * self._bits // 8
        value = int.from_bytes(self._fat[at : at + self._bits // 8], "little")
        return value & 0x0FFFFFFF


def _entries(listing: bytes) -> Iterator[_Entry]:
    long: list[bytes] = []
    for at in range(0, len(listing) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        raw = listing[at : at + _ENTRY_BYTES]
        if not raw[0]:
            return
        attributes = raw[11]
        if raw[0] == _DELETED:
            long = []
        elif attributes & 0x3F == _LONG_NAME:
            long.append(raw[1:11] + raw[14:26] + raw[28:32])
        elif not attributes & _VOLUME:
            name = b"".join(reversed(long)).decode("utf-16-le", "replace").partition("\0")[0]
            long = []
            if raw[:2] in (b". ", b".."):
                continue
            cluster = int.from_bytes(raw[26:28] + raw[20:22], "little")
            size = int.from_bytes(raw[28:32], "little")
            is_folder = bool(attributes & _FOLDER)
            yield _Entry(name or _short(raw), is_folder, cluster, size)
        else:
            long = []


def _short(raw: bytes) -> str:
    name, extension = raw[:8].decode("cp437").rstrip(), raw[8:11].decode("cp437").rstrip()
    return f"{name}.{extension}" if extension else name
