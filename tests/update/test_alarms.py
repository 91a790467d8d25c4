"""What is wrong, told from what is on the disk: each alarm raised by its cause, over with it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailward.definitions.store import Store
from mailward.definitions.testing import put, sample_set, sample_trial, stage
from mailward.settings.update import (
    CertifiedSettings,
    ChannelSettings,
    StoreSettings,
    UpdateSettings,
)
from mailward.update import alarms
from mailward.update.alarms import Alarm

V1, V2, V3 = "20260101.001", "20260101.002", "20260101.003"
OFF = UpdateSettings(certified=CertifiedSettings(enabled=False))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "definitions", StoreSettings(min_free_bytes=1))


@pytest.fixture
def found(store: Store, tmp_path: Path) -> Callable[..., dict[str, str]]:
    def found(settings: UpdateSettings = OFF, hours: float = 0) -> dict[str, str]:
        later = datetime.now(UTC) + timedelta(hours=hours)
        return alarms.found(settings, store, tmp_path / "update", later)

    return found


Found = Callable[..., dict[str, str]]


def activate(store: Store, version: str) -> None:
    with store.writer("test") as writer:
        writer.activate(put(writer, sample_set(version)).version, "test")


def test_without_a_set_that_is_said_and_with_one_nothing(store: Store, found: Found) -> None:
    assert list(found()) == [Alarm.NO_SET]
    activate(store, V1)
    assert found() == {}


def test_only_enabled_channels_become_stale(store: Store, found: Found) -> None:
    activate(store, V1)
    settings = UpdateSettings(rapid=ChannelSettings(enabled=True))
    with store.writer("test") as writer:
        writer.note("checked", channel="certified", result="up to date")
        writer.note("checked", channel="rapid", result="up to date")
    assert found(settings, 5) == {}
    assert list(found(settings, 7)) == [f"{Alarm.STALE} rapid"]
    assert list(found(settings, 73)) == [f"{Alarm.STALE} certified", f"{Alarm.STALE} rapid"]
    assert found(OFF, 73) == {}


@pytest.mark.parametrize("by", ["watch", "publisher"])
def test_a_set_left_by_itself_is_told_until_a_newer_one_comes(
    store: Store, found: Found, by: str
) -> None:
    activate(store, V1)
    activate(store, V2)
    with store.writer("test") as writer:
        writer.rollback(None, "crashes workers", by=by)
    told = found()
    assert list(told) == [Alarm.ROLLED_BACK]
    assert V2 in told[Alarm.ROLLED_BACK]
    assert "crashes workers" in told[Alarm.ROLLED_BACK]
    activate(store, V3)
    assert found() == {}


def test_what_the_administrator_rolled_back_needs_no_alert(store: Store, found: Found) -> None:
    activate(store, V1)
    activate(store, V2)
    with store.writer("test") as writer:
        writer.rollback(None, "finds invoices")
    assert found() == {}


def test_a_newer_set_that_failed_its_trial_is_told_until_a_better_one_comes(
    store: Store, found: Found
) -> None:
    activate(store, V1)
    with store.writer("test") as writer:
        stored = stage(writer, sample_set(V2))
        writer.record_trial(stored.version, sample_trial(stored.version, "hits mail"), None)
        writer.refuse(stored.version, "failed its trial")
    assert list(found()) == [Alarm.TRIAL_FAILED]
    activate(store, V3)
    assert found() == {}


def test_a_refused_set_with_nothing_to_go_back_to_is_told(store: Store, found: Found) -> None:
    activate(store, V1)
    version = sample_set(V1).version
    with store.writer("test") as writer:
        writer.refuse(version, "withdrawn by the publisher: hits mail")
        writer.note("misbehaves", version=version, reason="crashes")
    assert list(found()) == [Alarm.REFUSED_IN_USE, Alarm.MISBEHAVES]


def test_a_full_disk_is_told_before_an_update_fails_on_it(
    store: Store, found: Found, tmp_path: Path
) -> None:
    activate(store, V1)
    full = Store(store.folder, StoreSettings(min_free_bytes=2**62))
    told = alarms.found(OFF, full, tmp_path, datetime.now(UTC))
    assert list(told) == [Alarm.DISK]
    assert "store.min_free_bytes" in told[Alarm.DISK]


def test_damage_is_told_with_what_to_do(store: Store, found: Found) -> None:
    activate(store, V1)
    activate(store, V2)
    active = store.active()
    assert active is not None
    (active.folder / "manifest.json").write_bytes(b"{")
    assert V1 in found()[Alarm.STORE_DAMAGED]
    assert "--repair" in found()[Alarm.STORE_DAMAGED]
    (store.folder / "active").write_bytes(b"edited")
    (store.folder / "history.jsonl").write_bytes(b"edited")
    assert list(found()) == [Alarm.STORE_DAMAGED]


def test_a_lost_shard_of_the_active_set_is_told(store: Store, found: Found) -> None:
    activate(store, V1)
    active = store.active()
    assert active is not None
    active.shard_paths()[0][1].unlink()
    assert "is missing" in found()[Alarm.STORE_DAMAGED]


def test_only_some_alerts_say_that_the_computer_is_not_protected() -> None:
    assert alarms.leaves_unprotected("stale rapid")
    assert alarms.leaves_unprotected("no definitions")
    assert not alarms.leaves_unprotected("disk")
    assert not alarms.leaves_unprotected("rolled back")
