"""The table of docs/license.md: each row is brought about, and what it says is looked at."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailward import main
from mailward.cli import status
from mailward.config import Config
from mailward.definitions.model import Channel, Version
from mailward.license import State
from mailward.publish import licensing
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.gate import Gate, Visitor
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.publish.usage import Usage
from mailward.scan.engines import all_engines
from mailward.scan.prepared import LoadedSet
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings
from mailward.settings.update import (
    CertifiedSettings,
    ChannelSettings,
    StoreSettings,
    UpdateSettings,
)
from mailward.update.agent import Result

_PAGE = Path(__file__).resolve().parents[2] / "docs/license.md"


@dataclass(frozen=True, slots=True)
class Row:
    """What a state does to everything, in the words of the document."""

    update: str
    scan: str
    status: str
    server: str


def _documented() -> dict[State, Row]:
    text = _PAGE.read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([a-z ]+)` \|[^|]*\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
        text,
        re.MULTILINE,
    )
    return {State(name): Row(*cells) for name, *cells in rows}


class World:
    """certified offers a first set to everybody, rapid a second one to license holders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.publisher = Publisher(folder / "publisher")
        self.root = self.publisher.init()
        licensing.init(self.publisher, "Example Ltd", "definitions")
        licensing.revoke(self.publisher, "revoked", "not paid")
        self.gate = Gate(self.publisher.home, Usage(self.publisher.home.license_usage))
        (folder / "rules").mkdir()
        self.first = self._build("First")
        self.publisher.publish(self.first, forced="a test")
        self.publisher.promote(self.first, forced="a test")
        main.agent(self.config("before")).refresh(Channel.CERTIFIED)
        self.second = self._build("Second")
        self.publisher.publish(self.second, forced="a test", license_required=True)

    def _build(self, name: str) -> Version:
        rule = f'rule {name} {{ strings: $a = "a threat" condition: $a }}'
        (self.folder / f"rules/{name}.yar").write_text(rule)
        specs = parse_specs([f"yara={self.folder / 'rules'}"])
        return build(self.publisher.home, specs).version

    def config(self, name: str, channel: Channel = Channel.RAPID) -> Config:
        rapid = channel is Channel.RAPID
        return Config().model_copy(
            update={
                "state_dir": self.folder / name,
                "store": StoreSettings(min_free_bytes=1),
                "update": UpdateSettings(
                    repository=self.publisher.home.public.as_uri(),
                    root=self.root,
                    certified=CertifiedSettings(enabled=not rapid),
                    rapid=ChannelSettings(enabled=rapid),
                ),
            }
        )

    def token(self, since: int, until: int, id: str = "L-1") -> str:  # noqa: A002
        now = datetime.now(UTC)
        today = now.date()
        order = Order(
            "Example Hospital",
            today + timedelta(days=until),
            (Channel.RAPID,),
            since=today + timedelta(days=since),
            id=id,
        )
        return licensing.issue_all(self.publisher, [order], now)[0][1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


_LICENSES: dict[State, Callable[[World], str]] = {
    State.NOT_NEEDED: lambda world: "",
    State.VALID: lambda world: world.token(-10, 300),
    State.EXPIRING: lambda world: world.token(-300, 10),
    State.GRACE: lambda world: world.token(-300, -3),
    State.EXPIRED: lambda world: world.token(-300, -20),
    State.NOT_YET_VALID: lambda world: world.token(5, 300),
    State.REVOKED: lambda world: world.token(-10, 300, "revoked"),
    State.INVALID: lambda world: world.token(-10, 300)[:-20],
    State.MISSING: lambda world: "",
}


def _with(world: World, state: State, token: str) -> Config:
    """A computer with the first set in use and that license, however it came there."""
    config = world.config(state.value, Channel.RAPID)
    shutil.copytree(world.folder / "before", config.state_dir, symlinks=True)
    if state is State.NOT_NEEDED:
        config = world.config(state.value, Channel.CERTIFIED)
        shutil.rmtree(config.definitions_dir)
    if token:
        config.license_dir.mkdir()
        installed = config.license_dir / "installed"
        installed.write_text(token)
        installed.chmod(0o600)
    return config


@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_what_each_state_does(world: World, state: State) -> None:
    token = _LICENSES[state](world)
    config = _with(world, state, token)
    channel = Channel.CERTIFIED if state is State.NOT_NEEDED else Channel.RAPID
    offered = world.first if state is State.NOT_NEEDED else world.second
    agent = main.agent(config)
    outcome = agent.refresh(channel)
    assert outcome.offered == offered  # how far behind it is is known in every case
    comes = outcome.result is Result.ACTIVATED
    found = status.gather(config, datetime.now(UTC))
    assert found["license"]["state"] == state.value
    alerts = [text for text in found["alerts"] if text.startswith("license ")]
    assert all(text.startswith("license rapid: ") for text in alerts)
    if not comes:
        assert outcome.result is Result.UNLICENSED
        assert outcome.reason.endswith(found["license"]["by_channel"]["rapid"]["sentence"])
        assert f"rapid offers {world.second}, active is {world.first}" in alerts[0]
        assert [str(v) for v in main.store(config).versions()] == [str(world.first)]
    assert _documented()[state] == Row(
        update="comes" if comes else "only metadata",
        scan="goes on" if _finds_the_threat(config) else "stops",
        status="alert" if alerts else "no alert",
        server=_server(world, offered, channel, token),
    )


def _finds_the_threat(config: Config) -> bool:
    active = main.store(config).active()
    assert active is not None
    loaded = LoadedSet.load(str(active.version), active.prepared, all_engines())
    try:
        return bool(Scanner(loaded, ScanSettings()).scan(b"\r\na threat\r\n").risks)
    finally:
        loaded.close()


def _server(world: World, version: Version, channel: Channel, token: str) -> str:
    folder = world.publisher.home.targets / channel
    (path,) = (p for p in folder.iterdir() if p.name.endswith(f".{version}.json"))
    name = str(path.relative_to(world.publisher.home.public))
    refusal = world.gate.refusal(name, Visitor(token or None))
    return "gives" if refusal is None else str(refusal.status)


def test_every_state_has_a_row() -> None:
    assert set(_documented()) == set(State)
