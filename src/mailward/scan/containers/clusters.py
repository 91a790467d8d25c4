"""Clusters of a disk that a table chains together, as FAT and exFAT do."""

from collections.abc import Callable
from dataclasses import dataclass

from mailward.scan.containers.disk_source import Source

_RUN_MAX_BYTES = 4 * 1024 * 1024
"""Of clusters that follow each other, read at once."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Numbered from 2."""

    source: Source
    data_at: int
    """Where the first one is."""
    cluster_bytes: int
    count: int
    following: Callable[[int], int]
    """What the table says of a cluster."""

    def place(self, cluster: int) -> int:
        """Where it is."""
        return self.data_at + (cluster - 2) * self.cluster_bytes

    def holds(self, cluster: int) -> bool:
        """Whether there is one of that number."""
        return 2 <= cluster < self.count + 2

    def chain(self, cluster: int, limit: int) -> bytes:
        """What begins at a cluster, at most so many bytes; fewer where the disk ends."""
        out = bytearray()
        left = self.count + 1
        while self.holds(cluster) and len(out) < limit and left > 0:
            first, following, count = cluster, self.following(cluster), 1
            while following == cluster + 1 and count * self.cluster_bytes < _RUN_MAX_BYTES:
                cluster, count = following, count + 1
                following = self.following(cluster)
            left -= count
            wanted = min(count * self.cluster_bytes, limit - len(out))
            run = self.source.read(self.place(first), wanted)
            out += run
            if len(run) < wanted:
                break
            cluster = following
        return bytes(out)
