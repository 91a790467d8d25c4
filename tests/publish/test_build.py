"""Feeds to candidates: versions, objects, patches."""

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from mailward.definitions.model import Channel, Patch, ShardKind, Version
from mailward.errors import PublishError, UsageError
from mailward.publish import candidates, objects
from mailward.publish.build import build, next_version
from mailward.publish.feeds import Draft, Probe, Reading, parse_spec
from mailward.publish.home import Home
from mailward.publish.repository import Publisher

Built = Callable[[], Version]


class DraftFeed:
    """A feed of given shards."""

    name = "drafts"

    def __init__(self, *drafts: Draft, probes: tuple[Probe, ...] = ()) -> None:
        self._reading = Reading(drafts, probes)

    def read(self) -> Reading:
        return self._reading


def _at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 11, day, hour, tzinfo=UTC)


def test_versions_count_up_within_a_day_and_start_anew_on_the_next() -> None:
    first = next_version([], _at(23))
    assert first == Version(20261123, 1)
    assert next_version([first], _at(23)) == Version(20261123, 2)
    assert next_version([first], _at(24)) == Version(20261124, 1)


def test_versions_go_up_when_the_clock_goes_back() -> None:
    assert next_version([Version(20991231, 999)], _at(23)) == Version(20991231, 1000)


def test_the_day_is_that_of_utc() -> None:
    late_in_new_york = datetime.fromisoformat("2026-11-22T23:30:00-05:00")
    assert next_version([], late_in_new_york) == Version(20261123, 1)


def test_a_set_built_after_the_clock_went_back_is_newer(home: Home, feed: Any) -> None:
    first = build(home, [feed], _at(23)).version
    feed.lines.append("f" * 64 + ":1:New")
    assert build(home, [feed], _at(20)).version > first


def test_versions_of_lost_candidates_are_not_used_again(
    publisher: Publisher, home: Home, feed: Any, built: Built
) -> None:
    version = built()
    publisher.publish(version)
    shutil.rmtree(home.candidates)
    feed.lines.append("f" * 64 + ":1:New")
    assert build(home, [feed]).version > version


def test_nothing_changed_is_no_new_version(home: Home, feed: Any) -> None:
    first = build(home, [feed])
    second = build(home, [feed])
    assert first.new
    assert not second.new
    assert second.version == first.version
    assert candidates.versions(home) == [first.version]


def test_a_line_that_comes_back_after_a_change_is_a_new_version(home: Home, feed: Any) -> None:
    first = build(home, [feed])
    line = feed.lines.pop()
    second = build(home, [feed])
    feed.lines.append(line)
    third = build(home, [feed])
    assert first.version < second.version < third.version
    assert third.manifest.shards == first.manifest.shards


def test_the_same_input_gives_the_same_hashes(tmp_path: Path, feed: Any) -> None:
    made = []
    for name in ("one", "two"):
        publisher = Publisher(tmp_path / name)
        publisher.init()
        publisher.publish(build(publisher.home, [feed]).version, forced="test")
        changed = replace(feed, lines=[*feed.lines, "e" * 64 + ":7:Changed"])
        made.append(build(publisher.home, [changed]).manifest)
    assert made[0].shards == made[1].shards
    assert made[0].patches == made[1].patches
    assert made[0].patches


def test_objects_hold_the_content_that_their_names_say(home: Home, feed: Any) -> None:
    for shard in build(home, [feed]).manifest.shards:
        path = home.object_path(shard.sha256)
        assert path.stat().st_size == shard.object_bytes
        assert len(zstd.decompress(path.read_bytes())) == shard.size_bytes
        objects.get(home, shard)


def test_a_damaged_object_is_noticed(home: Home, feed: Any) -> None:
    shard = build(home, [feed]).manifest.shards[0]
    home.object_path(shard.sha256).write_bytes(zstd.compress(b"something else"))
    with pytest.raises(PublishError, match="damaged"):
        objects.get(home, shard)
    home.object_path(shard.sha256).write_bytes(b"no frame")
    with pytest.raises(PublishError, match="cannot be read"):
        objects.get(home, shard)


def _large_feed(feed: Any) -> Any:
    return replace(feed, lines=[f"{n * 2654435761 % 2**128:032x}:*:Test" for n in range(50_000)])


def _apply(home: Home, patch: Patch, old: bytes) -> bytes:
    options = {int(zstd.DecompressionParameter.window_log_max): 31}
    frame = home.patch_path(patch.old, patch.new).read_bytes()
    return zstd.decompress(frame, zstd.ZstdDict(old, is_raw=True).as_prefix, options)


def test_a_patch_turns_the_old_content_into_the_new_and_is_small(
    publisher: Publisher, home: Home, feed: Any
) -> None:
    large = _large_feed(feed)
    first = build(home, [large]).manifest
    publisher.publish(first.version, forced="test")
    large.lines.append("8" * 32 + ":42:One.More")
    second = build(home, [large]).manifest
    new = next(shard for shard in second.shards if shard.name == "hashes/lines.txt")
    old = next(shard for shard in first.shards if shard.name == new.name)
    (patch,) = second.patches
    assert (patch.old, patch.new) == (old.sha256, new.sha256)
    assert _apply(home, patch, objects.get(home, old)) == objects.get(home, new)
    assert patch.size_bytes == home.patch_path(patch.old, patch.new).stat().st_size
    assert patch.size_bytes < new.object_bytes / 500


def test_a_patch_as_large_as_the_object_is_not_kept(publisher: Publisher, home: Home) -> None:
    noise = random.Random(1)
    for _ in range(2):
        draft = Draft("clamav/noise.ndb", ShardKind.CLAMAV, noise.randbytes(5000), 1)
        built = build(home, [DraftFeed(draft)])
        publisher.publish(built.version, forced="test")
    assert built.manifest.patches == ()
    assert not list((home.public / "patches").rglob("*.zst"))


def test_a_list_that_was_empty_gets_no_patch(publisher: Publisher, home: Home) -> None:
    for content in (b"", b"a:1:2:3\n" * 1000):
        built = build(home, [DraftFeed(Draft("clamav/a.ndb", ShardKind.CLAMAV, content, 1))])
        publisher.publish(built.version, forced="test")
    assert built.manifest.patches == ()


def test_patches_start_from_every_set_that_a_channel_still_names(
    publisher: Publisher, home: Home, feed: Any, clock: Any
) -> None:
    large = _large_feed(feed)
    published = []
    for n in range(4):
        large.lines.append(f"{n:064x}:*:More")
        published.append(build(home, [large], clock()).manifest)
        publisher.publish(published[-1].version, forced="test")
    large.lines.append("f" * 64 + ":*:Last")
    manifest = build(home, [large], clock()).manifest
    olds = {
        shard.sha256 for m in published for shard in m.shards if shard.name.endswith("lines.txt")
    }
    assert {patch.old for patch in manifest.patches} == olds


def test_a_set_published_after_others_gets_the_patches_from_them_too(
    publisher: Publisher, home: Home, feed: Any
) -> None:
    large = _large_feed(feed)
    first = build(home, [large]).manifest
    large.lines.append("f" * 64 + ":*:Later")
    second = build(home, [large]).manifest
    assert second.patches == ()  # nothing was published when it was built
    publisher.publish(first.version, forced="test")
    publisher.publish(second.version, forced="test")
    publisher.promote(second.version, forced="test")
    path = next((home.targets / "certified").glob(f"*.{second.version}.json"))
    assert b'"patches": [\n  {' in path.read_bytes()


def test_every_kind_that_an_engine_reads_is_proved_by_a_probe(home: Home) -> None:
    drafts = (
        Draft("hashes/a.txt", ShardKind.HASHES, b"0" * 32 + b":*:A\n", 1),
        Draft("yara/a.jsonl", ShardKind.YARA, b"", 0),
        Draft("clamav/a.ndb", ShardKind.CLAMAV, b"A:0:*:00\n", 1),
    )
    own = Probe("own.txt", "A", b"content")
    manifest = build(home, [DraftFeed(*drafts, probes=(own,))]).manifest
    (probes,) = [shard for shard in manifest.shards if shard.kind is ShardKind.PROBES]
    content = objects.get(home, probes)
    for expected in (b"Mailward.Probe.Hashes", b"Mailward.Probe.Yara", b'"expect": "A"'):
        assert expected in content
    assert probes.signatures == 3
    assert manifest.signatures == 4  # two of them canaries


def test_feeds_that_hold_nothing_make_no_set(home: Home) -> None:
    with pytest.raises(PublishError, match="nothing at all"):
        build(home, [DraftFeed()])


def test_two_feeds_of_one_name_are_refused(home: Home, feed: Any) -> None:
    with pytest.raises(UsageError, match="two feeds give the shard hashes/lines"):
        build(home, [feed, feed])


def test_without_a_repository_nothing_is_built(tmp_path: Path, feed: Any) -> None:
    with pytest.raises(UsageError, match="repo init"):
        build(Home(tmp_path), [feed])
    assert not list(tmp_path.iterdir())


def test_a_crash_at_any_write_of_a_build_leaves_whole_candidates_and_can_be_repeated(
    publisher: Publisher, home: Home, feed: Any, power: Any
) -> None:
    publisher.publish(build(home, [feed]).version, forced="test")
    feed.lines.append("f" * 64 + ":*:New")
    crashes = 0
    for step in range(1, 20):
        power.cut_at(step)
        try:
            done = build(home, [feed])
        except PublishError:
            crashes += 1
            assert [candidates.load(home, v).version for v in candidates.versions(home)]
            continue
        break
    power.cut_at(0)
    assert crashes >= 3
    assert done.new
    assert len(candidates.versions(home)) == 2
    publisher.publish(done.version, forced="test")


def test_what_a_killed_publisher_left_is_removed(home: Home, feed: Any) -> None:
    left = [home.metadata / ".tmp-1", home.public / "objects" / ".tmp-2", home.keys / ".tmp-3"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (home.candidates / ".tmp-4").mkdir(parents=True)
    (home.candidates / ".tmp-4/manifest.json").write_bytes(b"{")
    (home.candidates / ".tmp-4/.tmp-5").write_bytes(b"{")
    build(home, [feed])
    assert not list(home.folder.rglob(".tmp-*"))


def test_feeds_on_the_command_line_are_named_after_their_place_or_by_hand(tmp_path: Path) -> None:
    assert parse_spec("starter").name == "starter"
    assert parse_spec(f"hashes={tmp_path}/Some list.txt").name == "Some_list"
    assert parse_spec(f"yara:mine={tmp_path}").name == "mine"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("hashes", "write starter, or KIND=PLACE"),
        ("suricata=/tmp", "one of the kinds clamav, hashes, yara"),
        ("yara:../up=/tmp", "write starter"),
        ("yara=", "write starter"),
        ("hashes=ftp://lists.example.org/all.txt", "expected a path, or an https://"),
    ],
)
def test_feeds_that_cannot_be_read_are_refused_in_words(spec: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_spec(spec)


def test_channels_of_candidates_are_written_when_they_are_published(
    publisher: Publisher, home: Home, built: Built
) -> None:
    version = built()
    publisher.promote(version)
    assert candidates.load(home, version).channel is Channel.RAPID
    assert candidates.load(home, version).report is None
