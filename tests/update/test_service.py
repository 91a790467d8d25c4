"""The agent by schedule: an injected clock, a real store, and an agent that does as told."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.errors import ConfigError, FetchError
from mailward.settings.update import CertifiedSettings, ChannelSettings, UpdateSettings
from mailward.update.agent import Agent, Outcome, Result
from mailward.update.service import UpdateService

SETTINGS = UpdateSettings(
    certified=CertifiedSettings(enabled=False), rapid=ChannelSettings(enabled=True)
)


class Told(Agent):
    """Notes what a refresh would note; ``error`` is what goes wrong."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(SETTINGS, store, folder)
        self.told = store
        self.asked: list[Channel] = []
        self.error: Exception | None = None

    def refresh(self, channel: Channel, *, check_only: bool = False) -> Outcome:
        self.asked.append(channel)
        if isinstance(self.error, ConfigError | ZeroDivisionError):
            raise self.error
        with self.told.writer("update") as writer:
            if self.error is not None:
                writer.note("failed", channel=channel.value, reason=str(self.error))
                raise self.error
            writer.note("checked", channel=channel.value, result="up to date", reason="same")
        return Outcome(channel, Result.UP_TO_DATE, "same", None, None, 0, 2, 1.0)


class Site:
    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "definitions")
        self.agent = Told(self.store, folder)
        self.ahead = timedelta(0)
        self.service = UpdateService(
            SETTINGS, self.store, self.agent, folder, lambda: datetime.now(UTC) + self.ahead
        )

    async def look(self, minutes_later: float = 0) -> int:
        self.ahead += timedelta(minutes=minutes_later)
        before = len(self.agent.asked)
        await self.service.look()
        return len(self.agent.asked) - before


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_it_looks_at_once_and_then_when_due_and_only_for_enabled_channels(
    site: Site,
) -> None:
    assert await site.look() == 1
    assert await site.look() == 0
    assert await site.look(61) == 1
    assert set(site.agent.asked) == {Channel.RAPID}


@pytest.mark.parametrize(
    "error", [FetchError("port closed"), ConfigError("update.root"), ZeroDivisionError("defect")]
)
async def test_failures_are_backed_off_and_never_end_the_loop(site: Site, error: Exception) -> None:
    site.agent.error = error
    with capture_logs():
        assert await site.look() == 1
        assert await site.look(4) == 0
        assert await site.look(3) == 1
        assert await site.look(6) == 0
        site.agent.error = None
        assert await site.look(10) == 1
    assert await site.look(61) == 1


async def test_a_store_that_somebody_writes_is_asked_after_again_soon(site: Site) -> None:
    with capture_logs(), site.store.writer("definitions prune"):
        assert await site.look() == 1
        assert await site.look() == 0
    assert await site.look(1) == 1
    assert [e.event for e in site.store.history()] == ["checked"]


async def test_the_end_of_the_service_does_not_wait_for_a_refresh(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:

    began, release = threading.Event(), threading.Event()

    def refresh(channel: Channel, *, check_only: bool = False) -> Outcome:
        began.set()
        release.wait(20)
        return Outcome(channel, Result.UP_TO_DATE, "same", None, None, 0, 2, 1.0)

    monkeypatch.setattr(site.agent, "refresh", refresh)
    task = asyncio.create_task(site.service.run())
    await asyncio.to_thread(began.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
