"""What no kept set needs goes, once nobody can be fetching it any more."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Channel, Version
from mailward.errors import PublishError
from mailward.publish import candidates, pruning
from mailward.publish.history import KEPT_SETS
from mailward.publish.home import Home
from mailward.publish.pruning import GRACE, prune
from mailward.publish.repository import Publisher
from mailward.publish.rotation import rotate

Built = Callable[[], Version]
Clients = Callable[[], Any]


def _files(home: Home) -> set[Path]:
    return {path for path in home.public.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few sets show it as well as many."""
    monkeypatch.setitem(KEPT_SETS, Channel.RAPID, 5)
    monkeypatch.setattr(pruning, "KEPT_CANDIDATES", 6)


@pytest.fixture
def many(publisher: Publisher, built: Built) -> list[Version]:
    """More sets than rapid keeps; two of them were certified."""
    versions = []
    for number in range(12):
        versions.append(built())
        publisher.publish(versions[-1])
        if number in (2, 4):
            publisher.promote(versions[-1])
    return versions


def test_kept_sets_stay_whole_and_the_rest_goes_after_the_grace_period(
    publisher: Publisher, home: Home, many: list[Version], clock: Any, client: Clients
) -> None:
    before = _files(home)
    first = prune(home, clock())
    assert (first.files, first.candidates) == (0, 4)  # 12, 6 kept, 2 certified
    assert first.waiting > 20
    assert _files(home) == before
    clock.advance(hours=23, minutes=59)
    publisher.refresh_timestamp()
    assert prune(home, clock()).files == 0
    clock.advance(minutes=1)
    done = prune(home, clock())
    assert done.files == first.waiting
    assert done.bytes > 0
    assert before - _files(home) != set()
    seen = client()
    for version in many[-KEPT_SETS[Channel.RAPID] :]:
        manifest = candidates.load(home, version)
        assert seen.names(f"rapid/{version}.json")
        assert all(home.object_path(shard.sha256).exists() for shard in manifest.shards)
        assert all(home.patch_path(p.old, p.new).exists() for p in manifest.patches)
    for channel in Channel:
        manifest = seen.manifest(channel)
        assert all(home.object_path(shard.sha256).exists() for shard in manifest.shards)
        assert all(home.patch_path(p.old, p.new).exists() for p in manifest.patches)
    assert candidates.versions(home) == [many[2], many[4], *many[-6:]]
    gone = {path.name for path in before - _files(home)}
    assert any(name.endswith(".snapshot.json") for name in gone)
    assert not any(name.endswith(".root.json") for name in gone)


def test_an_agent_that_began_before_the_pruning_finishes(
    publisher: Publisher, home: Home, built: Built, clock: Any, client: Clients
) -> None:
    publisher.publish(built())
    agent = client()  # knows the snapshot of now
    for _ in range(KEPT_SETS[Channel.RAPID] + 1):
        publisher.publish(built())
        prune(home, clock())
    clock.advance(hours=20)
    prune(home, clock())
    manifest = agent.manifest(Channel.RAPID)
    assert all(home.object_path(shard.sha256).exists() for shard in manifest.shards)


def test_what_is_needed_again_is_not_removed(
    publisher: Publisher, home: Home, built: Built, clock: Any, feed: Any
) -> None:
    unneeded = home.object_path("ab" * 32)
    unneeded.parent.mkdir(parents=True, exist_ok=True)
    unneeded.write_bytes(b"of a build that was killed")
    version = built()
    shard = candidates.load(home, version).shards[0]
    hidden = home.candidates / "hidden"
    (home.candidates / str(version)).rename(hidden)
    assert prune(home, clock()).waiting >= 2
    hidden.rename(home.candidates / str(version))
    clock.advance(hours=25)
    prune(home, clock())
    assert home.object_path(shard.sha256).exists()
    assert not unneeded.exists()


def test_all_roots_stay_for_agents_that_were_away(
    publisher: Publisher, home: Home, clock: Any
) -> None:
    for _ in range(3):
        rotate(publisher, "root")
    for _ in range(2):
        prune(home, clock())
        clock.advance(days=2)
    assert len(list(home.metadata.glob("*.root.json"))) == 4


def test_a_clock_set_back_makes_it_wait_anew_and_one_set_ahead_loses_nothing_needed(
    publisher: Publisher, home: Home, many: list[Version], clock: Any, client: Clients
) -> None:
    assert prune(home, clock() + timedelta(days=365)).files == 0
    assert prune(home, clock()).files == 0
    assert prune(home, clock() + GRACE / 2).files == 0
    prune(home, clock() + timedelta(days=365))
    manifest = client().manifest(Channel.RAPID)
    assert all(home.object_path(shard.sha256).exists() for shard in manifest.shards)


def test_damaged_notes_only_make_it_wait_anew(home: Home, built: Built, clock: Any) -> None:
    (home.public / "objects").mkdir(exist_ok=True)
    (home.public / "objects/stray").write_bytes(b"x")
    prune(home, clock())
    (home.folder / "pruning.json").write_bytes(b"\0")
    clock.advance(days=2)
    assert prune(home, clock()).files == 0
    clock.advance(days=2)
    assert prune(home, clock()).files == 1


def test_a_crash_at_any_step_of_pruning_can_be_repeated(
    publisher: Publisher, home: Home, many: list[Version], clock: Any, client: Clients,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    prune(home, clock())
    clock.advance(hours=25)
    publisher.refresh_timestamp()
    real, left = Path.unlink, 7

    def unlink(self: Path, missing_ok: bool = False) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("the power went")
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(PublishError, match="the power went"):
        prune(home, clock())
    assert client().manifest(Channel.RAPID).version == many[-1]
    clock.advance(hours=25)
    publisher.refresh_timestamp()
    prune(home, clock())
    clock.advance(hours=25)
    publisher.refresh_timestamp()
    prune(home, clock())
    assert client().manifest(Channel.RAPID).version == many[-1]
    assert prune(home, clock()).files == 0
