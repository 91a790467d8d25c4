"""The composition root: every part is built here, from the configuration, top to bottom."""

import asyncio
import signal
from contextlib import AsyncExitStack

import structlog

from mailward.config import Config
from mailward.definitions.store import Store
from mailward.doors.smtp import Gateway
from mailward.errors import ConfigError
from mailward.protect.quarantine import Quarantine
from mailward.scan.pool import ScanPool
from mailward.update.agent import Agent, Progress

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


async def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun."""
    async with Service(config) as service:
        log.info("serving", smtp=f"{service.gateway.host}:{service.gateway.port}")
        await until_told_to_stop()
        log.info("stopping")


async def until_told_to_stop() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
