"""Parts in which this set has found nothing: the same attachment in many mails is scanned once.

clamd remembers clean files likewise. A memory belongs to one loaded set, so a new set begins anew.
"""

import hashlib
from collections.abc import Sequence

from mailward.scan.part import Part, Role

PARTS_MAX = 50_000
"""Some 5 MB in each worker."""


class CleanParts:
    """Bounded; the oldest is forgotten first."""

    def __init__(self, most: int = PARTS_MAX) -> None:
        self._most = most
        self._keys: dict[bytes, None] = {}

    def key(self, part: Part, containers: Sequence[str]) -> bytes:
        """Of all that signatures look at: content, name, and what it lies in."""
        # Cryptographic, or somebody would make a bad part with the key of a harmless one.
        digest = hashlib.sha256(part.data)
        around = (part.role is Role.MESSAGE, part.name, part.type, *containers)
        digest.update(repr(around).encode(errors="surrogatepass"))
        if part.parent is not None:
            digest.update(len(part.parent.data).to_bytes(8, "big"))
        return digest.digest()[:20]

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    def add(self, key: bytes) -> None:
        """Remember a part that was scanned to its end."""
        while len(self._keys) >= self._most:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = None
