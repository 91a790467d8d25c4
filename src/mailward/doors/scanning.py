"""What doors need of the scanner."""

from collections.abc import Mapping
from typing import Protocol

from mailward.scan.part import Role
from mailward.scan.verdict import Verdict


class Scans(Protocol):
    """What a door needs of the scanner."""

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """Scan one message. Raises ScannerDownError when no worker can."""
        ...

    def sets(self) -> Mapping[str, int]:
        """The version of each set that scans now, and how many workers scan with it."""
        ...
