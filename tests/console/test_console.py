"""`/healthz` and `/metrics` over a real listener, with real workers and a real store."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mailward import main
from mailward.cli import running
from mailward.config import Config
from mailward.definitions.model import Version
from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.scan.engine import Source
from mailward.scan.pool import ScanPool
from mailward.scan.prepared import prepare
from mailward.settings.scan import ScanSettings
from mailward.settings.service import ConsoleSettings
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.testing import EICAR, fake_engines, message

OLD, NEW = "20261123.001", "20261123.002"


class Site:
    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.config = Config(
            state_dir=folder,
            update=UpdateSettings.model_validate(
                {"certified": {"enabled": False}, "rapid": {"enabled": True}}
            ),
            store=StoreSettings(min_free_bytes=1),
            console=ConsoleSettings(listen=f"127.0.0.1:{self.port}"),
        )
        self.store: Store = main.store(self.config)

    def activate(self, version: str) -> None:
        with self.store.writer("test") as writer:
            stored = stage(writer, sample_set(version, {"fake": EICAR}))
            with writer.workspace() as workspace:
                sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
                prepare(sources, fake_engines(), workspace)
                writer.record_trial(stored.version, sample_trial(stored.version), workspace)
            writer.activate(stored.version, "test")

    def note(self, event: str, **details: Any) -> None:
        with self.store.writer("test") as writer:
            writer.note(event, channel="rapid", **details)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[ScanPool]:
        pool = ScanPool(self.store, ScanSettings(workers=1), "mailward.testing:fake_engines")
        async with pool, main.telling(self.config, pool):
            yield pool

    async def get(self, path: str) -> tuple[int, bytes]:
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as it:
                return it.status, it.read()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read()

    async def health(self) -> tuple[int, dict[str, Any]]:
        status, body = await self.get("/healthz")
        return status, json.loads(body)

    async def metrics(self) -> dict[str, float]:
        status, body = await self.get("/metrics")
        assert status == 200
        lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_health_is_503_with_reasons_until_the_computer_is_protected(site: Site) -> None:
    async with site.running():
        status, body = await site.health()
        assert (status, body["protected"], body["active"]) == (503, False, None)
        assert [reason.split(":")[0] for reason in body["reasons"]] == [
            "no definitions",
            "stale rapid",
            "no workers",
        ]
        site.activate(OLD)
        site.note("checked", result="up to date", offered=OLD)
        async with asyncio.timeout(30):
            while True:
                if (await site.health())[0] == 200:
                    break
                await asyncio.sleep(0.05)
        status, body = await site.health()
    assert (body["protected"], body["reasons"]) == (True, [])
    assert body["active"]["version"] == OLD
    assert body["active"]["age_s"] >= 0
    assert body["channels"]["rapid"]["latest"] == OLD
    assert body["channels"]["rapid"]["unknown_since"] is None
    assert body["workers"] == {OLD: 1}


async def test_health_says_since_when_nothing_can_be_known_and_stays_200_for_a_roll_back(
    site: Site,
) -> None:
    site.activate(OLD)
    site.activate(NEW)
    site.note("checked", result="up to date", offered=NEW)
    site.note("failed", reason="port closed")
    with site.store.writer("test") as writer:
        writer.rollback(None, "misbehaved", by="watch")
    async with site.running():
        status, body = await site.health()
    assert status == 200
    assert list(body["alerts"]) == ["rolled back"]
    assert body["channels"]["rapid"]["unknown_since"] is not None


async def test_metrics_count_scans_and_what_the_history_tells(site: Site) -> None:
    site.activate(OLD)
    site.note("checked", result="up to date", bytes=100, ms=1.0)
    async with site.running() as pool:
        await pool.scan(message(text=EICAR.decode()))
        await pool.scan(message())
        site.note("checked", result="up to date", bytes=700, ms=500.0)
        site.note("failed", reason="port closed", bytes=50, ms=250.0)
        site.activate(NEW)
        with site.store.writer("test") as writer:
            writer.rollback(None, "misbehaved", by="watch")
        found = await site.metrics()
    rapid = 'channel="rapid"'
    assert found[f'mailward_updates_total{{{rapid},result="up_to_date"}}'] == 1
    assert found[f'mailward_updates_total{{{rapid},result="failed"}}'] == 1
    assert found[f"mailward_update_bytes_total{{{rapid}}}"] == 750
    assert found[f"mailward_update_seconds_total{{{rapid}}}"] == 0.75
    assert found['mailward_watch_verdicts_total{verdict="bad_left"}'] == 1
    assert found['mailward_scans_total{verdict="infected"}'] == 1
    assert found['mailward_scans_total{verdict="clean"}'] == 1
    assert found["mailward_workers_lost_total"] == 0
    assert found[f'mailward_active_set_info{{channel="rapid",version="{OLD}"}}'] == 1


async def test_status_tells_what_the_workers_of_the_service_scan_with(site: Site) -> None:
    site.activate(OLD)
    site.note("checked", result="up to date")
    assert running.ask(site.config) is None
    async with site.running():
        told = await asyncio.to_thread(running.ask, site.config)
        assert told is not None
        assert told["workers"] == {OLD: 1}
        version = Version.parse(OLD)
        said = await asyncio.to_thread(running.wait_until_in_use, site.config, version)
        assert said == f"scanning uses it: 1 worker with {OLD}"  # S9
    said = await asyncio.to_thread(running.wait_until_in_use, site.config, Version.parse(OLD))
    assert "nothing scans with it yet" in said


async def test_an_address_in_use_is_logged_and_everything_else_goes_on(site: Site) -> None:
    site.activate(OLD)
    with socket.create_server(("127.0.0.1", site.port)), capture_logs() as logged:
        async with site.running() as pool:
            assert (await pool.scan(message())).set == OLD
    assert any("console.listen" in entry["event"] for entry in logged)


async def test_hostile_requests_are_answered_or_cut_and_the_next_one_is_served(site: Site) -> None:
    site.activate(OLD)
    async with site.running():
        for request in (b"\0" * 100_000, b"GET /" + b"a" * 100_000, b"GET /healthz HTTP/9\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(request)
            writer.write_eof()
            assert len(await reader.read()) < 1000
            writer.close()
        assert (await site.get("/other"))[0] == 404
        assert (await site.get("/metrics"))[0] == 200
