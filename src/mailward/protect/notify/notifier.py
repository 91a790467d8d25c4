"""Sends notifications, off the path of the mail: a bounded queue and one task that empties it.

``note`` never waits and never fails. What the next hop does not take is tried again a few times and
then dropped, as is what goes over a limit; both are logged and counted. Nothing here lasts over a
restart: the quarantine does, and it is what a notification is about.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from mailward.errors import MailwardError, TemporaryError
from mailward.protect.events import Event
from mailward.protect.held import Envelope, Held
from mailward.protect.mail import Mail
from mailward.protect.notify.limits import HourlyLimits
from mailward.protect.notify.notice import Notice, notices
from mailward.protect.notify.text import Texts
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
        link: Link = lambda id_, recipient: "",
        retry_s: float = _RETRY_S,
    ) -> None:
        """``retry_s``: before what was not taken is tried again, the first time.

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
        self._digests: dict[str, list[Notice]] = {}
        self._digest_due = 0.0
        self._dropped = 0
        self._said_dropped = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Notifier":
        """Begin to send."""
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
        if self._queue:
            log.warning("notifications were not sent", count=len(self._queue))

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
                self._take(notice)
        except Exception as e:  # whatever a message holds, its answer has been given
            log.error("a notification failed", exc_info=e)

    def _take(self, notice: Notice) -> None:
        digested = self._settings.digest_h > 0 and notice.held_as
        if digested and notice.audience is Audience.RECIPIENTS:
            known = self._digests.get(notice.to)
            if known is None and len(self._digests) >= _DIGEST_ADDRESSES_MAX:
                self._drop("too many readers")
                return
            self._digests.setdefault(notice.to, []).append(notice)
            return
        if not self._limits.take(notice.to, time.monotonic()):
            self._drop("notify.per_recipient_per_h or notify.per_h")
            return
        link = self._link_for(notice)
        self._put(_Waiting(notice.to, self._texts.message(notice, link), notice.held_as))

    def _link_for(self, notice: Notice) -> str:
        if notice.audience is not Audience.RECIPIENTS or not notice.held_as:
            return ""
        return self._link(notice.held_as, notice.to)

    def _put(self, waiting: _Waiting) -> None:
        if len(self._queue) >= _WAITING_MAX:
            self._drop("too many wait to be sent")
            return
        self._queue.append(waiting)
        self._wake.set()

    def _drop(self, why: str) -> None:
        self._dropped += 1
        if time.monotonic() - self._said_dropped > _RETRY_S or self._dropped == 1:
            self._said_dropped = time.monotonic()
            log.warning("notifications are not sent", because=why, so_far=self._dropped)

    async def _run(self) -> None:
        while not self._closing or self._queue:
            now = time.monotonic()
            if self._settings.digest_h and now >= self._digest_due:
                self._digest_due = now + self._settings.digest_h * 3600
                self._flush_digests()
            ready = next((w for w in self._queue if w.not_before <= now or self._closing), None)
            if ready is not None:
                self._queue.remove(ready)
                await self._send_one(ready)
                continue
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._retry_s):
                    await self._wake.wait()

    def _flush_digests(self) -> None:
        for to, of_one in self._digests.items():
            if not self._limits.take(to, time.monotonic()):
                self._drop("notify.per_recipient_per_h or notify.per_h")
                continue
            told = [(notice, self._link_for(notice)) for notice in of_one[:_DIGEST_ENTRIES_MAX]]
            more = len(of_one) - len(told)
            self._put(_Waiting(to, self._texts.digest(to, told, more), ""))
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
