"""S14: a signature that every message has got past all gates, and no message is lost to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailward.console.health import Health
from mailward.console.listener import Listener
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.doors.clamd import ClamdDoor
from mailward.doors.http_scan import HttpScan
from mailward.doors.milter import MilterDoor
from mailward.protect.doubts import DoubtBook
from mailward.protect.events import Event
from mailward.protect.guard import Guard
from mailward.protect.outbreak import HITS_MIN
from mailward.protect.quarantine import Quarantine
from mailward.scan.engine import Source
from mailward.scan.pool import ScanPool
from mailward.scan.prepared import prepare
from mailward.settings.doors import ClamdSettings, HttpSettings, MilterSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.settings.scan import ScanSettings
from mailward.settings.service import ConsoleSettings
from mailward.settings.update import StoreSettings
from mailward.testing import fake_engines
from tests.doors.clamd_dialogs import chunks
from tests.doors.milter_client import Server
from tests.doors.test_clamd import asked
from tests.doors.test_http_scan import TOKEN, post

ENGINES = "mailward.testing:fake_engines"
OLD, NEW = "20261123.001", "20261123.002"
REGARDS = b"Kind regards"
VIRUS = b"an old virus"

LETTER = b"Subject: hello\n\nKind regards\n"
INFECTED = b"Subject: hello\n\nan old virus. Kind regards\n"


class Site:
    """A store with an old set and a fresh one whose signature every letter has."""

    def __init__(self, folder: Path, old: bytes = VIRUS) -> None:
        self.folder = folder
        self.store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
        self.quarantine = Quarantine(folder / "quarantine", QuarantineSettings())
        self.book = DoubtBook(folder / "doubts.json")
        self.ahead = timedelta(0)
        self.activate(OLD, old)
        self.activate(NEW, VIRUS + b"\n" + REGARDS)

    def activate(self, version: str, patterns: bytes) -> None:
        with self.store.writer("test") as writer:
            stored = stage(writer, sample_set(version, {"fake": patterns}))
            with writer.workspace() as workspace:
                sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                prepare(sources, fake_engines(), workspace)
                writer.record_trial(stored.version, sample_trial(stored.version), workspace)
            writer.activate(stored.version, "test")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Server]:
        """A mail server's connection to the milter door."""
        settings = ScanSettings(workers=1)
        async with ScanPool(self.store, settings, ENGINES) as pool:
            self.pool = pool
            self.guard = Guard(
                self.book, self.store, settings, lambda: datetime.now(UTC) + self.ahead, ENGINES
            )
            milter = MilterDoor(
                MilterSettings(listen=("127.0.0.1:0",)),
                PolicySettings(),
                pool,
                self.quarantine,
                guard=self.guard,
            )
            clamd = ClamdDoor(
                ClamdSettings(listen=(str(self.folder / "clamd.sock"),)),
                settings,
                pool,
                guard=self.guard,
            )
            await milter.start()
            await clamd.start()
            try:
                async with await Server.connect(milter.ports[0]) as server:
                    await server.negotiate()
                    server.client()
                    yield server
                    await self.guard.settled()
            finally:
                await milter.stop(1.0)
                await clamd.stop(1.0)


async def send(server: Server, message: bytes, times: int) -> list[str]:
    """What became of each: refused, held, or delivered."""
    fates = {b"y": "refused", b"d": "held", b"c": "delivered"}
    return [fates[(await server.message(message)).answer[:1]] for _ in range(times)]


async def test_mail_that_only_a_fresh_signature_finds_is_held_and_not_refused(
    tmp_path: Path,
) -> None:
    site = Site(tmp_path)
    async with site.open() as server:
        fates = await send(server, LETTER, 30)
        assert fates == ["refused"] * (HITS_MIN - 1) + ["held"] * (31 - HITS_MIN)
        await site.guard.settled()
        assert site.guard.doubted() == {"Kind regards"}
        assert await send(server, INFECTED, 1) == ["refused"]
    assert len(site.quarantine.list()) == 31 - HITS_MIN


async def test_a_wave_of_what_is_known_is_refused_all_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path, old=VIRUS + b"\n" + REGARDS)
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
        await site.guard.settled()
        assert await send(server, LETTER, 5) == ["refused"] * 5
        assert site.guard.doubted() == frozenset()


async def test_nothing_is_doubted_when_no_set_is_fresh(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.ahead = timedelta(hours=25)
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
        await site.guard.settled()
        assert await send(server, LETTER, 5) == ["refused"] * 5


async def test_the_administrators_word_ends_the_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailward.protect.guard._LOOK_S", 0.0)
    site = Site(tmp_path)
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
        await site.guard.settled()
        assert await send(server, LETTER, 1) == ["held"]
        await asyncio.to_thread(site.book.confirm, "Kind regards", datetime.now(UTC))
        assert await send(server, LETTER, 3) == ["refused"] * 3


async def test_a_doubt_outlives_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
    async with site.open() as server:
        assert await send(server, LETTER, 3) == ["held"] * 3


async def test_clamds_clients_are_told_to_try_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
        await site.guard.settled()
        path = tmp_path / "clamd.sock"
        (told,) = await asked(path, b"zINSTREAM\0" + chunks(LETTER))
        assert told.startswith(b"stream: What was found is held in doubt")
        assert told.endswith(b" ERROR\0")
        assert await asked(path, b"zINSTREAM\0" + chunks(INFECTED)) == [
            b"stream: an_old_virus FOUND\0"
        ]


async def test_clients_over_http_are_told_to_come_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    events: list[Event] = []
    async with site.open() as server:
        await send(server, LETTER, HITS_MIN)
        await site.guard.settled()
        for doubted, status in (("ERROR", 503), ("FOUND", 200)):
            settings = HttpSettings(tokens=tokens, doubted=doubted)
            scan = HttpScan(settings, site.pool, events.append, site.guard)
            console = ConsoleSettings(listen="127.0.0.1:0")
            listener = Listener(console, lambda: Health(True, {}), lambda: b"", scan.routes)
            await listener.start()
            letter, infected = await post(listener, LETTER), await post(listener, INFECTED)
            await listener.stop()
            assert letter.status == status
            assert infected.status == 200
            assert "an old virus" in [risk["name"] for risk in infected.body["risks"]]
            if status == 503:
                assert letter.body["doubted"] == ["Kind regards"]
                assert letter.headers["retry-after"] == "300"
    assert [event.answer for event in events] == ["503", "200", "200", "200"]
