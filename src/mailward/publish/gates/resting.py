"""Sets at rest in a store of a check's own, as on a protected computer."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from mailward.definitions.model import Trial
from mailward.definitions.store import Store
from mailward.publish.gates.base import Subject
from mailward.settings.update import StoreSettings

_CHUNK_BYTES = 1024 * 1024
_SETTINGS = StoreSettings(min_free_bytes=1)
"""How much room there is on protected computers is their matter."""


def store_in(folder: Path) -> Store:
    """A store for a check."""
    return Store(folder, _SETTINGS)


def put(store: Store, subject: Subject) -> None:
    """Download and proof have happened already: only what they leave behind."""
    manifest = subject.manifest
    with store.writer("check") as writer:
        for shard, source in zip(manifest.shards, subject.sources, strict=True):
            writer.add_object(shard.sha256, shard.size_bytes, _chunks(source.path))
        writer.stage(manifest)
        with writer.workspace() as workspace:
            shutil.copytree(subject.prepared, workspace, dirs_exist_ok=True)
            trial = Trial(version=manifest.version, passed=True, at=datetime.now(UTC))
            writer.record_trial(manifest.version, trial, workspace)


def activate(store: Store, subject: Subject) -> None:
    """Whoever scans with the store is to use this set from now on."""
    with store.writer("check") as writer:
        writer.activate(subject.manifest.version, "check")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
