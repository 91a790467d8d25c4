"""What the tests of failing updates share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailward.fetch import backoff
from mailward.publish.repository import Publisher
from mailward.update import trial
from mailward.update.agent import Result
from tests.attacks.faults import Computer, Hostile, Proved, World, make_world


@pytest.fixture(scope="session")
def faults_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Made once; nobody changes it."""
    return make_world(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def computer(faults_world: World, tmp_path: Path) -> Computer:
    """Looks at the repository as it is, in its folder."""
    return Computer(faults_world, tmp_path)


@pytest.fixture
def publisher(faults_world: World, computer: Computer, tmp_path: Path) -> Publisher:
    """A copy of the publisher, to do as one likes with; the computer looks at its repository."""
    copied = Publisher(shutil.copytree(faults_world.folder / "publisher", tmp_path / "publisher"))
    computer.address = copied.home.public.as_uri()
    return copied


@pytest.fixture
def hostile(faults_world: World, computer: Computer) -> Iterator[Hostile]:
    """A web server of the repository, which the computer looks at."""
    with Hostile(faults_world.public) as server:
        computer.address = server.address
        yield server


@pytest.fixture
def quick_and_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long waits for busy servers, and no proxy of whoever runs the tests."""
    monkeypatch.setattr(backoff, "FIRST_WAIT_S", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def proved(faults_world: World, tmp_path_factory: pytest.TempPathFactory) -> Proved:
    computer = Computer(faults_world, tmp_path_factory.mktemp("proved"))
    assert computer.refresh().result is Result.ACTIVATED
    active = computer.store.active()
    assert active is not None
    assert active.trial is not None
    return Proved(active.trial, active.prepared)


@pytest.fixture
def quick_trial(proved: Proved, monkeypatch: pytest.MonkeyPatch) -> Proved:
    """The trial gives at once what it gave before; a kill or a fault loses nothing to the cache."""
    monkeypatch.setattr(trial, "run", proved.run)
    return proved
