"""Alerts: raised at once and again until they are over, in the log and at addresses of choice.

Whoever knows of trouble is a source: a callable that gives names and words. Nothing here may hold
up mail or updates: sources are asked in a thread, and messages go through a bounded queue to a
thread of their own. The publisher's `repo watch` tells its publisher otherwise, by a command of
theirs and once a change (``publish/notify.py``): its machine has no mail service to guard.
"""

import asyncio
import contextlib
import logging
import os
import queue
import socket
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import structlog

from mailward.errors import ConfigError, MailwardError
from mailward.settings.service import AlertSettings

log = structlog.get_logger(__name__)

Source = Callable[[], Mapping[str, str]]
"""Gives what is wrong at the moment: names, and words that say what to do. May block."""

Occasions = Callable[[], Mapping[str, str]]
"""Alerts with a calendar of their own, by name: raised again when the occasion changes, and not by
time. Those that it does not name are raised by time. May block."""

_LOOK_S = 30.0
_BY_TIME: Mapping[str, str] = MappingProxyType({})
_WAITING_MAX = 100
"""Messages that wait to be sent; what comes on top is only logged."""
_FILE_MAX_BYTES = 64 * 1024
_CLOSE_S = 5.0
"""For messages that wait when the service ends."""


class Reminders:
    """Raises each alert at once, and again every ``remind_after``, or at its next occasion, until
    it is over."""

    def __init__(self, remind_after: timedelta) -> None:
        self._remind_after = remind_after
        self._raised: dict[str, tuple[datetime, str]] = {}

    def due(
        self, current: Mapping[str, str], now: datetime, occasions: Mapping[str, str] = _BY_TIME
    ) -> tuple[list[str], list[str]]:
        """Names to raise now, and names that are over. ``current``: name to words."""
        over = [name for name in self._raised if name not in current]
        for name in over:
            del self._raised[name]
        due = [
            name
            for name in current
            if name not in self._raised or self._is_again(name, now, occasions.get(name))
        ]
        self._raised |= {name: (now, occasions.get(name, "")) for name in due}
        return due, over

    def _is_again(self, name: str, now: datetime, occasion: str | None) -> bool:
        at, last = self._raised[name]
        if occasion is not None:
            return occasion != last
        return not timedelta(0) <= now - at < self._remind_after


class AlertService:
    """Asks the sources and raises what is due. ``run`` never ends by itself."""

    def __init__(
        self,
        settings: AlertSettings,
        sources: Sequence[Source],
        messenger: "Messenger",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        occasions: Occasions = dict,
    ) -> None:
        self._sources = sources
        self._occasions = occasions
        self._messenger = messenger
        self._now = now
        self._sleep = sleep
        self._reminders = Reminders(timedelta(hours=settings.remind_after_h))
        self.current: Mapping[str, str] = {}
        """What is wrong, as of the last look."""

    async def run(self) -> None:
        """Look, again and again; the first time when a first update had its chance."""
        while True:
            await self._sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """One round."""
        try:
            self.current = await asyncio.to_thread(self.ask)
            occasions = await asyncio.to_thread(self._occasions)
        except Exception:  # a defect must not end all alerts
            log.exception("alerts cannot be told by a defect")
            return
        due, over = self._reminders.due(self.current, self._now(), occasions)
        for name in due:
            log.error("alert", alert=name, why=self.current[name])
            self._messenger.send(name, self.current[name])
        for name in over:
            log.info("alert is over", alert=name)
            self._messenger.send(f"{name} is over", "Mailward has no more reason for this alert.")

    def ask(self) -> dict[str, str]:
        """What is wrong now. May block."""
        found: dict[str, str] = {}
        for source in self._sources:
            found |= source()
        return found


class Messenger:
    """Sends alerts to the addresses in a file, one Apprise address a line. Never blocks."""

    def __init__(self, settings: AlertSettings) -> None:
        self._path = settings.addresses
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(_WAITING_MAX)
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.failed = 0
        """Messages that at least one address did not get."""

    def send(self, title: str, text: str) -> None:
        """Have a message sent, soon. What cannot be sent is logged and counted."""
        if self._path is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait((f"Mailward on {socket.gethostname()}: {title}", text))
        except queue.Full:
            self.failed += 1
            log.error("alert not sent: too many wait already", alert=title)

    def close(self) -> None:
        """Give what waits a few seconds."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(None)
            self._thread.join(_CLOSE_S)

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            began = time.monotonic()
            try:
                good = self._send(*message)
            except MailwardError as e:
                good = False
                log.error("alert not sent", why=str(e))
            except Exception as e:  # noqa: BLE001 (its text may quote an address: S15)
                good = False
                log.error("alert not sent by a defect", kind=type(e).__name__)
            self.sent, self.failed = self.sent + good, self.failed + (not good)
            if good:
                log.info("alert sent", ms=round((time.monotonic() - began) * 1000))

    def _send(self, title: str, text: str) -> bool:
        import apprise  # half a second, and only for those who want it

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # S15: it names addresses
        addresses = apprise.Apprise()
        assert self._path is not None  # noqa: S101 (send has looked)
        for number, address in enumerate(read_addresses(self._path), 1):
            if not addresses.add(address):
                log.error("address for alerts is not understood", file=str(self._path), line=number)
        good = bool(addresses.notify(title=title, body=text))
        if not good:
            log.error("alert did not reach every address", addresses=len(addresses))
        return good


def read_addresses(path: Path) -> list[str]:
    """The addresses in a file that only its owner may read (S15). Raises ConfigError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_FILE_MAX_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"alerts.addresses {path}: {e.strerror}") from e
    if stat.S_IMODE(mode) & 0o077:  # S15
        raise ConfigError(f"alerts.addresses {path}: others may read it; run: chmod 600 {path}")
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"alerts.addresses {path}: not UTF-8") from None
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not found or len(raw) > _FILE_MAX_BYTES:
        raise ConfigError(f"alerts.addresses {path}: expected one Apprise address a line")
    return found
