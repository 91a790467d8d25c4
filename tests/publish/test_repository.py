"""Publishing, promoting, withdrawing: what python-tuf's own client then sees."""

import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import ExpiredMetadataError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Targets

from mailward.definitions.model import Channel, Level, Version
from mailward.errors import BusyError, PublishError, UsageError
from mailward.publish import metadata
from mailward.publish.build import build
from mailward.publish.history import KEPT_SETS
from mailward.publish.home import Home, write_in_order
from mailward.publish.repository import Publisher
from mailward.publish.status import status

RAPID, CERTIFIED = Channel.RAPID, Channel.CERTIFIED
Built = Callable[[], Version]
Clients = Callable[[], Any]


def key_file(home: Home, role: str) -> Path:
    (path,) = home.keys.glob(f"{role}-*.pem")
    return path


def test_a_new_repository_offers_nothing_in_either_channel(client: Clients) -> None:
    assert client().current(RAPID).version is None
    assert client().current(CERTIFIED).version is None


def test_a_second_init_changes_nothing(publisher: Publisher, home: Home) -> None:
    before = {path: path.read_bytes() for path in home.folder.rglob("*.*") if path.is_file()}
    with pytest.raises(UsageError, match="already holds a repository"):
        publisher.init()
    assert all(path.read_bytes() == content for path, content in before.items())


def test_what_is_published_is_what_the_client_reads(
    publisher: Publisher, built: Built, client: Clients
) -> None:
    version = built()
    publisher.publish(version)
    seen = client()
    assert seen.current(RAPID).version == version
    manifest = seen.manifest(RAPID)
    assert manifest.channel is RAPID
    assert manifest.report.passed
    assert manifest.report.level is Level.BASIC
    assert seen.current(CERTIFIED).version is None


def test_promoting_offers_the_same_content_with_more_evidence(
    publisher: Publisher, built: Built, client: Clients, home: Home
) -> None:
    version = built()
    publisher.publish(version)
    objects = sorted((home.public / "objects").rglob("*.zst"))
    publisher.promote(version)
    seen = client()
    rapid, certified = seen.manifest(RAPID), seen.manifest(CERTIFIED)
    assert certified.shards == rapid.shards
    assert certified.report.level is Level.STRINGENT
    assert sorted((home.public / "objects").rglob("*.zst")) == objects


def test_a_client_that_knows_the_repository_follows_it_from_set_to_set(
    publisher: Publisher, built: Built, home: Home, tmp_path: Path, client: Clients
) -> None:
    kind = type(client())
    for _ in range(3):
        version = built()
        publisher.publish(version)
        assert kind(home, tmp_path / "one memory").current(RAPID).version == version


def test_metadata_numbers_go_up_by_one(publisher: Publisher, built: Built, home: Home) -> None:
    publisher.publish(built())
    publisher.promote(built())
    numbers = {role.role: role.number for role in status(home).roles}
    assert numbers == {
        "root": 1, "targets": 1, "snapshot": 3, "timestamp": 3, "certified": 2, "rapid": 2
    }  # fmt: skip


def test_without_a_report_nothing_is_published(
    publisher: Publisher, home: Home, feed: Any, client: Clients
) -> None:
    version = build(home, [feed]).version
    with pytest.raises(PublishError, match="no basic report"):
        publisher.publish(version)
    with pytest.raises(PublishError, match="no stringent report"):
        publisher.promote(version)
    assert client().current(RAPID).version is None


def test_a_failed_gate_is_named_when_publishing_is_refused(
    publisher: Publisher, home: Home, feed: Any, mark: Callable[..., None]
) -> None:
    version = build(home, [feed]).version
    mark(version, passed=False)
    with pytest.raises(PublishError, match=r"failed the basic tests: known-good \(Bad\.Rule\)"):
        publisher.publish(version)


@pytest.mark.parametrize("checked", [True, False])
def test_forcing_is_recorded_where_agents_see_it(
    publisher: Publisher,
    home: Home,
    feed: Any,
    mark: Callable[..., None],
    client: Clients,
    checked: bool,
) -> None:
    version = build(home, [feed]).version
    if checked:
        mark(version, passed=False)
    publisher.publish(version, forced="outbreak of the 23rd")
    report = client().manifest(RAPID).report
    assert report.forced == "outbreak of the 23rd"
    assert not report.passed


def test_forcing_needs_a_reason(publisher: Publisher, home: Home, feed: Any) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        publisher.publish(build(home, [feed]).version, forced=" ")


def test_publishing_again_changes_nothing(publisher: Publisher, built: Built, home: Home) -> None:
    version = built()
    first = publisher.publish(version)
    before = (home.metadata / "timestamp.json").read_bytes()
    assert publisher.publish(version) == first
    assert (home.metadata / "timestamp.json").read_bytes() == before


def test_a_channel_does_not_go_back_to_an_older_set(publisher: Publisher, built: Built) -> None:
    older, newer = built(), built()
    publisher.publish(newer)
    with pytest.raises(PublishError, match=f"already offered {newer}"):
        publisher.publish(older)


def test_a_withdrawn_set_gives_way_to_the_one_before_it(
    publisher: Publisher, built: Built, client: Clients
) -> None:
    first, second = built(), built()
    publisher.publish(first)
    publisher.publish(second)
    publisher.promote(second)
    publisher.withdraw(second, "hits invoices")
    seen = client()
    assert seen.current(RAPID).version == first
    assert seen.current(RAPID).withdrawn == {str(second): "hits invoices"}
    assert seen.manifest(RAPID).version == first
    assert not seen.names(f"rapid/{second}.json")
    assert seen.current(CERTIFIED).version is None
    assert seen.current(CERTIFIED).withdrawn == {str(second): "hits invoices"}


def test_withdrawing_a_set_that_is_not_offered_any_more_leaves_the_offer_alone(
    publisher: Publisher, built: Built, client: Clients
) -> None:
    first, second = built(), built()
    publisher.publish(first)
    publisher.publish(second)
    publisher.withdraw(first, "misses things", RAPID)
    assert client().current(RAPID).version == second


def test_a_withdrawn_set_cannot_come_back_by_the_other_channel(
    publisher: Publisher, built: Built
) -> None:
    version = built()
    publisher.publish(version)
    publisher.withdraw(version, "hits invoices")
    for offer in (publisher.publish, publisher.promote):
        with pytest.raises(PublishError, match="was withdrawn from rapid: hits invoices"):
            offer(version)
    publisher.publish(built())


def test_what_was_never_offered_cannot_be_withdrawn(publisher: Publisher, built: Built) -> None:
    with pytest.raises(UsageError, match="not offered in"):
        publisher.withdraw(built(), "no idea")


def test_root_and_targets_keys_may_be_elsewhere(
    publisher: Publisher, built: Built, client: Clients, home: Home
) -> None:
    for role in ("root", "targets", "certified"):
        key_file(home, role).unlink()
    version = built()
    publisher.publish(version)
    publisher.refresh_timestamp()
    assert client().current(RAPID).version == version


def test_a_missing_key_is_said_before_anything_is_written(
    publisher: Publisher, built: Built, home: Home
) -> None:
    version = built()
    key_file(home, "timestamp").unlink()
    before = sorted(home.public.rglob("*"))
    with pytest.raises(PublishError, match="private key of timestamp is not here"):
        publisher.publish(version)
    assert sorted(home.public.rglob("*")) == before


def test_the_rapid_key_cannot_sign_a_certified_set(
    publisher: Publisher, built: Built, client: Clients, home: Home
) -> None:
    version = built()
    publisher.publish(version)
    publisher.promote(version)
    # The holder of the rapid, snapshot and timestamp keys signs what certified would offer.
    path = max(home.metadata.glob("*.certified.json"), key=lambda p: int(p.name.split(".")[0]))
    role = Metadata[Targets].from_file(str(path))
    (rapid,) = publisher.keyring.signers(metadata.Signed.load(home).trusted("rapid"))
    role.sign(rapid)
    _replace_in_snapshot(publisher, path, role.to_bytes())
    seen = client()
    assert seen.current(RAPID).version == version
    with pytest.raises(UnsignedMetadataError):
        seen.current(CERTIFIED)
    with pytest.raises(PublishError, match="damaged"):
        publisher.promote(built())


def _replace_in_snapshot(publisher: Publisher, path: Path, raw: bytes) -> None:
    """Sign a snapshot and a timestamp over a changed role, as somebody with their keys could."""
    signed = metadata.Signed.load(publisher.home)
    path.write_bytes(raw)
    number = int(path.name.split(".")[0])
    signed.snapshot.signed.meta[path.name.split(".", 1)[1]] = MetaFile.from_data(
        number, raw, ["sha256"]
    )
    write_in_order(metadata.prepare(publisher.signing(), signed, renew={"snapshot"}))


def test_a_client_refuses_an_expired_timestamp_until_it_is_refreshed(
    publisher: Publisher, built: Built, client: Clients, clock: Any
) -> None:
    clock.advance(days=-2)
    publisher.publish(built())
    with pytest.raises(ExpiredMetadataError):
        client()
    clock.advance(days=2)
    assert publisher.refresh_timestamp() > clock()
    client()


def test_refreshing_signs_channels_again_before_they_expire(
    publisher: Publisher, built: Built, clock: Any, home: Home, client: Clients
) -> None:
    version = built()
    publisher.publish(version)
    numbers = {role.role: role.number for role in status(home).roles}
    publisher.refresh_timestamp()
    soon = {role.role: role.number for role in status(home).roles}
    assert soon == numbers | {"timestamp": numbers["timestamp"] + 1}
    clock.advance(days=16)
    publisher.refresh_timestamp()
    assert not any(role.expires < clock() for role in status(home).roles)
    late = {role.role: role.number for role in status(home).roles}
    assert late["rapid"] == soon["rapid"] + 1
    assert late["certified"] == soon["certified"] + 1
    assert late["snapshot"] == soon["snapshot"] + 1
    assert client().current(RAPID).version == version


def test_a_channel_goes_on_naming_only_its_last_sets(
    publisher: Publisher, built: Built, home: Home
) -> None:
    versions = [built() for _ in range(KEPT_SETS[RAPID] + 3)]
    for version in versions:
        publisher.publish(version)
    assert status(home).channels[RAPID].versions == tuple(versions[-KEPT_SETS[RAPID] :])


def test_tampering_with_what_is_published_is_noticed_before_it_is_signed_again(
    publisher: Publisher, built: Built, home: Home
) -> None:
    version = built()
    publisher.publish(version)
    path = home.metadata / "2.rapid.json"
    path.write_bytes(path.read_bytes().replace(b"rapid/", b"Rapid/"))
    with pytest.raises(PublishError, match="damaged"):
        publisher.publish(built())


@pytest.mark.parametrize("after", [False, True], ids=["before the rename", "after the rename"])
def test_a_crash_at_any_write_leaves_a_whole_repository(
    publisher: Publisher,
    built: Built,
    home: Home,
    client: Clients,
    tmp_path: Path,
    power: Any,
    after: bool,
) -> None:
    old, new = built(), built()
    publisher.publish(old)
    shutil.copytree(home.folder, tmp_path / "saved")
    outcomes: list[Version] = []
    while True:
        shutil.rmtree(home.folder)
        shutil.copytree(tmp_path / "saved", home.folder)
        power.cut_at(len(outcomes) + 1, after)
        try:
            publisher.publish(new)
        except PublishError:
            power.cut_at(0)
        else:
            break
        seen = client()
        outcomes.append(seen.current(RAPID).version)
        assert seen.manifest(RAPID).version == outcomes[-1]
        assert publisher.publish(new).version == new
        assert client().manifest(RAPID).version == new
    assert len(outcomes) == 6  # patch, manifest, offer, rapid, snapshot, timestamp
    assert outcomes == [old] * 5 + [new if after else old]


def test_a_crash_while_the_repository_is_made_can_be_repeated(
    tmp_path: Path, clock: Any, power: Any
) -> None:
    made = Publisher(tmp_path / "half", now=clock)
    for step in range(1, 40):
        power.cut_at(step)
        try:
            made.init()
        except PublishError:
            continue
        break
    assert step > 5
    assert status(made.home).channels[RAPID].offer.version is None


def test_two_publishers_do_not_write_at_once(home: Home) -> None:
    with home.lock(), pytest.raises(BusyError, match="another publisher"), home.lock(wait_s=0):
        pass


def test_publishers_wait_for_each_other(
    publisher: Publisher, built: Built, home: Home, clock: Any
) -> None:
    versions = [built(), built()]
    publisher.publish(versions[0])

    def promote_all() -> None:
        for version in versions:
            Publisher(home.folder, now=clock).promote(version)

    other = threading.Thread(target=promote_all)
    other.start()
    for _ in range(5):
        publisher.refresh_timestamp()
    publisher.publish(versions[1])
    other.join(timeout=60)
    found = status(home)
    assert found.channels[RAPID].offer.version == versions[1]
    assert found.channels[CERTIFIED].offer.version == versions[1]
    # init, two for rapid, two for certified, five refreshes: none was lost.
    assert {role.role: role.number for role in found.roles}["timestamp"] == 10


def test_a_folder_that_is_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="repo init"):
        Publisher(tmp_path).refresh_timestamp()


def test_a_published_object_that_is_missing_stops_publishing(
    publisher: Publisher, built: Built, home: Home
) -> None:
    version = built()
    for path in (home.public / "objects").rglob("*.zst"):
        path.unlink()
    with pytest.raises(PublishError, match="missing or damaged"):
        publisher.publish(version)


def test_random_bits_in_metadata_are_never_signed_over(
    publisher: Publisher, built: Built, home: Home
) -> None:
    publisher.publish(built())
    next_one = built()
    for name in ("timestamp.json", "2.snapshot.json", "2.rapid.json", "1.targets.json"):
        path = home.metadata / name
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 20)):
            flipped = bytes([good[at] ^ 1])
            path.write_bytes(good[:at] + flipped + good[at + 1 :])
            with pytest.raises((PublishError, RepositoryError)) as caught:
                publisher.publish(next_one)
            assert isinstance(caught.value, PublishError), re.sub(r"\s+", " ", str(caught.value))
        path.write_bytes(good)
    publisher.publish(next_one)


# --- roll-out -------------------------------------------------------------------------------------


def test_a_roll_out_is_offered_changed_and_ended(
    publisher: Publisher, built: Built, client: Clients
) -> None:
    version = built()
    publisher.publish(version, rollout_hours=12)
    first = client().current(RAPID)
    assert (first.rollout.start, first.rollout.hours) == (first.published_at, 12)
    assert publisher.publish(version) == first  # repeated: as it is
    publisher.publish(version, rollout_hours=4)
    second = client().current(RAPID)
    assert (second.rollout.start, second.rollout.hours) == (first.published_at, 4)
    publisher.publish(version, rollout_hours=0)
    assert client().current(RAPID).rollout is None
    publisher.promote(version, rollout_hours=24)
    assert client().current(CERTIFIED).rollout.hours == 24


def test_withdrawing_ends_the_roll_out(publisher: Publisher, built: Built, client: Clients) -> None:
    first, second = built(), built()
    publisher.publish(first)
    publisher.publish(second, rollout_hours=12)
    publisher.withdraw(second, "hits invoices")
    assert client().current(RAPID).version == first
    assert client().current(RAPID).rollout is None


@pytest.mark.parametrize("hours", [-1, 720.5, float("nan"), float("inf")])
def test_a_roll_out_that_agents_would_refuse_is_refused(
    publisher: Publisher, built: Built, hours: float
) -> None:
    with pytest.raises(UsageError, match="a roll-out over"):
        publisher.publish(built(), rollout_hours=hours)
