"""Signatures that this computer ignores: the administrator's word, for every product on the store.

``<store>/ignored.json`` is one small file that is replaced whole; readers look at its stamp. An
entry is a risk's name as it was reported, or ``ENGINE:SIGNATURE`` as `scan --json` gives it. The
publisher's own list, ``excluded`` shards, is another matter: it travels with the set.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from pydantic import Field

from mailward.definitions.model import Text, Value, read_value
from mailward.errors import FormatError, StoreError, UsageError

ENTRY_MAX_BYTES = 1000
ENTRIES_MAX = 10_000
"""More false signatures than this want another publisher."""

IGNORED = "ignored.json"
_MAX_BYTES = 16 * 1024 * 1024

_CLAMAV_SUFFIX = ".UNOFFICIAL"
_CLAMAV_YARA = "YARA."


class Ignored(Value):
    """What is ignored, and why."""

    entries: dict[str, Text] = Field(default_factory=dict)
    """Entry to reason."""


class IgnoreList:
    """The list of one store. Reading takes no lock; changing is the store writer's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / IGNORED

    def read(self) -> dict[str, str]:
        """Entry to reason. Raises StoreError if it is damaged or cannot be read."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
            return read_value(Ignored, raw, _MAX_BYTES, IGNORED).entries
        except FileNotFoundError:
            return {}
        except (OSError, FormatError) as e:
            raise StoreError(
                f"{self.path} cannot be read ({e}): remove it, then ignore again what is to be"
            ) from e

    def stamp(self) -> tuple[int, int, int]:
        """Changes with the list; zeros if there is none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return (0, 0, 0)
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def entry_of(text: str) -> str:
    """What somebody typed, or copied from a report of ClamAV's, as an entry. Raises UsageError."""
    entry = text.strip().removesuffix(_CLAMAV_SUFFIX).removeprefix(_CLAMAV_YARA)
    if not entry or not entry.isprintable() or len(entry.encode()) > ENTRY_MAX_BYTES:
        raise UsageError(
            f"{text[:80]!r} is no name of a risk or signature: take it from a report, e.g. "
            "Mailward.Html.Smuggling or yara:community/office.yar:Broad_Rule"
        )
    return entry


def is_ignored(name: str, signatures: Collection[str], entries: Iterable[str]) -> bool:
    """Whether nothing is left of a risk: its name is ignored, or everything that found it.

    ``signatures``: as ``ENGINE:SIGNATURE``; ``entries``: a set, best.
    """
    if name in entries:
        return True
    return bool(signatures) and all(signature in entries for signature in signatures)
