from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.definitions.model import ENGINE_LEVEL, Channel, Current, Manifest, Rollout, Version
from mailward.errors import FormatError, TrustError
from mailward.update.trust import (
    Position,
    Step,
    advise,
    reached,
    read_current,
    read_manifest,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD, ACTIVE, NEW = Version(20261122, 1), Version(20261123, 1), Version(20261123, 2)


def _current(version: Version | None, **more: Any) -> Current:
    return Current(channel=Channel.RAPID, version=version, published_at=NOW, engine_level=1, **more)


def _position(active: Version | None, *refused: Version) -> Position:
    return Position(active, frozenset(refused), "0123456789abcdef")


@pytest.mark.parametrize(
    ("offered", "position", "step"),
    [
        (NEW, _position(None), Step.TAKE),
        (NEW, _position(ACTIVE), Step.TAKE),
        (ACTIVE, _position(ACTIVE), Step.NOTHING),
        (OLD, _position(ACTIVE), Step.NOTHING),
        (NEW, _position(ACTIVE, NEW), Step.NOTHING),
        (None, _position(ACTIVE), Step.NOTHING),
        (OLD, _position(ACTIVE, ACTIVE), Step.TAKE),
    ],
    ids=[
        "the first set is taken",
        "a newer set is taken",
        "the set in use is not taken again",
        "an older set is not taken",
        "a refused set is not taken again",
        "an empty channel offers nothing",
        "an older set replaces one that must not be used",
    ],
)
def test_versions_go_forward_only(offered: Version | None, position: Position, step: Step) -> None:
    assert advise(_current(offered), position, NOW).step is step


def test_a_version_of_thirty_digits_is_compared_as_a_number() -> None:
    huge = Version(10**29, 10**29)
    assert advise(_current(huge), _position(ACTIVE), NOW).step is Step.TAKE
    assert advise(_current(ACTIVE), _position(huge), NOW).step is Step.NOTHING


def test_a_channel_that_offers_what_it_withdraws_is_not_believed() -> None:
    with pytest.raises(TrustError, match="withdraws"):
        advise(_current(NEW, withdrawn={str(NEW): "bad"}), _position(ACTIVE), NOW)


def test_a_roll_out_reaches_every_computer_within_its_hours_and_each_at_its_own_time() -> None:
    rollout = Rollout(start=NOW, hours=10)
    reached_at = {
        f"computer {n}": next(
            minute
            for minute in range(601)
            if reached(rollout, f"computer {n}", NEW, NOW + timedelta(minutes=minute))
        )
        for n in range(200)
    }
    assert all(not reached(rollout, c, NEW, NOW - timedelta(seconds=1)) for c in reached_at)
    assert 60 <= sum(minute < 300 for minute in reached_at.values()) <= 140
    waiting = next(c for c, minute in reached_at.items() if minute > 300)
    position = Position(ACTIVE, frozenset(), waiting)
    assert advise(_current(NEW, rollout=rollout), position, NOW).step is Step.WAIT


def _manifest(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "version": NEW,
        "channel": Channel.RAPID,
        "built_at": NOW,
        "engine_level": 1,
        "shards": (),
    }
    return Manifest(**(fields | changes)).to_json()


def test_a_manifest_must_be_that_of_the_channel_and_version_asked_for() -> None:
    assert read_manifest(_manifest(), Channel.RAPID, NEW, 1000).version == NEW
    for raw in (_manifest(version=OLD), _manifest(channel=Channel.CERTIFIED)):
        with pytest.raises(TrustError, match="the manifest is that of"):
            read_manifest(raw, Channel.RAPID, NEW, 1000)


def test_a_set_larger_than_allowed_is_refused() -> None:
    shard = {
        "name": "a",
        "kind": "hashes",
        "sha256": "0" * 64,
        "size_bytes": 1001,
        "object_bytes": 1,
        "signatures": 1,
    }
    raw = _manifest().replace(
        b'"shards": []', b'"shards": [%s]' % str(shard).replace("'", '"').encode()
    )
    with pytest.raises(TrustError, match="max_set_bytes"):
        read_manifest(raw, Channel.RAPID, NEW, 1000)


def test_what_needs_a_newer_release_is_refused_in_words() -> None:
    raw = _manifest(engine_level=ENGINE_LEVEL + 1)
    with pytest.raises(FormatError, match="update Mailward"):
        read_manifest(raw, Channel.RAPID, NEW, 1000)


def test_the_current_of_another_channel_is_refused() -> None:
    raw = _current(NEW).to_json()
    assert read_current(raw, Channel.RAPID).version == NEW
    with pytest.raises(TrustError, match="is that of rapid"):
        read_current(raw, Channel.CERTIFIED)


@given(st.binary(max_size=300))
def test_hostile_bytes_are_refused_and_never_crash(raw: bytes) -> None:
    with pytest.raises(TrustError):
        read_current(raw, Channel.RAPID)
    with pytest.raises(TrustError):
        read_manifest(raw, Channel.RAPID, NEW, 1000)


@given(st.data())
def test_damaged_documents_are_refused_or_still_well_formed(data: st.DataObject) -> None:
    raw = bytearray(_manifest())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        manifest = read_manifest(bytes(raw), Channel.RAPID, NEW, 1000)
    except (TrustError, FormatError):
        return
    assert (manifest.version, manifest.channel) == (NEW, Channel.RAPID)
