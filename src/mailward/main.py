"""The composition root: every part is built here, from the configuration, top to bottom."""

import asyncio
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog

from mailward.alerts import AlertService, Messenger, Source
from mailward.config import Config
from mailward.console import health, recipients
from mailward.definitions import updater
from mailward.definitions.following import ProductService
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store
from mailward.doors.clamd import ClamdDoor
from mailward.doors.milter import MilterDoor
from mailward.doors.smtp import Gateway
from mailward.doors.told import Record, unrecorded
from mailward.errors import ConfigError, FormatError, UsageError
from mailward.protect.doubts import DoubtBook
from mailward.protect.events import EventLog
from mailward.protect.guard import Guard
from mailward.protect.housekeeping import keep_house
from mailward.protect.quarantine import Quarantine
from mailward.protect.stamp import Stamps
from mailward.scan.pool import ScanPool
from mailward.settings.update import Role
from mailward.update import alarms
from mailward.update.agent import Agent, Progress, enabled_channels
from mailward.update.alarms import Alarm
from mailward.update.licenses import Licenses
from mailward.update.repair import Repair
from mailward.update.service import UpdateService
from mailward.update.watch import Watch

if TYPE_CHECKING:
    from mailward.database import Database
    from mailward.protect.event_rows import EventRows

log = structlog.get_logger(__name__)


def store(config: Config) -> Store:
    """Where definition sets rest."""
    return Store(config.definitions_dir, config.store)


def agent(config: Config, progress: Progress = lambda step, done, total: None) -> Agent:
    """What keeps the store current."""
    return Agent(config.update, store(config), config.trust_dir, progress, config.license_dir)


def repair(config: Config, progress: Progress = lambda step, done, total: None) -> Repair:
    """What mends the store."""
    return Repair(config.update, store(config), config.trust_dir, config.license_dir, progress)


def require_updater(config: Config) -> None:
    """Raises UsageError where this instance only reads the store."""
    if config.update.role is Role.READER:
        raise UsageError(
            f"this instance only reads {config.definitions_dir} (update.role): its updater is "
            f"{updater.owner(config.definitions_dir)}; do it there"
        )


def share(config: Config) -> dict[str, str]:
    """Bring the other products up to date, unless a running updater does; problems by name."""
    if config.update.role is Role.READER or updater.owner(config.definitions_dir) != updater.NOBODY:
        return {}
    states = Sharing(store(config)).bring_all_up()
    return {name: state.problem for name, state in states.items() if state.problem}


def licenses(config: Config) -> Licenses:
    """What the publisher permits."""
    return Licenses(config.license_dir, config.trust_dir)


def quarantine(config: Config) -> Quarantine:
    """Where held messages rest."""
    return Quarantine(config.quarantine_dir, config.quarantine)


def node() -> str:
    """This computer's name where several share a database."""
    return socket.gethostname()[:255]


def stamps(config: Config) -> Stamps | None:
    """What vouches for scans; None without a key."""
    return Stamps(config.stamp.key_file) if config.stamp.key_file is not None else None


def event_log(config: Config) -> EventLog:
    """What writes down what happens to messages."""
    insert = event_rows(config).insert if config.events.database else None
    return EventLog(config.events_dir, config.events, node(), insert)


def event_rows(config: Config) -> "EventRows":
    """Where events are searched."""
    from mailward.protect.event_rows import EventRows

    return EventRows(database(config), config.events.keep_days)


def database(config: Config) -> "Database":
    """Where events and held messages are searched."""
    # Here and above, because SQLAlchemy would cost every command what only some of them need.
    from mailward.database import Database

    return Database(config.database, config.state_dir)


def doubt_book(config: Config) -> DoubtBook:
    """The signatures whose detections are held until somebody has judged."""
    return DoubtBook(config.state_dir / "doubts.json")


def pool(config: Config) -> ScanPool:
    """The worker processes that scan."""
    return ScanPool(store(config), config.scan)


def update_service(config: Config) -> UpdateService | None:
    """The agent by schedule; None for a reader, without a repository, without a channel."""
    if config.update.role is Role.READER:
        return None
    if not config.update.repository or not list(enabled_channels(config.update)):
        return None
    return UpdateService(config.update, store(config), agent(config), config.trust_dir)


class Only(StrEnum):
    """A part of `mailward run` that can run by itself."""

    UPDATE = "update"
    DOORS = "doors"


class Door(Protocol):
    """A way in for mail."""

    async def start(self) -> None:
        """Take connections. Raises ConfigError when an address cannot be used."""
        ...

    async def stop(self) -> None:
        """Take no more, finish what was begun within bounds, then close."""
        ...

    async def retire(self) -> None:
        """Take no more, and return when the last session has ended by itself."""
        ...


class Service:
    """Everything that `mailward run` keeps running for the mail: workers and doors."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pool = pool(config)
        self.quarantine = quarantine(config)
        self.events = event_log(config)
        self.notifier = recipients.notifier(config, self.events.record)
        self.guard = Guard(doubt_book(config), store(config), config.scan)
        self._make_doors(config)
        self._parts = AsyncExitStack()
        self._retiring: dict[asyncio.Task[None], Door] = {}

    def _make_doors(self, config: Config) -> None:
        """All of one configuration. Raises ConfigError, with the doors of before unchanged."""
        doors = (config.smtp, config.milter, config.clamd, config.http)
        if not any(door.enabled for door in doors):
            raise ConfigError(
                "no door is enabled (smtp.enabled, milter.enabled, clamd.enabled, http.enabled): "
                "nothing to run"
            )
        record = self.events.record
        held, vouch = self.quarantine, stamps(config)
        guard, tell = self.guard, self.notifier
        self.gateway = Gateway(
            config.smtp, config.policy, self.pool, held, record, vouch, guard, tell
        )
        self.milter = MilterDoor(
            config.milter, config.policy, self.pool, held, record, vouch, guard, tell
        )
        self.clamd = ClamdDoor(
            config.clamd,
            config.scan,
            self.pool,
            definitions=partial(_definitions, store(config)),
            shut_down=partial(signal.raise_signal, signal.SIGTERM),
            guard=guard,
        )
        every: tuple[tuple[Door, bool], ...] = (
            (self.gateway, config.smtp.enabled),
            (self.milter, config.milter.enabled),
            (self.clamd, config.clamd.enabled),
        )
        self._doors = [door for door, enabled in every if enabled]

    async def __aenter__(self) -> "Service":
        """Workers first, so that no message is taken that nobody can scan."""
        async with AsyncExitStack() as parts:
            parts.enter_context(self.events)
            housekeeping = asyncio.create_task(keep_house(self.quarantine, self.events.record))
            parts.callback(housekeeping.cancel)
            await parts.enter_async_context(self.notifier)
            await parts.enter_async_context(self.pool)
            parts.push_async_callback(self._stop_doors)
            await _open(self._doors)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Doors first, so that what was begun can be finished."""
        await self._parts.aclose()

    async def renew(self, config: Config) -> None:
        """New doors take over from the old ones, whose sessions go on until they end.

        Raises ConfigError when they cannot be opened: then the old ones stay.
        """
        before = (self.gateway, self.milter, self.clamd, self._doors)
        try:
            self._make_doors(config)
            await _open(self._doors)
        except ConfigError:
            self.gateway, self.milter, self.clamd, self._doors = before
            raise
        self.config = config
        for door in before[3]:
            task = asyncio.create_task(door.retire())
            self._retiring[task] = door
            task.add_done_callback(self._retiring.pop)

    async def _stop_doors(self) -> None:
        old = list(self._retiring.values())
        await asyncio.gather(*(door.stop() for door in (*self._doors, *old)))


async def _open(doors: list[Door]) -> None:
    """All of them, or none."""
    async with AsyncExitStack() as opened:
        for door in doors:
            await door.start()
            opened.push_async_callback(door.stop)
        opened.pop_all()


_RENEWED = frozenset({"smtp", "milter", "clamd", "policy", "stamp"})
"""Sections that SIGHUP puts into force; the others need a restart."""


def _raise_open_files() -> None:
    """Mail servers keep thousands of connections open; shells allow 1,024 files by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run(config: Config, only: Only | None, reload: Callable[[], Config]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun.

    ``reload``: reads the configuration again, at SIGHUP. Raises ConfigError.
    """
    signals = Signals()
    updates = None if only is Only.DOORS else update_service(config)
    if only is Only.UPDATE and updates is None:
        raise ConfigError(
            '--only update: set update.repository, enable a channel, and update.role = "updater"'
        )
    scanning: ScanPool | None = None
    record: Record = unrecorded
    guard: Guard | None = None
    async with AsyncExitStack() as parts:
        if updates is not None:
            parts.enter_context(updater.hold(config.definitions_dir))
        service = None
        if only is not Only.UPDATE:
            _raise_open_files()
            service = await parts.enter_async_context(Service(config))
            smtp = f"{service.gateway.host}:{service.gateway.port}"
            log.info(
                "serving",
                smtp=smtp if config.smtp.enabled else None,
                milter=list(config.milter.listen) if config.milter.enabled else None,
                clamd=list(config.clamd.listen) if config.clamd.enabled else None,
            )
            scanning = service.pool
            if config.update.role is Role.UPDATER:
                watch = Watch(config.update, store(config), scanning)
                parts.callback(asyncio.create_task(watch.run(), name="watch").cancel)
            record, guard = service.events.record, service.guard
        if only is not Only.DOORS:
            await parts.enter_async_context(telling(config, scanning, record, guard))
        if only is Only.DOORS:
            log.info("the console, alerts and updates are another process's")
        elif config.update.role is Role.READER:
            log.info("reading the definitions of", updater=updater.owner(config.definitions_dir))
        elif updates is None:
            log.warning("no updates by schedule: no update.repository, or no channel enabled")
        else:
            keeping = asyncio.create_task(updates.run(), name="updates")
            parts.callback(keeping.cancel)
            sharing = asyncio.create_task(ProductService(store(config)).run(), name="products")
            parts.callback(sharing.cancel)
        while await signals.next() is signal.SIGHUP:
            await _renew(service, reload)
        log.info("stopping")


async def _renew(service: Service | None, reload: Callable[[], Config]) -> None:
    """What is wrong with the new configuration is told, and the old one stays."""
    if service is None:
        log.warning("SIGHUP: only doors read the configuration again; restart for anything else")
        return
    try:
        config = reload()
        old = service.config
        changed = {
            section
            for section in Config.model_fields
            if getattr(config, section) != getattr(old, section)
        }
        await service.renew(old.model_copy(update={s: getattr(config, s) for s in _RENEWED}))
    except ConfigError as e:
        log.error("the configuration cannot be used; the one before stays in force", why=str(e))
        return
    log.info(
        "configuration read again",
        changed=sorted(changed & _RENEWED),
        needs_restart=sorted(changed - _RENEWED),
    )


@asynccontextmanager
async def telling(
    config: Config,
    scanning: ScanPool | None,
    record: Record = unrecorded,
    guard: Guard | None = None,
) -> AsyncIterator[None]:
    """Alerts, and the console for those that ask."""
    # Not for every command: web server and metrics take longer to import than most commands run.
    from mailward.console.listener import Listener
    from mailward.console.metrics import Metrics
    from mailward.doors.http_scan import HttpScan

    messenger = Messenger(config.alerts)
    service = AlertService(
        config.alerts,
        sources(config, scanning),
        messenger,
        occasions=lambda: alarms.license_occasions(
            config.update, licenses(config), datetime.now(UTC)
        ),
    )
    metrics = Metrics(
        config.update,
        store(config),
        scanning,
        lambda: service.current,
        lambda: (messenger.sent, messenger.failed),
        lambda: licenses(config).ends(list(enabled_channels(config.update)), datetime.now(UTC)),
    )
    routes = recipients.asking(config, quarantine(config), stamps(config), record)
    if config.http.enabled and scanning:
        routes += HttpScan(config.http, scanning, record, guard).routes
    listener = Listener(
        config.console,
        lambda: health.gather(config, store(config), scanning, service.ask(), datetime.now(UTC)),
        metrics.render,
        routes,
    )
    if config.console.enabled:
        await listener.start()
    alerting = asyncio.create_task(service.run(), name="alerts")
    try:
        yield
    finally:
        alerting.cancel()
        await listener.stop()
        await asyncio.to_thread(messenger.close)


def sources(config: Config, scanning: ScanPool | None) -> list[Source]:
    """Who knows of trouble."""

    def definitions() -> dict[str, str]:
        now = datetime.now(UTC)
        found = alarms.found(config.update, store(config), config.trust_dir, now)
        found |= alarms.of_licenses(config.update, licenses(config), now)
        return found | alarms.of_products(store(config))

    if scanning is None:
        return [definitions]
    return [definitions, partial(health.no_workers, scanning), partial(doubted, config)]


def doubted(config: Config) -> dict[str, str]:
    """Signatures to be judged, as alerts."""
    now = datetime.now(UTC)
    try:
        page = doubt_book(config).read()
    except FormatError as e:
        return {Alarm.DOUBTED: str(e)}
    return {
        f"{Alarm.DOUBTED} {name}": f"{page.doubts[name].hits} of {page.doubts[name].of} messages "
        "were hit by it, and only new definitions have it; what it finds is held until you judge: "
        "`mailward definitions doubts`"
        for name in sorted(page.doubted(now))
    }


def _definitions(store: Store) -> tuple[str, str] | None:
    """The active set and when it was built, as ClamAV writes a time."""
    active = store.active()
    if active is None:
        return None
    return str(active.version), f"{active.manifest.built_at:%a %b %e %H:%M:%S %Y}"


class Signals:
    """SIGTERM, SIGINT and SIGHUP, one after the other; none that comes meanwhile is lost."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._heard.put_nowait, number)

    async def next(self) -> signal.Signals:
        """Wait for one."""
        return await self._heard.get()


async def until_told_to_stop() -> None:
    """Wait for SIGTERM or SIGINT."""
    signals = Signals()
    while await signals.next() is signal.SIGHUP:
        pass
