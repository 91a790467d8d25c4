"""Stores to try things on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.definitions.testing import put, sample_set
from mailward.settings.update import StoreSettings


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store that nobody has written to."""
    return Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))


@pytest.fixture
def activated(store: Store) -> Callable[..., Store]:
    """Puts sets into the store and activates them one after the other."""

    def activate(*versions: str, channel: Channel = Channel.RAPID) -> Store:
        with store.writer("test") as writer:
            for version in versions:
                writer.activate(put(writer, sample_set(version, channel=channel)).version, "test")
        return store

    return activate
