"""`mailward run --only update` and the service in it, with a real publisher and server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.settings.update import (
    CertifiedSettings,
    ChannelSettings,
    StoreSettings,
    UpdateSettings,
)
from mailward.update import alarms
from mailward.update.agent import Agent
from mailward.update.service import UpdateService
from tests.contract import fetch_servers
from tests.e2e.test_channels import World

HOURS = timedelta(hours=1)
_PATIENCE_S = 60.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def address(world: World) -> Iterator[str]:
    with fetch_servers.web(world.publisher.home.public, ranges=True) as port:
        yield f"http://127.0.0.1:{port}"


class Computer:
    """The update service of one computer, with a clock that can be set ahead."""

    def __init__(self, world: World, address: str) -> None:
        state = world.folder / "computer"
        self.settings = UpdateSettings(
            repository=address,
            root=world.root,
            certified=CertifiedSettings(enabled=False),
            rapid=ChannelSettings(enabled=True),
        )
        self.store = Store(state / "definitions", StoreSettings(min_free_bytes=1))
        self.trust_dir = state / "update"
        self.ahead = timedelta(0)
        agent = Agent(self.settings, self.store, self.trust_dir)
        self.service = UpdateService(self.settings, self.store, agent, self.trust_dir, self.now)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def active(self) -> str:
        active = self.store.active()
        return str(active.version) if active else ""

    def alarms(self) -> dict[str, str]:
        return alarms.found(self.settings, self.store, self.trust_dir, self.now())


async def test_a_new_set_is_activated_when_the_schedule_says_so(world: World, address: str) -> None:
    computer = Computer(world, address)
    first = world.new_set()
    world.publisher.publish(first)
    await computer.service.look()
    assert computer.active() == str(first)
    second = world.new_set()
    world.publisher.publish(second)
    await computer.service.look()
    assert computer.active() == str(first)
    computer.ahead = 1.1 * HOURS
    await computer.service.look()
    assert computer.active() == str(second)
    assert computer.alarms() == {}


async def test_a_frozen_repository_is_stale_though_every_check_succeeds(
    world: World, address: str
) -> None:
    computer = Computer(world, address)
    world.publisher.publish(world.new_set())
    await computer.service.look()
    assert computer.alarms() == {}
    timestamp = computer.trust_dir / "timestamp.json"
    seven_hours_ago = time.time() - 7 * 3600
    os.utime(timestamp, (seven_hours_ago, seven_hours_ago))  # nothing newer has come since
    computer.ahead = 1.1 * HOURS
    await computer.service.look()
    last = computer.store.history(1)[0]
    assert (last.event, last.details["result"]) == ("checked", "up to date")
    assert "frozen" in computer.alarms()["stale rapid"]
    world.publisher.refresh_timestamp()
    computer.ahead = 2.2 * HOURS
    await computer.service.look()
    assert computer.alarms() == {}


@contextmanager
def only_update(world: World, address: str, console: int) -> Iterator["subprocess.Popen[bytes]"]:
    told = os.environ | {
        "MAILWARD_STATE_DIR": str(world.folder / "state"),
        "MAILWARD_UPDATE__REPOSITORY": address,
        "MAILWARD_UPDATE__ROOT": str(world.root),
        "MAILWARD_UPDATE__CERTIFIED__ENABLED": "false",
        "MAILWARD_UPDATE__RAPID__ENABLED": "true",
        "MAILWARD_STORE__MIN_FREE_BYTES": "1",
        "MAILWARD_CONSOLE__LISTEN": f"127.0.0.1:{console}",
    }
    command = [sys.executable, "-P", "-m", "mailward", "run", "--only", "update"]
    with (world.folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=told, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def health(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.loads(e.read())
    except OSError:
        return 0, {}


def test_the_process_updates_says_that_it_is_protected_and_ends_when_told(
    world: World, address: str
) -> None:
    version = world.new_set()
    world.publisher.publish(version)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with only_update(world, address, port) as process:
        until = time.monotonic() + _PATIENCE_S
        status = 0
        body: dict[str, Any] = {}
        while status != 200 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.1)  # between two questions to another process
            status, body = health(port)
        assert status == 200, (world.folder / "log").read_text()
        assert body["active"]["version"] == str(version)
        assert body["channels"][Channel.RAPID.value]["latest"] == str(version)
        assert body["workers"] is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
