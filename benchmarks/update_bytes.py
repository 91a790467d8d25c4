"""What an update costs on the wire: bytes and requests, by a real `repo serve` and a real agent.

    python benchmarks/update_bytes.py [--versions 24]

Three cases: nothing new; 100 signatures more on a set of 178,000; so many rapid versions behind,
each with 100 signatures more and ten fewer. With the collection beside the project the set is made
of ClamAV's real hashes and logical signatures, as many as it holds up to 178,000 (the rest is made
up); without it, all are made up. The trials are left out: they cost no byte.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from mailward.definitions.model import Channel, Manifest, Trial, Version
from mailward.definitions.store import Store
from mailward.publish import history
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.metadata import Signed
from mailward.publish.repository import Publisher
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.update import trial
from mailward.update.agent import Agent, Outcome, Result

_SHARED = Path(__file__).resolve().parents[2] / "shared/data/definitions/clamav"
_CODE = "from mailward.cli import main; main()"
_SIGNATURES = 178_000
_NEW = 100
_GONE = 10


class World:
    """A publisher, its server, and computers that update at different times."""

    def __init__(self, folder: Path, address: str, publisher: Publisher) -> None:
        self._folder, self._address, self._publisher = folder, address, publisher
        self._chance = random.Random(178)
        self._hashes: list[str] = []
        self._feeds = [f"hashes={folder}/list.hsb"]
        real = 0
        if _SHARED.is_dir():
            for name in ("main.ldb", "main.hdb", "main.ndb"):
                real += sum(1 for _ in (_SHARED / name).open("rb"))
                self._feeds.append(f"clamav={_SHARED / name}")
        self.add(max(0, _SIGNATURES - real))

    def add(self, number: int) -> None:
        start = len(self._hashes)
        self._hashes += [
            f"{self._chance.randbytes(32).hex()}:{start + n + 100}:Made.Up-{start + n}"
            for n in range(number)
        ]

    def remove(self, number: int) -> None:
        for _ in range(number):
            self._hashes.pop(self._chance.randrange(len(self._hashes)))

    def publish(self) -> Version:
        (self._folder / "list.hsb").write_text("\n".join(self._hashes) + "\n", encoding="ascii")
        built = build(self._publisher.home, parse_specs(self._feeds))
        self._publisher.publish(built.version, forced="a benchmark")
        return built.version

    def computer(self, name: str) -> Agent:
        settings = UpdateSettings(repository=self._address, root=self._publisher.root_file)
        store = Store(self._folder / name / "definitions", StoreSettings(min_free_bytes=1))
        return Agent(settings, store, self._folder / name / "update")

    def say(self, what: str, version: Version) -> None:
        signed = Signed.load(self._publisher.home)
        manifest = history.manifest(self._publisher.home, signed, Channel.RAPID, version)
        (path,) = (self._publisher.home.public / "targets/rapid").glob(f"*.{version}.json")
        print(
            f"{what}: {manifest.signatures:,} signatures in {len(manifest.shards)} shards, "
            f"{manifest.size_bytes / 1e6:.1f} MB, {len(manifest.patches)} patches; its manifest "
            f"has {path.stat().st_size:,} bytes"
        )


def _tell(what: str, outcome: Outcome) -> None:
    print(f"  {what}: {outcome.bytes_received:,} bytes in {outcome.requests} requests")


def _passed(manifest: Manifest, *_: object, **__: object) -> Trial:
    return Trial(version=manifest.version, passed=True, at=datetime.now(UTC))


def main() -> None:
    """All three cases."""
    trial.run = _passed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=24, help="to be behind")
    behind = parser.parse_args().versions
    with tempfile.TemporaryDirectory(prefix="mailward-bench-") as name:
        folder = Path(name)
        publisher = Publisher(folder / "publisher")
        publisher.init()
        web = subprocess.Popen(
            [sys.executable, "-uc", _CODE, "repo", "serve", "--repo", str(folder / "publisher"),
             "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )  # fmt: skip
        try:
            assert web.stdout is not None
            words = web.stdout.readline().split()
            address = next(word for word in words if word.startswith("http://"))
            _measure(World(folder, address, publisher), behind)
        finally:
            web.send_signal(signal.SIGTERM)
            web.wait(60)


def _measure(world: World, behind: int) -> None:
    world.say("a set", world.publish())
    follows, away = world.computer("follows"), world.computer("away")
    _tell("all of it", _took(follows))
    _took(away)
    _tell("nothing new", follows.refresh(Channel.RAPID))
    world.add(_NEW)
    world.say(f"{_NEW} signatures more", world.publish())
    _tell(f"{_NEW} signatures more", _took(follows))
    for _ in range(behind - 1):
        world.add(_NEW)
        world.remove(_GONE)
        newest = world.publish()
    world.say(f"{behind} versions later", newest)
    _tell(f"{behind} versions behind", _took(away))
    _tell(f"{behind - 1} versions behind", _took(follows))


def _took(agent: Agent) -> Outcome:
    outcome = agent.refresh(Channel.RAPID)
    assert outcome.result is Result.ACTIVATED, outcome
    return outcome


if __name__ == "__main__":
    main()
