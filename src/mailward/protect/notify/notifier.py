"""Sends notifications, off the path of the mail: a bounded queue and one task that empties it.

``note`` never waits and never fails. What the next hop does not take is tried again a few times and
then dropped, as is what goes over a limit; both are logged and counted. What waits is on disk, too
(``waiting``), put there by the task and not by the message: after a crash it is told by the next
process, and what was just being sent may come twice.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import structlog

from mailward.errors import MailwardError, TemporaryError
from mailward.protect.events import Event
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.notify.limits import HourlyLimits
from mailward.protect.notify.notice import Notice, notices
from mailward.protect.notify.text import Texts
from mailward.protect.notify.waiting import WaitingNotices
from mailward.protect.policy import ForSome
from mailward.rules import Audience
from mailward.settings.notify import NotifySettings
from mailward.settings.protect import PolicySettings

log = structlog.get_logger(__name__)

Send = Callable[[Envelope, bytes], Awaitable[Mapping[str, str]]]
"""As ``protect.quarantine.Send``."""
Link = Callable[[str, str], str]
"""Quarantine id and recipient to where to ask for it; empty: nowhere."""

_WAITING_MAX = 1000
_ATTEMPTS_MAX = 4
_RETRY_S = 60.0
_DIGEST_ADDRESSES_MAX = 5000
_DIGEST_ENTRIES_MAX = 100
"""Of one reader; the others are counted."""
_STOP_WITHIN_S = 5.0


@dataclass(slots=True)
class _Waiting:
    to: str
    content: bytes
    about: str
    numbers: tuple[int, ...]
    """Of the notices in it."""
    attempts: int = 0
    not_before: float = 0.0


class Notifier:
    """``async with`` sends while it is open, and for some seconds what is left on leaving."""

    def __init__(
        self,
        settings: NotifySettings,
        from_address: str,
        send: Send,
        record: Callable[[Event], None],
        folder: Path,
        link: Link = lambda id_, recipient: "",
        retry_s: float = _RETRY_S,
    ) -> None:
        """``folder``: for what waits, also of other processes. ``retry_s``: before what was not
        taken is tried again, the first time.

        Raises ConfigError when a template cannot be used.
        """
        self._settings = settings
        self._texts = Texts(settings.templates, from_address)
        self._send = send
        self._record = record
        self._link = link
        self._retry_s = retry_s
        self._limits = HourlyLimits(settings.per_recipient_per_h, settings.per_h)
        self._queue: deque[_Waiting] = deque()
        self._digests: dict[str, dict[int, Notice]] = {}
        self._on_disk = WaitingNotices(folder)
        self._numbers = count()
        self._fresh: dict[int, Notice] = {}
        """Not on disk yet."""
        self._over: list[int] = []
        """To be forgotten there."""
        self._digest_due = 0.0
        self._dropped = 0
        self._left = 0
        """Not taken while this ends."""
        self._said_dropped = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Notifier":
        """Begin to send, with what was left by a process that was killed."""
        try:
            left = await asyncio.to_thread(self._on_disk.open)
        except OSError as e:
            log.error("notifications would not outlive this process", why=str(e))
            left = {}
        self._numbers = count(max(left, default=-1) + 1)
        for number, notice in left.items():
            self._take(number, notice)
        self._digest_due = time.monotonic() + self._settings.digest_h * 3600
        self._task = asyncio.create_task(self._run(), name="notifications")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is left, within some seconds."""
        self._flush_digests()
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_STOP_WITHIN_S)
            self._task.cancel()
        left = len(self._queue) + self._left
        if left:
            log.warning("notifications are left for the next start", count=left)
        await self._save()
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._on_disk.close)

    def note(
        self,
        decisions: Sequence[ForSome],
        held: Sequence[Held],
        mail: Mail,
        policy: PolicySettings,
    ) -> None:
        """A message was acted on: whoever a rule names is told."""
        try:
            now = datetime.now(UTC)
            for notice in notices(decisions, held, mail, policy, self._settings, now):
                number = next(self._numbers)
                self._fresh[number] = notice
                self._take(number, notice)
        except Exception as e:  # as in ``_take``
            log.error("notifications failed", exc_info=e)

    def _take(self, number: int, notice: Notice) -> None:
        try:
            self._sort_in(number, notice)
        except Exception as e:  # whatever a message holds, its answer has been given
            log.error("a notification failed", exc_info=e)
            self._forget((number,))

    def _sort_in(self, number: int, notice: Notice) -> None:
        digested = self._settings.digest_h > 0 and notice.held_as
        if digested and notice.audience is Audience.RECIPIENTS:
            known = self._digests.get(notice.to)
            if known is None and len(self._digests) >= _DIGEST_ADDRESSES_MAX:
                self._drop("too many readers", number)
                return
            self._digests.setdefault(notice.to, {})[number] = notice
            self._wake.set()
            return
        if not self._limits.take(notice.to, time.monotonic()):
            self._drop("notify.per_recipient_per_h or notify.per_h", number)
            return
        message = self._texts.message(notice, self._link_for(notice))
        self._put(_Waiting(notice.to, message, notice.held_as, (number,)))

    def _link_for(self, notice: Notice) -> str:
        if notice.audience is not Audience.RECIPIENTS or not notice.held_as:
            return ""
        return self._link(notice.held_as, notice.to)

    def _put(self, waiting: _Waiting) -> None:
        if len(self._queue) >= _WAITING_MAX:
            self._drop("too many wait to be sent", *waiting.numbers)
            return
        self._queue.append(waiting)
        self._wake.set()

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if self._fresh.pop(number, None) is None:
                self._over.append(number)

    async def _save(self) -> None:
        """What is new, and what is over, on disk."""
        fresh, self._fresh = self._fresh, {}
        over, self._over = self._over, []
        try:
            if over:
                await asyncio.to_thread(self._on_disk.forget, over)
            if fresh:
                await asyncio.to_thread(self._on_disk.keep, fresh)
        except OSError as e:
            log.error("notifications may not outlive this process", why=str(e))

    def _drop(self, why: str, *numbers: int) -> None:
        self._forget(numbers)
        self._dropped += 1
        if time.monotonic() - self._said_dropped > _RETRY_S or self._dropped == 1:
            self._said_dropped = time.monotonic()
            log.warning("notifications are not sent", because=why, so_far=self._dropped)

    async def _run(self) -> None:
        while not self._closing or self._queue:
            self._wake.clear()
            await self._save()
            now = time.monotonic()
            if self._settings.digest_h and now >= self._digest_due:
                self._digest_due = now + self._settings.digest_h * 3600
                self._flush_digests()
            ready = next((w for w in self._queue if w.not_before <= now or self._closing), None)
            if ready is not None:
                self._queue.remove(ready)
                await self._send_one(ready)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_s):
                    await self._wake.wait()

    def _flush_digests(self) -> None:
        for to, of_one in self._digests.items():
            if not self._limits.take(to, time.monotonic()):
                self._drop("notify.per_recipient_per_h or notify.per_h", *of_one)
                continue
            first = list(of_one.values())[:_DIGEST_ENTRIES_MAX]
            told = [(notice, self._link_for(notice)) for notice in first]
            more = len(of_one) - len(told)
            self._put(_Waiting(to, self._texts.digest(to, told, more), "", tuple(of_one)))
        self._digests = {}

    async def _send_one(self, waiting: _Waiting) -> None:
        try:
            # Nobody to bounce to, so that no bounce comes back (RFC 3834 section 3.3).
            refused = await self._send(Envelope("", (waiting.to,)), waiting.content)
        except (TemporaryError, OSError) as e:
            refused = {waiting.to: f"451 {e}"}
        except MailwardError as e:
            refused = {waiting.to: f"554 {e}"}
        answer = refused.get(waiting.to, "")
        waiting.attempts += 1
        if answer.startswith("4") and not self._closing and waiting.attempts < _ATTEMPTS_MAX:
            waiting.not_before = time.monotonic() + self._retry_s * waiting.attempts
            self._queue.append(waiting)
            return
        if answer.startswith("4") and self._closing:
            self._left += 1
            return
        self._forget(waiting.numbers)
        if answer:
            log.warning("a notification was not taken", about=waiting.about, answer=answer)
        self._record(
            Event(
                "notified",
                "notify",
                trace_id=waiting.about,
                recipients=(waiting.to,),
                answer=answer or "sent",
            )
        )
