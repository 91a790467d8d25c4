import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Channel, Manifest, Version
from mailward.definitions.store import Pointer, State, Store
from mailward.definitions.testing import PREPARED_FILE, put, sample_set, sample_trial, stage
from mailward.errors import StoreError, TemporaryError, TrustError, UsageError
from mailward.settings.update import StoreSettings

Activated = Callable[..., Store]


def v(number: int) -> Version:
    return Version(20260101, number)


V1, V2, V3, V4, V5, V6 = (str(v(number)) for number in range(1, 7))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_opening_a_store_creates_nothing_and_reading_an_empty_one_works(store: Store) -> None:
    assert store.active() is None
    assert store.pointer() is None
    assert store.pointer_stamp() == (0, 0, 0)
    assert store.sets() == []
    assert store.history() == []
    assert store.verify() == []
    assert not store.has_object("a" * 64)
    assert not store.folder.exists()


def test_a_set_is_downloaded_then_proved_then_active_each_with_its_time(store: Store) -> None:
    sample = sample_set(V1)
    with store.writer("test") as writer:
        downloaded = stage(writer, sample)
        assert (downloaded.state, downloaded.proved_at) == (State.DOWNLOADED, None)
        assert downloaded.downloaded_at is not None
        put(writer, sample)
        proved = store.get(sample.version)
        assert (proved.state, proved.activated_at) == (State.PROVED, None)
        assert proved.proved_at is not None
        writer.activate(sample.version, "test")
    active = store.active()
    assert active is not None
    assert active.state is State.ACTIVE
    assert active.activated_at == (store.pointer() or Pointer()).activated_at
    assert active.manifest == sample.manifest
    assert (active.prepared / PREPARED_FILE).read_bytes() == b"prepared"
    for shard, path in active.shard_paths():
        assert path.read_bytes() == sample.contents[shard.sha256]
    assert [e.event for e in store.history()] == ["staged", "proved", "activated"]


def test_a_set_that_was_not_proved_is_not_activated_even_for_an_administrator(
    store: Store,
) -> None:
    with store.writer("test") as writer:
        stage(writer, sample_set(V1))
        with pytest.raises(StoreError, match="not been proved"):
            writer.activate(v(1), "test", by_administrator=True)
        writer.record_trial(v(1), sample_trial(v(1), "crashed"), None)
        with pytest.raises(StoreError, match="failed its trial: crashed"):
            writer.activate(v(1), "test", by_administrator=True)
    assert store.active() is None
    assert store.get(v(1)).state is State.REFUSED


def test_a_set_with_a_missing_shard_is_not_activated(store: Store) -> None:
    with store.writer("test") as writer:
        stored = put(writer, sample_set(V1))
        stored.shard_paths()[1][1].unlink()
        with pytest.raises(StoreError, match="own/hashes is missing"):
            writer.activate(v(1), "test")


def test_an_older_set_never_replaces_a_newer_one_by_itself(activated: Activated) -> None:
    store = activated(V2)
    with store.writer("test") as writer:
        put(writer, sample_set(V1))
        with pytest.raises(StoreError, match="older than the active"):
            writer.activate(v(1), "test")
        assert (store.pointer() or Pointer()).version == v(2)
        pointer = writer.activate(v(1), "test", by_administrator=True)
    assert pointer.version == v(1)
    assert pointer.refusal(v(2)) is not None


def test_a_refused_set_is_taken_only_by_an_administrator_and_then_no_longer_refused(
    activated: Activated,
) -> None:
    store = activated(V1)
    with store.writer("test") as writer:
        put(writer, sample_set(V2))
        writer.refuse(v(2), "failed its watch")
        assert store.get(v(2)).state is State.REFUSED
        with pytest.raises(StoreError, match="refused on this computer: failed its watch"):
            writer.activate(v(2), "test")
        pointer = writer.activate(v(2), "test", by_administrator=True)
    assert pointer.version == v(2)
    assert pointer.refused == {}
    assert pointer.before == (v(1),)


def test_refusals_are_known_before_anything_was_activated(store: Store) -> None:
    with store.writer("test") as writer:
        writer.refuse(v(1), "failed its trial")
        assert store.pointer() == Pointer(refused={V1: "failed its trial"})
        assert store.active() is None
        put(writer, sample_set(V1))
        with pytest.raises(StoreError, match="refused"):
            writer.activate(v(1), "test")


def test_a_rollback_goes_to_the_set_before_and_refuses_the_one_left(activated: Activated) -> None:
    store = activated(V1, V2, V3)
    with store.writer("test") as writer:
        pointer = writer.rollback(None, "false alarms")
        assert (pointer.version, pointer.before) == (v(2), (v(1),))
        assert pointer.refused == {V3: "false alarms"}
        with pytest.raises(StoreError, match="refused"):
            writer.activate(v(3), "update")
        writer.activate(put(writer, sample_set(V4)).version, "update")
    pointer = store.pointer() or Pointer()
    assert (pointer.version, pointer.before) == (v(4), (v(2), v(1)))
    assert pointer.refused == {V3: "false alarms"}


def test_a_rollback_over_several_sets_refuses_everything_newer_that_was_active(
    activated: Activated,
) -> None:
    store = activated(V1, V2, V3)
    with store.writer("test") as writer:
        pointer = writer.rollback(v(1), "false alarms")
    assert (pointer.version, pointer.before) == (v(1), ())
    assert set(pointer.refused) == {V2, V3}


def test_a_rollback_skips_sets_that_are_not_whole(activated: Activated) -> None:
    store = activated(V1, V2, V3)
    (store.get(v(2)).folder / "manifest.json").write_text("{")
    with store.writer("test") as writer:
        pointer = writer.rollback(None, "false alarms")
    assert pointer.version == v(1)


def test_a_rollback_with_nothing_to_go_back_to_changes_nothing(activated: Activated) -> None:
    store = activated(V1)
    stamp = store.pointer_stamp()
    with store.writer("test") as writer:
        with pytest.raises(StoreError, match="nothing to go back to"):
            writer.rollback(None, "false alarms")
        with pytest.raises(UsageError, match="not older"):
            writer.rollback(v(1), "false alarms")
    assert store.pointer_stamp() == stamp


def test_a_withdrawn_set_with_nothing_before_it_stays_active(activated: Activated) -> None:
    store = activated(V1)
    with store.writer("test") as writer:
        writer.refuse(v(1), "withdrawn")
    active = store.active()
    assert active is not None
    assert (active.version, active.state, active.refused) == (v(1), State.ACTIVE, "withdrawn")


def test_the_pointers_stamp_changes_with_every_activation(store: Store) -> None:
    stamps = {store.pointer_stamp()}
    with store.writer("test") as writer:
        for number in range(1, 6):
            writer.activate(put(writer, sample_set(str(v(number)))).version, "test")
            stamps.add(store.pointer_stamp())
    assert len(stamps) == 6


def test_certified_evidence_replaces_rapid_and_is_never_replaced_by_it(
    activated: Activated,
) -> None:
    store = activated(V1)
    rapid, certified = sample_set(V1), sample_set(V1, channel=Channel.CERTIFIED)
    with store.writer("test") as writer:
        stored = writer.stage(certified.manifest)
        assert stored.manifest == certified.manifest
        assert stored.trial is not None, "the content is the same, so its trial still holds"
        assert writer.stage(rapid.manifest).manifest == certified.manifest
        before = store.pointer()
        after = writer.activate(v(1), "certified meanwhile")
    assert before is not None
    assert (before.channel, after.channel) == (Channel.RAPID, Channel.CERTIFIED)
    assert after.activated_at == before.activated_at


def test_other_content_under_a_known_version_is_refused(activated: Activated) -> None:
    store = activated(V1)
    other = sample_set(V1, {"own/hashes": b"something else"})
    with store.writer("test") as writer, pytest.raises(TrustError, match="other content"):
        stage(writer, other)
    assert store.get(v(1)).manifest.shards != other.manifest.shards


def test_staging_needs_every_object(store: Store) -> None:
    sample = sample_set(V1)
    first = sample.manifest.shards[0]
    with store.writer("test") as writer:
        writer.add_object(first.sha256, first.size_bytes, [sample.contents[first.sha256]])
        with pytest.raises(StoreError, match="own/hashes is missing"):
            writer.stage(sample.manifest)
    assert store.sets() == []


def test_a_shard_that_rotted_at_rest_does_not_get_into_the_next_set(activated: Activated) -> None:
    store = activated(V1)
    shared = store.get(v(1)).shard_paths()[0][1]
    shared.write_bytes(b"x" + shared.read_bytes()[1:])
    following = sample_set(V2)
    own = following.manifest.shards[1]
    with store.writer("test") as writer:
        writer.add_object(own.sha256, own.size_bytes, [following.contents[own.sha256]])
        with pytest.raises(TemporaryError, match="the next update fetches it again"):
            writer.stage(following.manifest)
        assert not store.has_object(following.manifest.shards[0].sha256)
        put(writer, following)
    assert store.verify() == []


def test_adding_an_object_again_mends_it(activated: Activated) -> None:
    store = activated(V1)
    shard, path = store.get(v(1)).shard_paths()[0]
    content = path.read_bytes()
    path.write_bytes(b"")
    assert [problem.version for problem in store.verify()] == [v(1)]
    with store.writer("test") as writer:
        writer.add_object(shard.sha256, shard.size_bytes, [content])
    assert store.verify() == []


def test_a_damaged_set_is_staged_anew_and_must_be_proved_again(activated: Activated) -> None:
    store = activated(V1, V2)
    (store.get(v(2)).folder / "manifest.json").write_bytes(b"\0" * 100)
    with store.writer("test") as writer:
        stored = stage(writer, sample_set(V2))
        assert stored.trial is None
        put(writer, sample_set(V2))
    active = store.active()
    assert active is not None
    assert active.version == v(2)


def test_a_second_trial_replaces_the_prepared_files_of_the_same_fingerprint(
    activated: Activated,
) -> None:
    store = activated(V1)
    with store.writer("test") as writer, writer.workspace() as workspace:
        for name, content in (("fake-1", b"better"), ("fake-2", b"newer engine")):
            (workspace / name).mkdir()
            (workspace / name / "patterns").write_bytes(content)
        writer.record_trial(v(1), sample_trial(v(1)), workspace)
    prepared = store.get(v(1)).prepared
    assert (prepared / "fake-1/patterns").read_bytes() == b"better"
    assert (prepared / "fake-2/patterns").read_bytes() == b"newer engine"
    assert files(store.folder / "work") == set()


def test_a_trial_of_another_version_is_not_recorded(activated: Activated) -> None:
    store = activated(V1)
    with store.writer("test") as writer, pytest.raises(UsageError, match="says nothing about"):
        writer.record_trial(v(1), sample_trial(v(2)), None)


def test_asking_for_a_set_that_is_not_there(activated: Activated) -> None:
    store = activated(V1)
    with pytest.raises(UsageError, match="not in the store"):
        store.get(v(9))
    with pytest.raises(UsageError, match="not in the store"):
        store.verify(v(9))
    with store.writer("test") as writer, pytest.raises(UsageError, match="not in the store"):
        writer.activate(v(9), "test")


def test_versions_are_ordered_as_integers_of_any_size(store: Store) -> None:
    huge = "9" * 30 + "." + "1" * 30
    ordered = ["20260101.999", "20260101.1000", "20260229.001", "123456789.000", huge]
    with store.writer("test") as writer:
        for version in ordered:
            writer.activate(put(writer, sample_set(version)).version, "test")
    assert [str(stored.version) for stored in store.sets()] == ordered[::-1]
    assert store.active() == store.get(Version.parse(huge))


# Pruning (S6)


def test_the_active_set_and_the_two_before_it_survive_any_pruning(
    store: Store, activated: Activated
) -> None:
    activated(V1, V2, V3, V4, V5)
    strict = Store(store.folder, StoreSettings(keep_sets=1, max_bytes=1, min_free_bytes=1))
    with strict.writer("test") as writer:
        assert set(writer.prune()) == {v(1), v(2)}
        assert writer.prune() == []
    assert store.versions() == [v(5), v(4), v(3)]
    assert store.verify() == []


def test_pruning_keeps_as_many_sets_as_the_settings_say(activated: Activated) -> None:
    store = activated(V1, V2, V3, V4, V5, V6)
    with store.writer("test") as writer:
        assert writer.prune() == [v(1)]
    assert len(store.versions()) == StoreSettings().keep_sets


def test_pruning_by_size_removes_the_oldest_until_it_fits(
    store: Store, activated: Activated
) -> None:
    activated(V1, V2, V3, V4, V5)
    sizes = {path: path.stat().st_size for path in store.folder.rglob("*") if path.is_file()}
    one = sum(size for path, size in sizes.items() if V1 in path.parts)
    at_rest = sum(s for p, s in sizes.items() if {"sets", "objects"} & set(p.parts))
    small = Store(store.folder, StoreSettings(max_bytes=at_rest - one // 2, min_free_bytes=1))
    with small.writer("test") as writer:
        assert writer.prune() == [v(1)]


def test_pruning_takes_refused_sets_first(activated: Activated) -> None:
    store = activated(V1, V2, V3, V4, V5, V6)
    with store.writer("test") as writer:
        writer.rollback(v(5), "false alarms")
        assert writer.prune() == [v(6)]
    assert (store.pointer() or Pointer()).refused == {V6: "false alarms"}, "it stays refused"


def test_pruning_removes_objects_that_no_set_needs_and_keeps_shared_ones(
    store: Store, activated: Activated
) -> None:
    activated(V1, V2, V3, V4)
    own = store.get(v(1)).manifest.shards[1].sha256
    shared = store.get(v(1)).manifest.shards[0].sha256
    orphan = b"of a download that was given up"
    with store.writer("test") as writer:
        kept = writer.add_object(hashlib.sha256(orphan).hexdigest(), len(orphan), [orphan])
        writer.prune()
        assert kept.exists(), "this writer may be about to stage it"
    strict = Store(store.folder, StoreSettings(keep_sets=1, min_free_bytes=1))
    with strict.writer("test") as writer:
        writer.prune()
    assert not kept.exists()
    assert not store.has_object(own)
    assert store.has_object(shared)


def test_pruning_leaves_a_workspace_in_use_alone_and_clears_those_of_gone_writers(
    store: Store,
) -> None:
    (store.folder / "work/.tmp-gone/deep").mkdir(parents=True)
    (store.folder / "work/.tmp-gone/deep/file").touch()
    with store.writer("test") as writer:
        assert files(store.folder / "work") == set()
        with writer.workspace() as workspace:
            (workspace / "file").touch()
            writer.prune()
            assert (workspace / "file").exists()
        assert not workspace.exists()


def test_pruning_removes_damaged_sets_but_never_a_damaged_active_one_or_its_objects(
    store: Store, activated: Activated
) -> None:
    activated(V1, V2, V3, V4, V5)
    for number in (1, 5):
        (store.folder / "sets" / str(v(number)) / "manifest.json").write_text("garbage")
    before = files(store.folder / "objects")
    with store.writer("test") as writer:
        assert writer.prune() == [v(1)]
    assert store.versions() == [v(5), v(4), v(3), v(2)]
    assert files(store.folder / "objects") == before


def test_foreign_files_in_the_store_are_left_alone(store: Store, activated: Activated) -> None:
    activated(V1)
    foreign = [store.folder / name for name in ("sets/notes.txt", "objects/README", "objects/ab/x")]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with store.writer("test") as writer:
        writer.prune()
    assert all(path.exists() for path in foreign)
    assert [stored.version for stored in store.sets()] == [v(1)]


# Damage


def test_verify_names_what_is_broken(activated: Activated) -> None:
    store = activated(V1, V2)
    paths = dict(store.get(v(2)).shard_paths())
    own = next(path for shard, path in paths.items() if shard.name == "own/hashes")
    own.write_bytes(own.read_bytes()[:-1] + b"?")
    (problem,) = store.verify()
    assert problem.version == v(2)
    assert "own/hashes has other content" in problem.detail
    assert store.verify(v(1)) == []
    shared = next(path for shard, path in paths.items() if shard.name == "shared/hashes")
    shared.unlink()
    assert [problem.version for problem in store.verify()] == [v(2), v(2), v(1)]


def test_scanning_goes_on_with_the_set_before_when_the_active_one_is_damaged(
    activated: Activated,
) -> None:
    store = activated(V1, V2, V3)
    for number, damage in ((3, b""), (2, sample_set(V1).manifest.to_json())):
        (store.get(v(number)).folder / "manifest.json").write_bytes(damage)
    active = store.active()
    assert active is not None
    assert (active.version, active.state) == (v(1), State.PROVED)
    assert {problem.version for problem in store.verify()} == {v(2), v(3)}
    (active.folder / "manifest.json").unlink()
    with pytest.raises(StoreError, match="no earlier set is whole"):
        store.active()


def test_a_trial_that_cannot_be_read_proves_nothing(activated: Activated) -> None:
    store = activated(V1, V2)
    (store.get(v(1)).folder / "trial.json").write_text("{")
    (store.get(v(2)).folder / "trial.json").write_bytes(sample_trial(v(1)).to_json())
    assert store.get(v(1)).state is State.DOWNLOADED
    active = store.active()
    assert active is not None
    assert active.trial is None


def test_the_pointer_says_a_set_that_is_gone(activated: Activated) -> None:
    store = activated(V1, V2)
    store.get(v(2)).folder.rename(store.folder / "elsewhere")
    active = store.active()
    assert active is not None
    assert active.version == v(1)
    assert [problem.version for problem in store.verify()] == [v(2)]


def test_an_error_while_reading_is_not_taken_for_damage(
    store: Store, activated: Activated, monkeypatch: pytest.MonkeyPatch
) -> None:
    activated(V1, V2, V3, V4, V5, V6)
    real = Path.open

    def fail(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "manifest.json" and V1 in path.parts:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", fail)
    with store.writer("test") as writer:
        with pytest.raises(StoreError, match="Input/output error"):
            writer.prune()
        with pytest.raises(StoreError, match="Input/output error"):
            stage(writer, sample_set(V1))
    assert (store.folder / "sets" / V1 / "trial.json").is_file()


def test_a_history_that_cannot_be_written_fails_nothing(store: Store, activated: Activated) -> None:
    activated(V1)
    (store.folder / "history.jsonl").unlink()
    (store.folder / "history.jsonl").mkdir()
    with store.writer("test") as writer:
        pointer = writer.activate(put(writer, sample_set(V2)).version, "test")
    assert pointer.version == v(2)


def test_the_manifest_at_rest_is_the_one_that_was_staged(activated: Activated) -> None:
    store = activated(V1)
    stored = store.get(v(1))
    assert Manifest.from_json((stored.folder / "manifest.json").read_bytes()) == stored.manifest
