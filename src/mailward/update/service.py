"""The agent as a part of `mailward run`: looks when its schedules say so.

The store's lock sees to it that it and `mailward update` never work at once (S8).
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.errors import BusyError, MailwardError
from mailward.settings.update import UpdateSettings
from mailward.update import freshness
from mailward.update.agent import Agent, Outcome, enabled_channels
from mailward.update.alarms import channel_settings

log = structlog.get_logger(__name__)

_LOOK_S = 30.0
"""Between two looks at the clock: after sleep, or when the clock was set, it is late by that."""
_BUSY = timedelta(seconds=30)
"""Until somebody else's writing is asked after again."""

Refresh = Callable[[Channel], Outcome]


class UpdateService:
    """Keeps a store current. ``run`` never ends by itself, whatever fails (S5)."""

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        agent: Agent,
        trust_dir: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._store = store
        self._agent = agent
        self._trust_dir = trust_dir
        self._now = now
        self._sleep = sleep
        self._not_before: dict[Channel, datetime] = {}
        self._failures: dict[Channel, int] = {}

    async def run(self) -> None:
        """Look, refresh what is due; again and again."""
        while True:
            await self.look()
            await self._sleep(_LOOK_S)

    async def look(self) -> None:
        """One round."""
        for channel in enabled_channels(self._settings):
            try:
                # Reading the history takes milliseconds that the doors on this loop need.
                if await asyncio.to_thread(self._is_due, channel):
                    await self._refresh(channel)
            except (MailwardError, OSError) as e:
                log.error("the update failed; scanning goes on", channel=channel.value, why=str(e))
                self._hold(channel, e)
            except Exception as e:  # a defect must not end all updates: logged, and held off
                log.exception("the update failed by a defect", channel=channel.value)
                self._hold(channel, e)

    def _is_due(self, channel: Channel) -> bool:
        now = self._now()
        held = self._not_before.get(channel)
        # Further ahead than any hold reaches: the clock was set back meanwhile.
        if held is not None and now < held < now + timedelta(hours=2):
            return False
        events = self._store.history(freshness.EVENTS_LOOKED_AT)
        return now >= freshness.next_check(
            freshness.known(channel, events),
            channel_settings(self._settings, channel),
            self._settings,
            freshness.share(self._trust_dir),
            now,
        )

    async def _refresh(self, channel: Channel) -> None:
        outcome = await in_thread(self._agent.refresh, channel)
        self._not_before.pop(channel, None)
        self._failures.pop(channel, None)
        log.info(
            "looked for definitions",
            channel=channel.value,
            result=outcome.result.value,
            why=outcome.reason,
            active=str(outcome.active),
            bytes=outcome.bytes_received,
            ms=outcome.ms,
        )

    def _hold(self, channel: Channel, error: Exception) -> None:
        """Back off also after what leaves no trace in the history: a missing root, say."""
        if isinstance(error, BusyError):
            self._not_before[channel] = self._now() + _BUSY
            return
        failures = self._failures[channel] = self._failures.get(channel, 0) + 1
        wait = freshness.retry_after(failures, freshness.share(self._trust_dir))
        self._not_before[channel] = self._now() + wait


async def in_thread(refresh: Refresh, channel: Channel) -> Outcome:
    """Run it in a thread that the end of the service does not wait for: a refresh may be ended at
    any instant (S4), and may take half an hour."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()

    def tell(outcome: Outcome | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        elif outcome is not None:
            done.set_result(outcome)

    def work() -> None:
        outcome, error = None, None
        try:
            outcome = refresh(channel)
        except BaseException as e:  # noqa: BLE001 (handed on to whoever waits)
            error = e
        with contextlib.suppress(RuntimeError):  # the service has ended meanwhile
            loop.call_soon_threadsafe(tell, outcome, error)

    threading.Thread(target=work, name=f"update {channel}", daemon=True).start()
    return await done
