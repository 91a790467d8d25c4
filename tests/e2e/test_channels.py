"""Publisher and agent together: roll-outs, withdrawals, changes of keys, seen from a computer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import MetaFile

from mailward.definitions.model import Channel, Level, Rollout, Version
from mailward.definitions.store import Store
from mailward.errors import TrustError
from mailward.publish import quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.home import write_in_order
from mailward.publish.metadata import Signed, prepare
from mailward.publish.repository import Publisher
from mailward.publish.rotation import revoke, rotate
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update import trust
from mailward.update.agent import Agent, Result

RAPID = Channel.RAPID


class World:
    """A publisher with one feed of hashes, and computers that update from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        self.root = self.publisher.init()
        self.lines: list[str] = []

    def new_set(self) -> Version:
        """Built and checked, not published."""
        self.lines.append(f"{len(self.lines):064x}")
        (self.folder / "list.txt").write_text("\n".join(self.lines))
        feeds = parse_specs([f"hashes={self.folder / 'list.txt'}"])
        version = build(self.publisher.home, feeds).version
        assert quality.check(self.publisher.home, version, Level.BASIC).passed
        return version

    def agent(self, name: str) -> Agent:
        state = self.folder / name
        settings = UpdateSettings(repository=self.publisher.home.public.as_uri(), root=self.root)
        store = Store(state / "definitions", StoreSettings(min_free_bytes=1))
        return Agent(settings, store, state / "update")

    def installation(self, name: str) -> str:
        return (self.folder / name / "update/installation").read_text()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_withdrawn_set_is_left_for_the_one_before_it_and_never_taken_again(
    world: World,
) -> None:
    first = world.new_set()
    world.publisher.publish(first)
    agent = world.agent("one")
    assert agent.refresh(RAPID).active == first
    second = world.new_set()
    world.publisher.publish(second)
    assert agent.refresh(RAPID).active == second
    world.publisher.withdraw(second, "hits invoices")
    outcome = agent.refresh(RAPID)
    assert (outcome.result, outcome.active) == (Result.FELL_BACK, first)
    # A computer that comes new takes what is offered now.
    assert world.agent("new").refresh(RAPID).active == first
    third = world.new_set()
    world.publisher.publish(third)
    assert agent.refresh(RAPID).active == third


def test_computers_take_part_in_a_roll_out_one_after_the_other_and_withdrawing_stops_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.new_set()
    world.publisher.publish(first)
    names = [f"computer-{number}" for number in range(4)]
    for name in names:
        assert world.agent(name).refresh(RAPID).active == first
    second = world.new_set()
    world.publisher.publish(second, rollout_hours=100)
    start = datetime.now(UTC)
    turn = {name: _turn(world, name, second, start) for name in names}
    order = sorted(names, key=turn.__getitem__)
    later = turn[order[1]] + timedelta(minutes=5)

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Later":
            return cls.fromtimestamp(later.timestamp(), UTC)

    Publisher(world.publisher.home.folder, now=lambda: later).refresh_timestamp()
    monkeypatch.setattr("mailward.update.agent.datetime", Later)
    results = [world.agent(name).refresh(RAPID).result for name in order]
    assert results == [Result.ACTIVATED] * 2 + [Result.WAITING] * 2
    Publisher(world.publisher.home.folder, now=lambda: later).withdraw(second, "hits invoices")
    results = [world.agent(name).refresh(RAPID).result for name in order]
    assert results == [Result.FELL_BACK] * 2 + [Result.UP_TO_DATE] * 2


def _turn(world: World, name: str, version: Version, start: datetime) -> datetime:
    """When it is a computer's turn, found by asking."""
    rollout = Rollout(start=start, hours=100)
    low, high = 0.0, 100.0
    for _ in range(40):
        middle = (low + high) / 2
        at = start + timedelta(hours=middle)
        if trust.reached(rollout, world.installation(name), version, at):
            high = middle
        else:
            low = middle
    return start + timedelta(hours=high)


def test_promotion_costs_an_agent_no_object(world: World) -> None:
    version = world.new_set()
    world.publisher.publish(version)
    agent = world.agent("one")
    agent.refresh(RAPID)
    world.publisher.promote(version, forced="a test")
    for path in (world.publisher.home.public / "objects").rglob("*.zst"):
        path.unlink()
    assert agent.refresh(Channel.CERTIFIED).active == version


_ROTATIONS: list[tuple[str, Callable[[World], object]]] = [
    *[(f"root {n}", lambda world: rotate(world.publisher, "root")) for n in range(5)],
    *[
        (role, lambda world, role=role: rotate(world.publisher, role))
        for role in ("targets", "snapshot", "timestamp", "certified", "rapid", "rapid")
    ],
    (
        "revoke",
        lambda world: revoke(
            world.publisher,
            "rapid",
            Signed.load(world.publisher.home).trusted("rapid").keys[0].keyid,
        ),
    ),
]


def test_an_agent_that_was_off_during_many_changes_of_keys_updates(world: World) -> None:
    first = world.new_set()
    world.publisher.publish(first)
    away, follows = world.agent("away"), world.agent("follows")
    for agent in (away, follows):
        assert agent.refresh(RAPID).active == first
    for name, change in _ROTATIONS:
        change(world)
        assert follows.refresh(RAPID).result is Result.UP_TO_DATE, name
    second = world.new_set()
    world.publisher.publish(second)
    for agent in (away, follows):
        assert agent.refresh(RAPID).active == second


def test_what_a_revoked_key_signed_is_refused_and_changes_nothing(world: World) -> None:
    first = world.new_set()
    world.publisher.publish(first)
    agent = world.agent("one")
    agent.refresh(RAPID)
    home = world.publisher.home
    (key,) = Signed.load(home).trusted("rapid").keys
    stolen = world.publisher.keyring.signers(Signed.load(home).trusted("rapid"))
    revoke(world.publisher, "rapid", key.keyid)
    # Snapshot and timestamp name what the thief signed, as if stolen along with the key.
    signed = Signed.load(home)
    role = signed.channels[RAPID]
    role.signed.version += 1
    role.sign(stolen[0])
    raw, number = role.to_bytes(), role.signed.version
    (home.metadata / f"{number}.rapid.json").write_bytes(raw)
    signed.snapshot.signed.meta["rapid.json"] = MetaFile.from_data(number, raw, ["sha256"])
    write_in_order(prepare(world.publisher.signing(), signed, renew={"snapshot"}))
    with pytest.raises(TrustError, match="signed by 0/1 keys"):
        agent.refresh(RAPID)
    assert Store(world.folder / "one/definitions", StoreSettings()).active() is not None
