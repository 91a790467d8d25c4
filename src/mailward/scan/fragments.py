"""Pieces of messages that were sent in several (message/partial), joined when all are there."""

from mailward.scan.contents import Fragment

_FRAGMENTS_MAX = 1000
"""Of a scan, that are kept to be joined."""


class Fragments:
    """Of one scan."""

    def __init__(self) -> None:
        self._kept: dict[bytes, dict[int, Fragment]] = {}
        self._alone: dict[bytes, list[str]] = {}
        self._count = 0

    def add(self, path: str, fragment: Fragment) -> bytes | None:
        """The whole message, if this was its last piece; ``path``: where the piece was."""
        self._alone.setdefault(fragment.id, []).append(path)
        self._count += 1
        if self._count > _FRAGMENTS_MAX or not fragment.number:
            return None
        kept = self._kept.setdefault(fragment.id, {})
        kept.setdefault(fragment.number, fragment)
        total = max(one.total for one in kept.values())
        if not total or len(kept) < total or set(kept) != set(range(1, total + 1)):
            return None
        del self._kept[fragment.id], self._alone[fragment.id]
        return b"".join(kept[number].data for number in range(1, total + 1))

    def alone(self) -> list[str]:
        """The places of those that nothing came of, in their order."""
        return [path for paths in self._alone.values() for path in paths]
