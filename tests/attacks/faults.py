"""A publisher, a computer that is up to date with it, and a web server that does as it is told.

Whatever a test does to them, ``Computer.withstands`` says what must hold: nothing new is taken,
`mailward status` has the right words, and a scanner that worked all the while missed nothing.
"""

import contextlib
import hashlib
import http.server
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailward import main
from mailward.cli.status import gather
from mailward.config import Config
from mailward.definitions.model import Channel, Level, Manifest, Shard, Trial, Version
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.publish import quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.scan.engines import all_engines
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR
from mailward.update.agent import Agent, Outcome, Result

_BETWEEN_SCANS_S = 0.005
_LATER = timedelta(hours=80)
"""Longer than ``update.certified.stale_after_h`` and ``update.rapid.stale_after_h``."""


@dataclass(frozen=True)
class World:
    """A publisher that published ``old`` and then ``new``, and a computer that uses ``old``."""

    folder: Path
    root: Path
    old: Version
    new: Version

    @property
    def public(self) -> Path:
        """The repository as it is."""
        return self.folder / "publisher/public"

    @property
    def before(self) -> Path:
        """The repository as it was when ``old`` was current."""
        return self.folder / "before"

    @property
    def state(self) -> Path:
        """Of a computer that took ``old``."""
        return self.folder / "state"

    def fresh(self) -> list[str]:
        """What an agent needs that the old repository did not have, as paths in the repository."""
        found = (str(path.relative_to(self.public)) for path in self.public.rglob("*.*"))
        return sorted(path for path in found if not (self.before / path).exists())


def make_world(folder: Path) -> World:
    """Two sets: EICAR by its hash; then a YARA rule and 3,000 hashes, which compress badly."""
    feed = Feed(folder)
    publisher = Publisher(folder / "publisher")
    root = publisher.init()
    feed.hashes.append(f"{hashlib.sha256(EICAR).hexdigest()}:68:Eicar-Test")
    old = feed.publish(publisher)
    shutil.copytree(publisher.home.public, folder / "before")
    world = World(folder, root, old, old)
    outcome = main.agent(config_of(world, folder / "state", world.before.as_uri())).refresh(
        Channel.RAPID
    )
    assert outcome.result is Result.ACTIVATED
    chance = random.Random(4)
    feed.hashes += [f"{chance.randbytes(32).hex()}:{n + 100}:Random-{n}" for n in range(3000)]
    feed.rules["Second"] = '"the second threat"'
    new = feed.publish(publisher)
    return World(folder, root, old, new)


@dataclass
class Feed:
    """What a publisher's sets are made of."""

    folder: Path
    hashes: list[str] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=lambda: {"First": '"the first threat"'})

    def build(self, publisher: Publisher, version: Version | None = None) -> Version:
        """The next set, or a certain one."""
        (self.folder / "list.hsb").write_text("\n".join(self.hashes) + "\n", encoding="ascii")
        text = "\n".join(
            f"rule {name} {{ strings: $a = {text} condition: $a }}"
            for name, text in self.rules.items()
        )
        (self.folder / "rules.yar").write_text(text, encoding="utf-8")
        specs = [f"hashes={self.folder}/list.hsb", f"yara={self.folder}/rules.yar"]
        return build(publisher.home, parse_specs(specs)).version

    def publish(self, publisher: Publisher) -> Version:
        """Built, checked and published in rapid."""
        version = self.build(publisher)
        report = quality.check(publisher.home, version, Level.BASIC)
        assert report.passed, report
        publisher.publish(version)
        return version

    def publish_untested(self, publisher: Publisher) -> Version:
        """As a careless publisher does."""
        version = self.build(publisher)
        publisher.publish(version, forced="to see what agents do")
        return version


def config_of(
    world: World, state: Path, address: str, channel: Channel = Channel.RAPID, **update: object
) -> Config:
    """The configuration of a computer that takes ``channel`` from ``address``."""
    return Config.model_validate(
        {
            "state_dir": state,
            "update": {
                "repository": address,
                "root": world.root,
                "rapid": {"enabled": channel is Channel.RAPID},
                "certified": {"enabled": channel is Channel.CERTIFIED},
                "timeout_s": 5,
                "total_timeout_s": 20,
                **update,
            },
            "store": {"min_free_bytes": 1},
            "scan": {"workers": 1},
            # Nobody listens there, and asking costs nothing.
            "smtp": {"listen": "127.0.0.1:1"},
        }
    )


class Computer:
    """A copy of the world's computer; ``address`` is where it looks for definitions."""

    def __init__(self, world: World, folder: Path, address: str = "") -> None:
        self.world = world
        self.state = folder / "state"
        self.address = address or world.public.as_uri()
        self.channel = Channel.RAPID
        shutil.copytree(world.state, self.state)

    @property
    def store(self) -> Store:
        return main.store(self.config())

    def config(self, **update: object) -> Config:
        return config_of(self.world, self.state, self.address, self.channel, **update)

    def agent(self, **update: object) -> Agent:
        return main.agent(self.config(**update))

    def refresh(self, *, check_only: bool = False, **update: object) -> Outcome:
        return self.agent(**update).refresh(self.channel, check_only=check_only)

    def status(self, at: datetime | None = None) -> dict[str, Any]:
        """What `mailward status` says."""
        return gather(self.config(), at or datetime.now(UTC))

    def later(self) -> dict[str, Any]:
        """What it says if nothing happens until a channel is stale."""
        return self.status(datetime.now(UTC) + _LATER)

    def withstands(
        self,
        words: str,
        act: Callable[[], object] | None = None,
        *,
        error: type[BaseException] = MailwardError,
        **update: Any,
    ) -> None:
        """An update (or ``act``) fails in these words, and that is all that happens (S5)."""
        with self.scanning() as scans, pytest.raises(error):
            (act or partial(self.refresh, **update))()
        self.kept_scanning(scans)
        self.says(words)

    def kept_scanning(self, scans: "Scans") -> None:
        """No scan failed, and the old set is active and whole."""
        assert scans.failed == []
        assert scans.done >= 2
        assert self.active() == self.world.old
        assert self.store.verify(self.world.old) == []

    def says(self, words: str) -> None:
        """`mailward status` says so now, and raises an alert when it has gone on for too long."""
        told = self.status()["channels"][self.channel]
        assert told["last_result"].startswith("failed: ")
        assert re.search(words, told["last_result"]), told["last_result"]
        assert not re.search(r"\b_\w+\(| at 0x", told["last_result"]), "words, not our classes"
        assert told["unknown_since"] is not None
        later = self.later()
        assert later["stale"]
        assert any(re.search(words, alert) for alert in later["alerts"]), later["alerts"]

    def tree(self) -> set[str]:
        """Every file and folder that the computer has."""
        return {str(path.relative_to(self.state)) for path in self.state.rglob("*")}

    def active(self) -> Version | None:
        active = self.store.active()
        return active.version if active else None

    def recovers(self, address: str = "") -> None:
        """When the trouble is over, the next update brings the new set, and status is content."""
        self.address = address or self.world.public.as_uri()
        with self.scanning() as scans:
            assert self.refresh().result is Result.ACTIVATED
        assert scans.failed == []
        assert self.active() == self.world.new
        assert self.status()["alerts"] == []

    def recovers_or_has_recovered(self) -> None:
        """As ``recovers``; the update that was in trouble may have succeeded all the same."""
        if self.active() == self.world.old:
            self.recovers()
            return
        self.refresh()
        with self.scanning() as scans:
            pass
        assert scans.failed == []
        assert self.active() == self.world.new
        assert self.status()["alerts"] == []

    @contextlib.contextmanager
    def scanning(self) -> Iterator["Scans"]:
        """A scanner works meanwhile: with the set that is active, as workers do."""
        scans = Scans(self.store)
        thread = threading.Thread(target=scans.run)
        thread.start()
        scans.begun.wait(30)
        try:
            yield scans
        finally:
            scans.stop.set()
            thread.join()


@dataclass(frozen=True)
class Proved:
    """What a real trial of the new set left, so that all other steps can be tried often."""

    result: Trial
    prepared: Path

    def run(
        self,
        manifest: Manifest,
        shards: list[tuple[Shard, Path]],
        prepared: Path,
        settings: object,
        before: Path | None = None,
    ) -> Trial:
        shutil.copytree(self.prepared, prepared, dirs_exist_ok=True)
        return self.result


class Scans:
    """Scans EICAR again and again, with the active set, and expects to find it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stamp: tuple[int, int, int] | None = None
        self._loaded: LoadedSet | None = None
        self.done = 0
        self.failed: list[str] = []
        self.begun, self.stop = threading.Event(), threading.Event()

    def run(self) -> None:
        """Until told to stop, and once more then."""
        while True:
            last = self.stop.is_set()
            try:
                self._scan()
            except Exception as e:  # noqa: BLE001 (the test says it)
                self.failed.append(repr(e))
            self.begun.set()
            if last:
                break
            self.stop.wait(_BETWEEN_SCANS_S)
        if self._loaded is not None:
            self._loaded.close()

    def _scan(self) -> None:
        self._follow()
        assert self._loaded is not None
        verdict = Scanner(self._loaded, ScanSettings(workers=1)).scan(EICAR, role=Role.FILE)
        self.done += 1
        if [risk.name for risk in verdict.risks] != ["Eicar-Test"] or verdict.unopened:
            self.failed.append(repr(verdict))

    def _follow(self) -> None:
        """As the pool does: what cannot be read or loaded leaves the old set in use."""
        stamp = self._store.pointer_stamp()
        if stamp == self._stamp:
            return
        try:
            active = self._store.active()
            if active is not None:
                self._loaded = LoadedSet.load(str(active.version), active.prepared, all_engines())
                self._stamp = stamp
        except (MailwardError, OSError):
            if self._loaded is None:
                raise


class Hostile:
    """A web server of a folder. ``spoil`` is asked first: True if it has answered by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spoil: Callable[[Asked], bool] = lambda asked: False
        self.asked: list[str] = []
        self.gone = threading.Event()
        """Set at the end: whoever answers for ever stops then."""
        hostile = self

        class Handler(Asked):
            server_of = hostile

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )

    def __enter__(self) -> "Hostile":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


class Asked(http.server.BaseHTTPRequestHandler):
    """One request."""

    server_of: Hostile

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server_of.asked.append(self.path)
        if not self.server_of.spoil(self):
            self.serve()

    @property
    def file(self) -> Path:
        return self.server_of.folder / self.path.lstrip("/")

    @property
    def start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def is_(self, *folders: str) -> bool:
        """Whether something in one of these folders of the repository is asked for."""
        return self.path.startswith(tuple(f"/{folder}/" for folder in folders))

    def serve(self, most: int | None = None) -> int:
        """The file, or only its next ``most`` bytes and then hang up; how many went out."""
        if not self.file.is_file():
            self.answer(404)
            return 0
        content = self.file.read_bytes()
        start = self.start
        if start >= len(content) > 0:
            self.answer(416)
            return 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:][:most]
        self.wfile.write(body)
        return len(body)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """Something else; True, so that it can be what ``spoil`` returns."""
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
        return True
