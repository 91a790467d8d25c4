"""What is signed, by whom, when and as which version: whatever is wrong with it, the old set goes
on scanning and the words say what is wrong."""

import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backports import zstd
from tuf.api.metadata import MetaFile

from mailward.definitions.model import Channel, Current, Manifest, Shard, Version
from mailward.errors import TrustError
from mailward.publish import candidates, history
from mailward.publish.home import write_in_order
from mailward.publish.metadata import ChannelChange, Signed, prepare
from mailward.publish.repository import Publisher
from mailward.publish.rotation import revoke, rotate
from mailward.update.agent import Result
from tests.attacks.faults import Asked, Computer, Hostile, World


def _current(publisher: Publisher) -> dict[str, object]:
    signed = Signed.load(publisher.home)
    raw = signed.read_target(publisher.home, Channel.RAPID, history.current_path(Channel.RAPID))
    found = json.loads(raw)
    assert isinstance(found, dict)
    return found


def _sign(publisher: Publisher, channel: Channel, files: dict[str, bytes]) -> None:
    """Put files into a channel, whatever they say."""
    signed = Signed.load(publisher.home)
    keep = frozenset(signed.channels[channel].signed.targets)
    change = {channel: ChannelChange(files, keep)}
    write_in_order(prepare(publisher.signing(), signed, change))


# Objects and patches


def _fresh(world: World, folder: str) -> list[str]:
    return [path for path in world.fresh() if path.startswith(folder)]


def test_an_object_cut_short(computer: Computer, hostile: Hostile) -> None:
    """As a cache does that was full: the length that it announces is right for what it sends."""

    def spoil(asked: Asked) -> bool:
        if asked.is_("patches"):
            return asked.answer(404)
        return asked.is_("objects") and asked.answer(200, asked.file.read_bytes()[:-1])

    hostile.spoil = spoil
    computer.withstands(r"[0-9]+ of [0-9]+ bytes missing")


def test_an_object_swapped_for_another_good_one(
    computer: Computer, hostile: Hostile, faults_world: World
) -> None:
    swapped = zstd.compress(bytes(_shard(faults_world).size_bytes))

    def spoil(asked: Asked) -> bool:
        if asked.is_("patches"):
            return asked.answer(404)
        return asked.is_("objects") and asked.answer(200, swapped)

    hostile.spoil = spoil
    computer.withstands("has other content: its SHA-256 is")


def test_a_patch_that_gives_other_content_costs_only_itself(
    computer: Computer, hostile: Hostile, faults_world: World
) -> None:
    """It can be applied, and its result has the right size. The object comes instead."""
    (path,) = _fresh(faults_world, "patches")
    old = computer.store.object_path(Path(path).stem).read_bytes()
    size_bytes = computer.store.object_path(Path(path).stem).stat().st_size
    prefix = zstd.ZstdDict(old, is_raw=True).as_prefix
    other = zstd.compress(bytes(size_bytes), zstd_dict=prefix)
    hostile.spoil = lambda asked: asked.is_("patches") and asked.answer(200, other)
    computer.recovers(hostile.address)
    assert [p for p in hostile.asked if p.startswith("/objects/")]


def _shard(world: World) -> Shard:
    """The one that comes whole: its patch would not be smaller."""
    signed = Signed.load(Publisher(world.folder / "publisher").home)
    path = history.manifest_path(Channel.RAPID, world.new)
    home = Publisher(world.folder / "publisher").home
    manifest = Manifest.from_json(signed.read_target(home, Channel.RAPID, path))
    return max(manifest.shards, key=lambda shard: shard.size_bytes)


# Time, order and mixtures


def test_an_expired_repository(computer: Computer, publisher: Publisher) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    Publisher(publisher.home.folder, now=lambda: long_ago).refresh_timestamp()
    computer.withstands("expired .*stopped refreshing it, .*holds back .*clock is wrong")


def test_a_frozen_repository_is_stale_and_not_up_to_date(
    computer: Computer, faults_world: World
) -> None:
    """Every check succeeds, and every one sees the same old timestamp."""
    computer.address = faults_world.before.as_uri()
    assert computer.refresh().result is Result.UP_TO_DATE
    assert computer.status()["alerts"] == []
    seven_hours_ago = time.time() - 7 * 3600
    os.utime(computer.config().trust_dir / "timestamp.json", (seven_hours_ago, seven_hours_ago))
    with computer.scanning() as scans:
        assert computer.refresh().result is Result.UP_TO_DATE
    computer.kept_scanning(scans)
    found = computer.status()
    assert found["stale"]
    (alert,) = found["alerts"]
    assert "the repository is frozen: it has shown no new timestamp since" in alert


def test_a_repository_rolled_back(computer: Computer, faults_world: World) -> None:
    """Somebody has brought the web server back from a copy, or replays what was once signed."""
    computer.refresh(check_only=True)
    computer.address = faults_world.before.as_uri()
    computer.withstands("not to be trusted: .*version")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("metadata/timestamp.json", "timestamp was signed by 0/1 keys"),
        ("metadata/*.snapshot.json", r"Observed hash .* does not match .*\.snapshot\.json"),
        ("metadata/*.rapid.json", r"Observed length .* does not match .*\.rapid\.json"),
        ("targets/rapid/*.current.json", r"Observed .* does not match .*\.current\.json"),
        ("targets/rapid/*.[0-9]*.json", r"Observed length .* does not match .*[0-9]\.json"),
    ],
)
def test_metadata_of_two_states_mixed(
    computer: Computer, publisher: Publisher, faults_world: World, pattern: str, words: str
) -> None:
    """One file is of another state, as a mirror shows in mid-copy or somebody would like it."""
    public, other = publisher.home.public, Publisher(publisher.home.folder.parent / "other")
    other.init()
    fresh = [public / path for path in faults_world.fresh() if (public / path).match(pattern)]
    fresh = fresh or [public / pattern]
    place = other.home.public if pattern.startswith("metadata/") else faults_world.before
    for path in fresh:
        shutil.copy(next(place.glob(pattern)), path)
    computer.withstands(f"signed metadata is not to be trusted: .*{words}")


# Keys


def test_root_rotated_five_times_while_away(computer: Computer, publisher: Publisher) -> None:
    for _ in range(5):
        rotate(publisher, "root")
    for role in ("targets", "snapshot", "timestamp", "rapid"):
        rotate(publisher, role)
    computer.recovers(publisher.home.public.as_uri())


def test_a_root_on_the_way_that_nobody_signed(computer: Computer, publisher: Publisher) -> None:
    rotate(publisher, "root")
    rotate(publisher, "root")
    path = publisher.home.metadata / "2.root.json"
    root = json.loads(path.read_bytes())
    root["signatures"] = root["signatures"][:1]
    root["signatures"][0]["sig"] = "0" * 128
    path.write_text(json.dumps(root))
    computer.withstands("not to be trusted: root was signed by 0/1 keys")


def test_a_revoked_key(computer: Computer, publisher: Publisher) -> None:
    """Whoever stole rapid's key has snapshot's and timestamp's, too."""
    home = publisher.home
    (key,) = Signed.load(home).trusted("rapid").keys
    stolen = publisher.keyring.signers(Signed.load(home).trusted("rapid"))
    revoke(publisher, "rapid", key.keyid)
    signed = Signed.load(home)
    role = signed.channels[Channel.RAPID]
    role.signed.version += 1
    role.sign(stolen[0])
    raw, number = role.to_bytes(), role.signed.version
    (home.metadata / f"{number}.rapid.json").write_bytes(raw)
    signed.snapshot.signed.meta["rapid.json"] = MetaFile.from_data(number, raw, ["sha256"])
    write_in_order(prepare(publisher.signing(), signed, renew={"snapshot"}))
    computer.withstands("not to be trusted: .*rapid was signed by 0/1 keys")


def test_rapids_key_signs_a_certified_manifest(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    computer.channel = Channel.CERTIFIED
    publisher.promote(faults_world.new, forced="by the thief")
    home = publisher.home
    signed = Signed.load(home)
    role = signed.channels[Channel.CERTIFIED]
    (thief,) = publisher.keyring.signers(signed.trusted("rapid"))
    role.signed.version += 1
    role.signatures.clear()
    role.sign(thief)
    raw, number = role.to_bytes(), role.signed.version
    (home.metadata / f"{number}.certified.json").write_bytes(raw)
    signed.snapshot.signed.meta["certified.json"] = MetaFile.from_data(number, raw, ["sha256"])
    write_in_order(prepare(publisher.signing(), signed, renew={"snapshot"}))
    computer.withstands("not to be trusted: .*certified was signed by 0/1 keys")


def test_rapid_names_a_file_of_certified(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    """Rapid's role may name it; agents do not look for certified's files there."""
    computer.channel = Channel.CERTIFIED
    raw = Current.from_json(json.dumps(_current(publisher) | {"channel": "certified"}).encode())
    path = history.current_path(Channel.CERTIFIED)
    _sign(publisher, Channel.RAPID, {path: raw.to_json()})
    with computer.scanning() as scans:
        outcome = computer.refresh()
    computer.kept_scanning(scans)
    assert outcome.offered is None, "certified offers nothing, whatever rapid says"
    assert "offers no set" in computer.status()["channels"]["certified"]["last_result"]


# Versions


def _publish_as(publisher: Publisher, text: str, *, like: Version) -> Version:
    version = Version.parse(text)
    manifest = candidates.load(publisher.home, like)
    with publisher.home.lock():
        candidates.save(publisher.home, manifest.model_copy(update={"version": version}))
    publisher.publish(version, forced="an odd version")
    return version


def test_odd_but_true_versions_are_taken_in_their_order(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    """29 February, the last day that a calendar knows, and 30 digits."""
    for text in ("20280229.001", "99991231.999", f"{'9' * 30}.{'1' * 30}"):
        version = _publish_as(publisher, text, like=faults_world.new)
        with computer.scanning() as scans:
            assert computer.refresh().active == version
        assert scans.failed == []
        assert computer.status()["active"]["version"] == text
    with pytest.raises(Exception, match="has already offered"):
        _publish_as(publisher, "20991231.001", like=faults_world.new)


@pytest.mark.parametrize(
    "version",
    [
        "9" * 65 + ".001",
        "20261124.1",
        "020261124.001",
        "2026-11-24",
        "20261124.001\n",
        "20261124.-01",
        "٢٠٢٦١١٢٤.001",
        "1e30.001",
        20261124.002,
        10**40,
        {"version": "20261124.002"},
    ],
)
def test_what_is_no_version(computer: Computer, publisher: Publisher, version: object) -> None:
    raw = json.dumps(_current(publisher) | {"version": version}).encode()
    _sign(publisher, Channel.RAPID, {history.current_path(Channel.RAPID): raw})
    computer.withstands("channel rapid: .*version")


def test_a_manifest_of_another_version(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    """Signed by the right key, and still not what it is called."""
    path = history.manifest_path(Channel.RAPID, faults_world.new)
    signed = Signed.load(publisher.home)
    manifest = Manifest.from_json(signed.read_target(publisher.home, Channel.RAPID, path))
    other = manifest.model_copy(update={"version": Version.parse("20991231.001")})
    _sign(publisher, Channel.RAPID, {path: other.to_json()})
    computer.withstands("the manifest is that of rapid 20991231.001")


def test_a_set_that_is_offered_and_withdrawn_at_once(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    raw = json.dumps(_current(publisher) | {"withdrawn": {str(faults_world.new): "no"}}).encode()
    _sign(publisher, Channel.RAPID, {history.current_path(Channel.RAPID): raw})
    computer.withstands("withdraws it at once", error=TrustError)
