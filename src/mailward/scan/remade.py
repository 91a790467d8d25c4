"""Prepared files made anew while scanning: the engines are newer, or the files were damaged."""

import asyncio
import tempfile
from pathlib import Path

import structlog

from mailward.definitions.sets import StoredSet
from mailward.errors import FormatError
from mailward.scan.engine import Source
from mailward.scan.worker_parent import WorkerParent
from mailward.scan.worker_process import WorkerLostError, WorkerProcess

log = structlog.get_logger(__name__)


class Remade:
    """Folders of our own with what sets were prepared to; gone with ``cleanup``."""

    def __init__(self, parent: WorkerParent) -> None:
        self._parent = parent
        self._preparing = asyncio.Lock()
        self._folders: dict[Path, tempfile.TemporaryDirectory[str]] = {}

    def of(self, stored: StoredSet) -> Path | None:
        """What was made anew of a set; None if nothing was."""
        folder = self._folders.get(stored.prepared)
        return Path(folder.name) if folder is not None else None

    async def make(self, stored: StoredSet, why: list[str]) -> Path:
        """The same set, prepared again. Raises FormatError, WorkerLostError, OSError.

        Made by a process that ends with it: those that scan may write nothing.
        """
        log.warning(
            "prepared files are damaged, or older than the engines; preparing anew",
            set=str(stored.version),
            what=why,
        )
        async with self._preparing:
            if stored.prepared not in self._folders:  # else another worker did it meanwhile
                damage = await asyncio.to_thread(stored.damage)  # S1
                if damage is not None:
                    raise FormatError(damage)
                folder = tempfile.TemporaryDirectory(prefix="mailward-prepared-")
                try:
                    sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                    await self._prepare(sources, Path(folder.name))
                except BaseException:
                    folder.cleanup()
                    raise
                self._folders[stored.prepared] = folder
        return Path(self._folders[stored.prepared].name)

    def cleanup(self) -> None:
        """Remove all of it."""
        for folder in self._folders.values():
            folder.cleanup()

    async def _prepare(self, sources: list[Source], into: Path) -> None:
        try:
            preparer = await WorkerProcess.start(self._parent)
        except OSError as e:
            raise WorkerLostError(f"could not be started: {e.strerror or e}") from e
        try:
            await preparer.prepare(sources, into)
        finally:
            await preparer.close()
