"""The composition root: every part is built here, from the configuration, top to bottom."""

import asyncio
import signal
from contextlib import AsyncExitStack
from enum import StrEnum

import structlog

from mailward.config import Config
from mailward.definitions.store import Store
from mailward.doors.smtp import Gateway
from mailward.errors import ConfigError
from mailward.protect.quarantine import Quarantine
from mailward.scan.pool import ScanPool
from mailward.update.agent import Agent, Progress, enabled_channels
from mailward.update.service import UpdateService

log = structlog.get_logger(__name__)


def store(config: Config) -> Store:
    """Where definition sets rest."""
    return Store(config.definitions_dir, config.store)


def agent(config: Config, progress: Progress = lambda step, done, total: None) -> Agent:
    """What keeps the store current."""
    return Agent(config.update, store(config), config.trust_dir, progress)


def quarantine(config: Config) -> Quarantine:
    """Where held messages rest."""
    return Quarantine(config.quarantine_dir, config.quarantine)


def pool(config: Config) -> ScanPool:
    """The worker processes that scan."""
    return ScanPool(store(config), config.scan)


def update_service(config: Config) -> UpdateService | None:
    """The agent by schedule; None without a repository, or with no channel enabled."""
    if not config.update.repository or not list(enabled_channels(config.update)):
        return None
    return UpdateService(config.update, store(config), agent(config), config.trust_dir)


class Only(StrEnum):
    """A part of `mailward run` that can run by itself."""

    UPDATE = "update"


class Service:
    """Everything that `mailward run` keeps running: workers and doors."""

    def __init__(self, config: Config) -> None:
        if not config.smtp.enabled:
            raise ConfigError("smtp.enabled is false and there is no other door: nothing to run")
        self.config = config
        self.pool = pool(config)
        self.quarantine = quarantine(config)
        self.gateway = Gateway(config.smtp, config.policy, self.pool, self.quarantine)
        self._parts = AsyncExitStack()

    async def __aenter__(self) -> "Service":
        """Workers first, so that no message is taken that nobody can scan."""
        async with AsyncExitStack() as parts:
            await parts.enter_async_context(self.pool)
            await self.gateway.start()
            parts.push_async_callback(self.gateway.stop)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Doors first, so that what was begun can be finished."""
        await self._parts.aclose()


async def run(config: Config, only: Only | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun."""
    updates = update_service(config)
    if only is Only.UPDATE and updates is None:
        raise ConfigError("--only update: set update.repository and enable a channel")
    async with AsyncExitStack() as parts:
        if only is None:
            service = await parts.enter_async_context(Service(config))
            log.info("serving", smtp=f"{service.gateway.host}:{service.gateway.port}")
        if updates is None:
            log.warning("no updates by schedule: no update.repository, or no channel enabled")
        else:
            keeping = asyncio.create_task(updates.run(), name="updates")
            parts.callback(keeping.cancel)
        await until_told_to_stop()
        log.info("stopping")


async def until_told_to_stop() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
