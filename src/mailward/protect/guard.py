"""Keeps S14 at the doors: counts what is found, doubts what suddenly hits much of the mail."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from mailward.definitions.sets import StoredSet
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.protect.doubts import DoubtBook, Page
from mailward.protect.outbreak import FRESH_FOR, Doubt, Rates
from mailward.scan.pool import ALL_ENGINES
from mailward.scan.second_opinion import second_opinion
from mailward.scan.verdict import Verdict
from mailward.settings.scan import ScanSettings

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
"""Between looks at the file, which the administrator's commands change."""


class Guard:
    """One for all doors of a process. ``note`` never waits and never fails."""

    def __init__(
        self,
        book: DoubtBook,
        store: Store,
        settings: ScanSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        engines: str = ALL_ENGINES,
    ) -> None:
        self._book = book
        self._store = store
        self._settings = settings
        self._now = now
        self._engines = engines
        self._rates = Rates()
        self._page = Page()
        self._stamp = -1
        self._looked = 0.0
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._known: dict[str, str] = {}
        """Names that an older set finds as well, and the set in use when it was asked."""

    def note(self, verdict: Verdict, message: bytes | bytearray) -> frozenset[str]:
        """One more message. The names in it whose detections are to be held (S14)."""
        names = frozenset(risk.name for risk in verdict.risks)
        much = self._rates.note(names)
        if not names:
            return names
        self._look()
        for name in much:
            self._suspect(name, verdict.set, message)
        doubted = self._page.doubted(self._now()) | self._asking.keys()
        return frozenset(names & doubted)

    def doubted(self) -> frozenset[str]:
        """All names whose detections are held."""
        self._look()
        return self._page.doubted(self._now())

    async def settled(self) -> None:
        """Until no question is open."""
        while self._asking:
            await asyncio.gather(*self._asking.values())

    def _look(self) -> None:
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        try:
            stamp = self._book.stamp()
            if stamp != self._stamp:
                self._page, self._stamp = self._book.read(), stamp
        except (MailwardError, OSError) as e:
            log.error("the list of doubted signatures cannot be read", why=str(e))

    def _suspect(self, name: str, version: str, message: bytes | bytearray) -> None:
        """Doubted at once, before anything is asked: a refusal cannot be taken back."""
        if (
            name in self._asking
            or name in self._page.confirmed
            or name in self._page.doubts
            or self._known.get(name) == version
        ):
            return
        if not self._may_be_new():
            self._known[name] = version
            return
        hits, of = self._rates.share(name)
        doubt = Doubt(name, version, self._now(), hits, of)
        task = asyncio.create_task(self._ask(doubt, message))
        self._asking[name] = task
        task.add_done_callback(lambda _: self._asking.pop(name, None))

    def _may_be_new(self) -> bool:
        """Whether there is a fresh set, and one before it. One small file is read, seldom."""
        try:
            pointer = self._store.pointer()
        except (MailwardError, OSError):
            return True
        if pointer is None or pointer.activated_at is None or not pointer.before:
            return False
        return self._now() - pointer.activated_at < FRESH_FOR

    async def _ask(self, doubt: Doubt, message: bytes | bytearray) -> None:
        try:
            older = await asyncio.to_thread(self._older_set)
            if older is None or await self._finds(older, doubt.name, message):
                self._known[doubt.name] = doubt.set
                return
            await asyncio.to_thread(self._book.doubt, doubt)
            self._page = await asyncio.to_thread(self._book.read)
        except (MailwardError, OSError) as e:
            log.error("a doubted signature cannot be noted", signature=doubt.name, why=str(e))
            return
        log.error(
            "a signature hits much of the mail, and only new definitions have it: what it finds "
            "is held until it is judged",
            signature=doubt.name,
            set=doubt.set,
            hits=doubt.hits,
            of=doubt.of,
        )

    def _older_set(self) -> StoredSet | None:
        """What to compare with: the oldest set at hand; None if nothing here is new."""
        pointer = self._store.pointer()
        if pointer is None or pointer.activated_at is None:
            return None
        if self._now() - pointer.activated_at >= FRESH_FOR:
            return None
        older = (s for s in self._store.sets() if pointer.version and s.version < pointer.version)
        return min((s for s in older if s.defect() is None), key=lambda s: s.version, default=None)

    async def _finds(self, older: StoredSet, name: str, message: bytes | bytearray) -> bool:
        verdict = await second_opinion(older, self._settings, message, self._engines)
        return verdict is not None and any(risk.name == name for risk in verdict.risks)
