"""The workers of this computer: the same pool that scans mail, on all cores (S13)."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailward.definitions.store import Store
from mailward.publish.gates import resting
from mailward.publish.gates.base import Subject
from mailward.publish.gates.files import File, Found, judged, unreadable
from mailward.scan.part import Role
from mailward.scan.pool import ScanPool
from mailward.settings.scan import ScanSettings

_EACH = 2
"""Files under way for each worker, so that none waits for the disk."""


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """One worker a core."""

    subject: Subject

    def run(self, files: Iterator[File], told: Callable[[Sequence[Found]], None]) -> None:
        """Scan everything; ``told`` hears of each file as it is done, in any order.

        Raises ScannerDownError when no worker can scan, OSError.
        """
        store = resting.store_in(self.subject.work / "local-store")
        if store.pointer() is None:
            resting.put(store, self.subject)
            resting.activate(store, self.subject)
        asyncio.run(_scan_all(store, files, told))


async def _scan_all(
    store: Store, files: Iterator[File], told: Callable[[Sequence[Found]], None]
) -> None:
    settings = ScanSettings()
    async with ScanPool(store, settings) as pool:

        async def take_turns() -> None:
            for file in files:  # shared: each file goes to one of us
                told([await _scan(pool, file)])

        await asyncio.gather(*(take_turns() for _ in range(settings.workers * _EACH)))


async def _scan(pool: ScanPool, file: File) -> Found:
    path = Path(file.path)
    try:
        data = await asyncio.to_thread(path.read_bytes)
    except OSError as e:
        return unreadable(file, e)
    return judged(file, await pool.scan(data, role=Role.FILE, name=path.name))
