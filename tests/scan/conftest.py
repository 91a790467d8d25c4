"""Definition stores with sets of the fake engine, and a pool of real worker processes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mailward.definitions.model import Version
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.scan.engine import Source
from mailward.scan.pool import ScanPool
from mailward.scan.prepared import prepare
from mailward.settings.scan import ScanSettings
from mailward.testing import FakeEngine, fake_engines

FAKE_ENGINES = "mailward.testing:fake_engines"

Activate = Callable[..., Version]
MakePool = Callable[..., ScanPool]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "definitions")


@pytest.fixture
def activate(store: Store) -> Activate:
    """Make a set of the given byte strings the active one."""

    def activate(
        version: str, *patterns: bytes, engines: Sequence[FakeEngine] = fake_engines()
    ) -> Version:
        with store.writer("test") as writer:
            stored = stage(writer, sample_set(version, {"fake": b"\n".join(patterns)}))
            with writer.workspace() as workspace:
                sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                prepare(sources, engines, workspace)
                writer.record_trial(stored.version, sample_trial(stored.version), workspace)
            writer.activate(stored.version, "test")
        return stored.version

    return activate


@pytest.fixture
def make_pool(store: Store) -> MakePool:
    def make_pool(workers: int = 2, **settings: float) -> ScanPool:
        limits = ScanSettings.model_validate({"workers": workers, **settings})
        return ScanPool(store, limits, FAKE_ENGINES)

    return make_pool
