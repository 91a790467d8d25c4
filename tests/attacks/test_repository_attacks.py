"""Somebody sits between publisher and agent, or in the publisher's web server. Whatever they do,
the active set stays, scanning goes on with it, and the error says what is wrong."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailward.definitions.model import Channel, Level, Version
from mailward.definitions.store import Store
from mailward.errors import FetchError, FormatError, MailwardError, TrustError
from mailward.publish import quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.scan.engines import all_engines
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update.agent import Agent, Result

_FLIPS = 200
_STORE = StoreSettings(min_free_bytes=1)
_REFUSALS = (TrustError, FetchError, FormatError)


@dataclass(frozen=True)
class World:
    """A publisher that published ``old`` and then ``new``, and a computer that uses ``old``."""

    folder: Path
    root: Path
    old: Version
    new: Version

    @property
    def public(self) -> Path:
        return self.folder / "publisher/public"

    @property
    def before(self) -> Path:
        """The repository as it was when ``old`` was current."""
        return self.folder / "before"

    @property
    def state(self) -> Path:
        return self.folder / "state"


def _publish(publisher: Publisher, rules: Path, name: str, text: str) -> Version:
    (rules / f"{name}.yar").write_text(
        f'rule {name} {{ strings: $a = "{text}" condition: $a }}', encoding="utf-8"
    )
    version = build(publisher.home, parse_specs([f"yara={rules}"])).version
    quality.check(publisher.home, version, Level.BASIC)
    publisher.publish(version)
    return version


def _agent(repository: Path, root: Path, state: Path) -> Agent:
    settings = UpdateSettings(repository=repository.as_uri(), root=root)
    return Agent(settings, Store(state / "definitions", _STORE), state / "update")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    rules = folder / "rules"
    rules.mkdir()
    publisher = Publisher(folder / "publisher")
    root = publisher.init()
    old = _publish(publisher, rules, "First", "the first threat")
    shutil.copytree(publisher.home.folder / "public", folder / "before")
    outcome = _agent(folder / "before", root, folder / "state").refresh(Channel.RAPID)
    assert outcome.result is Result.ACTIVATED
    new = _publish(publisher, rules, "Second", "the second threat")
    return World(folder, root, old, new)


@pytest.fixture
def attack(world: World, tmp_path: Path) -> "Attack":
    return Attack(world, tmp_path)


class Attack:
    """A copy of everything that may be spoiled, and what must then hold."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.repository = folder / "repository"
        self.state = folder / "state"
        shutil.copytree(world.public, self.repository)
        shutil.copytree(world.state, self.state)

    @property
    def store(self) -> Store:
        return Store(self.state / "definitions", _STORE)

    def refresh(self, repository: Path | None = None) -> Result:
        agent = _agent(repository or self.repository, self.world.root, self.state)
        return agent.refresh(Channel.RAPID).result

    def is_refused(self, words: str, repository: Path | None = None) -> None:
        with pytest.raises(_REFUSALS, match=words):
            self.refresh(repository)
        self.nothing_changed()
        assert self.store.history(1)[-1].event == "failed"

    def nothing_changed(self) -> None:
        active = self.store.active()
        assert active is not None
        assert active.version == self.world.old
        assert not self.store.verify(self.world.old)
        loaded = LoadedSet.load(str(active.version), active.prepared, all_engines())
        verdict = Scanner(loaded, ScanSettings(workers=1)).scan(
            b"here is the first threat", role=Role.FILE, name="x"
        )
        loaded.close()
        assert [risk.set for risk in verdict.risks] == [str(self.world.old)]

    def took_what_was_signed(self) -> None:
        active = self.store.active()
        assert active is not None
        assert active.version == self.world.new
        assert not self.store.verify(active.version)

    def forget(self) -> None:
        """As if the agent had never asked: what it verified so far would spare it the next file."""
        shutil.rmtree(self.state)
        shutil.copytree(self.world.state, self.state)

    def file(self, pattern: str) -> Path:
        """The newest published file of that pattern which the old repository did not have."""
        fresh = [
            path
            for path in self.repository.glob(pattern)
            if not (self.world.before / path.relative_to(self.repository)).exists()
        ]
        assert fresh, pattern
        return max(fresh, key=lambda path: (len(path.name), path.name))


KINDS = {
    "timestamp": "metadata/timestamp.json",
    "snapshot": "metadata/*.snapshot.json",
    "role": "metadata/*.rapid.json",
    "channel": "targets/rapid/*.current.json",
    "manifest": "targets/rapid/*.[0-9]*.json",
}


def _of_kind(attack: Attack, kind: str) -> Path:
    if kind == "timestamp":
        return attack.repository / KINDS[kind]
    return attack.file(KINDS[kind])


def _shards(attack: Attack) -> list[Path]:
    """What an agent fetches to get from the old set to the new: patches and objects."""
    return [
        path
        for folder in ("objects", "patches")
        for path in (attack.repository / folder).rglob("*.zst")
        if not (attack.world.before / path.relative_to(attack.repository)).exists()
    ]


def test_the_repository_is_good_when_nobody_touches_it(attack: Attack) -> None:
    assert attack.refresh() is Result.ACTIVATED
    active = attack.store.active()
    assert active is not None
    assert active.version == attack.world.new


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _flips(
    attack: Attack, pick: Callable[[random.Random], list[Path]]
) -> Iterator[MailwardError | None]:
    chance = random.Random(20261123)
    for _ in range(_FLIPS):
        paths = pick(chance)
        originals = {path: path.read_bytes() for path in paths}
        for path in paths:
            _flip(path, chance)
        try:
            attack.refresh()
            attack.took_what_was_signed()
            yield None
        except _REFUSALS as e:
            yield e
        for path, original in originals.items():
            path.write_bytes(original)
        attack.forget()


@pytest.mark.parametrize("target", ["metadata", "manifest", "shard"])
def test_bits_flipped_at_200_random_places_each(attack: Attack, target: str) -> None:
    def pick(chance: random.Random) -> list[Path]:
        if target == "shard":
            return _shards(attack)
        if target == "manifest":
            return [_of_kind(attack, chance.choice(["manifest", "channel"]))]
        return [_of_kind(attack, chance.choice(["timestamp", "snapshot", "role"]))]

    outcomes = list(_flips(attack, pick))
    refused = [e for e in outcomes if e is not None]
    assert len(outcomes) == _FLIPS
    # JSON and zstd have spellings that mean the same (the case of a hex digit in a signature, a
    # larger window): then what came out was what had been signed.
    assert len(refused) >= _FLIPS * (1 if target == "manifest" else 0.9)
    assert all(len(str(e)) > 20 for e in refused)
    attack.nothing_changed()
    assert attack.refresh() is Result.ACTIVATED, "the real repository is still welcome"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_truncated_files(attack: Attack, kind: str, keep: float) -> None:
    path = _of_kind(attack, kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else int(keep)])
    attack.is_refused(".")


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_page_instead_of_the_file(attack: Attack, kind: str) -> None:
    _of_kind(attack, kind).write_bytes(b"<!DOCTYPE html><html><body>Please log in</body></html>")
    attack.is_refused(".")


@pytest.mark.parametrize("kind", KINDS)
def test_oversized_files(attack: Attack, kind: str) -> None:
    path = _of_kind(attack, kind)
    path.write_bytes(path.read_bytes() + b" " * (6 << 20))
    attack.is_refused(".")


def test_truncated_shards(attack: Attack) -> None:
    for path in _shards(attack):
        path.write_bytes(path.read_bytes()[:-1])
    attack.is_refused("bytes missing|zstd")


def test_oversized_shards(attack: Attack) -> None:
    for path in _shards(attack):
        path.write_bytes(path.read_bytes() + b"\0" * 100)
    attack.is_refused("longer than")


def test_swapped_shards(attack: Attack) -> None:
    """Each file is a valid one, only not the one that the manifest names."""
    paths = _shards(attack)
    other = next(p for p in (attack.repository / "objects").rglob("*.zst") if p not in paths)
    for path in paths:
        shutil.copy(other, path)
    attack.is_refused(".")


def test_missing_shards(attack: Attack) -> None:
    for path in _shards(attack):
        path.unlink()
    attack.is_refused("no such file")


def test_a_wrong_patch_costs_only_itself(attack: Attack) -> None:
    patches = list((attack.repository / "patches").rglob("*.zst"))
    for path in patches:
        path.write_bytes(b"not a patch")
    assert attack.refresh() is Result.ACTIVATED


def test_an_older_repository_replayed(attack: Attack) -> None:
    assert attack.refresh() is Result.ACTIVATED
    with pytest.raises(TrustError, match="version"):
        attack.refresh(attack.world.before)
    active = attack.store.active()
    assert active is not None
    assert active.version == attack.world.new


def test_an_expired_timestamp(attack: Attack) -> None:
    """The publisher has gone quiet, or somebody holds back what is newer."""
    folder = attack.folder / "quiet"
    shutil.copytree(attack.world.public.parent, folder)
    long_ago = datetime.now(UTC) - timedelta(days=3)
    Publisher(folder, now=lambda: long_ago).refresh_timestamp()
    attack.is_refused("expired", folder / "public")


def test_a_repository_signed_with_other_keys(attack: Attack) -> None:
    other = Publisher(attack.folder / "other")
    other.init()
    attack.is_refused("not to be trusted", attack.folder / "other/public")


def test_metadata_of_two_publishers_mixed(attack: Attack) -> None:
    other = Publisher(attack.folder / "other")
    other.init()
    theirs = attack.folder / "other/public/metadata"
    for path in theirs.glob("*.rapid.json"):
        shutil.copy(path, _of_kind(attack, "role"))
    attack.is_refused(".")
