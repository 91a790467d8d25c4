"""After activation: is the set behaving? If not, back to the one before, by itself (S5 to S7).

``judge`` is the judgement, counters in and a word out; ``Watch`` follows the store's pointer, asks
the pool for the counters and acts. A set is compared with the one before it in three ways: messages
that cost it workers are tried with the set before (the pool does that while it is told to), workers
that end by themselves are counted against messages, and the processor time of messages is compared
class of size by class of size.

Why it is done like this, and what an attacker can make of it: ``docs/decisions/watch.md``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog

from mailward.definitions.history import Event
from mailward.definitions.model import Version
from mailward.definitions.pointer import Pointer
from mailward.definitions.store import Store, StoredSet
from mailward.errors import BusyError, MailwardError, StoreError
from mailward.scan.counts import CLASSES, SetCounts
from mailward.scan.pool import ScanPool
from mailward.settings.update import UpdateSettings

log = structlog.get_logger(__name__)

BLAMED_MIN = 3
"""Messages that only the new set cannot scan: one may be an odd message, three are a defect."""
SHARE_MIN = 0.01
"""Of all messages: below it they are unscannable, and everything else is worth the update."""
CHANCE_MIN = 5
"""Workers that ended for no message's sake."""
WORSE_TIMES = 3.0
"""Than before: rates of lost workers, and processor time (as in the trial)."""
NEGLIGIBLE_MS = 5.0
"""Of processor time a message: below it no ratio matters (as in the trial)."""
PACE_MIN = 100
"""Messages before and after, of classes of size that have both: fewer are noise."""
CLASS_MIN = 20
"""Of one class of size."""
KNOWN_MIN = 100
"""Messages scanned with the set before: fewer tell no rate."""
ENOUGH = 200
"""Messages: with fewer a quiet server's watch goes on, for ``WATCH_MAX`` at most."""
WATCH_MAX = timedelta(hours=24)
LEFT_MAX = 2
"""Sets that may be left within ``LEFT_WITHIN`` because of what messages did: whoever sends mail
must not be able to hold definitions back for ever."""
LEFT_WITHIN = timedelta(days=7)

_LOOK_S = 2.0
_EVENTS_LOOKED_AT = 1000


class Standing(StrEnum):
    """What is thought of a set."""

    WATCHED = "watched"
    """Nothing against it yet; it is too early to say more."""
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of a set, and why."""

    standing: Standing
    reason: str
    by_messages: bool = False
    """Whether those who send mail could have brought it about."""


def judge(
    after: SetCounts, before: SetCounts, elapsed: timedelta, watch_for: timedelta
) -> Judgement:
    """Whether a set behaves. ``before``: the counts of the set before it.

    ``elapsed``: since its activation; it is watched for ``watch_for`` at least.
    """
    if after.load_failures:
        return Judgement(
            Standing.BAD, f"workers could not load it ({after.load_error})", by_messages=False
        )
    reason = _cannot_scan(after, before) or _loses_workers(after, before) or _slower(after, before)
    if reason is not None:
        return Judgement(Standing.BAD, reason, by_messages=True)
    reason = f"{after.messages} messages in {elapsed.total_seconds() / 60:.0f} min, nothing unusual"
    over = elapsed >= watch_for and (after.messages >= ENOUGH or elapsed >= WATCH_MAX)
    return Judgement(Standing.GOOD if over else Standing.WATCHED, reason)


def _cannot_scan(after: SetCounts, before: SetCounts) -> str | None:
    asked = after.messages + after.blamed
    # A computer out of breath loses workers to the time limit whatever the set.
    usual = before.by_chance / before.messages if before.messages >= KNOWN_MIN else 0.0
    if after.blamed < BLAMED_MIN or after.blamed < max(SHARE_MIN, WORSE_TIMES * usual) * asked:
        return None
    return (
        f"{after.blamed} of {asked} messages cost it their workers ({after.blamed_late} took too "
        "long, the others crashed), and the set before could scan them"
    )


def _loses_workers(after: SetCounts, before: SetCounts) -> str | None:
    if before.messages < KNOWN_MIN or after.by_chance < CHANCE_MIN:
        return None
    rate, rate_before = after.by_chance / max(after.messages, 1), before.by_chance / before.messages
    if rate < max(SHARE_MIN, WORSE_TIMES * rate_before):
        return None
    return (
        f"{after.by_chance} workers ended in {after.messages} messages; with the set before it "
        f"were {before.by_chance} in {before.messages}"
    )


def _slower(after: SetCounts, before: SetCounts) -> str | None:
    compared, ms, ms_before = 0, 0.0, 0.0
    for size in CLASSES:
        count = min(after.pace.messages(size), before.pace.messages(size))
        if count >= CLASS_MIN:
            compared += count
            ms += count * after.pace.median_ms(size)
            ms_before += count * before.pace.median_ms(size)
    if compared < PACE_MIN or ms <= NEGLIGIBLE_MS * compared or ms < WORSE_TIMES * ms_before:
        return None
    return (
        f"messages take {ms / compared:.1f} ms of processor time, {ms_before / compared:.1f} ms "
        f"with the set before; up to {WORSE_TIMES:g} times as much is allowed"
    )


def must_stay(
    judgement: Judgement, *, chosen: str, before: Version | None, left: Sequence[Event]
) -> str | None:
    """Why a set that is judged bad is not left all the same; None if it is.

    ``chosen``: why it is not for the watch to leave it, if so. ``left``: what was left before
    because of what messages did, within ``LEFT_WITHIN``.
    """
    if before is None:
        return "there is no set to go back to"
    if chosen:
        return chosen
    if judgement.by_messages and len(left) >= LEFT_MAX:
        return (
            f"{len(left)} sets were left within {LEFT_WITHIN.days} days already, and somebody may "
            "be sending such messages to hold definitions back"
        )
    return None


@dataclass(frozen=True, slots=True)
class _Watched:
    """The set under watch."""

    version: Version
    before: StoredSet | None
    began: float
    """Of its activation, on the monotonic clock."""
    chosen: str
    """Why it is not for the watch to leave it; empty if it is."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What is to be written into the store as soon as it can be."""

    version: Version
    judgement: Judgement
    leave: bool
    stays_because: str = ""


class Watch:
    """Watches what the pool scans with. ``run`` never ends by itself."""

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        pool: ScanPool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._watch_for = timedelta(minutes=settings.watch_min)
        self._store = store
        self._pool = pool
        self._now = now
        self._monotonic = monotonic
        self._sleep = sleep
        self._seen: tuple[Version | None, datetime | None] = (None, None)
        self._watched: _Watched | None = None
        self._word: _Word | None = None
        self._trouble = ""

    async def run(self) -> None:
        """Look, again and again."""
        while True:
            await self.look()
            await self._sleep(_LOOK_S)

    async def look(self) -> None:
        """One round. What cannot be done now, because the store is busy, is done in a later one."""
        try:
            if self._word is not None:
                await asyncio.to_thread(self._write, self._word)
                self._word = None
            await self._follow()
            if self._watched is not None:
                await self._judge(self._watched)
            self._trouble = ""
        except (MailwardError, OSError) as e:
            if str(e) != self._trouble and not isinstance(e, BusyError):
                log.error("the watch over the active set is hindered", why=str(e))
            self._trouble = str(e)

    async def _follow(self) -> None:
        pointer = await asyncio.to_thread(self._store.pointer)
        if pointer is None or (pointer.version, pointer.activated_at) == self._seen:
            return
        self._watched = await asyncio.to_thread(self._begin, pointer)
        self._seen = (pointer.version, pointer.activated_at)

    def _begin(self, pointer: Pointer) -> _Watched | None:
        """Also after a restart: the pointer and the history tell how far the watch had come."""
        if pointer.version is None or pointer.activated_at is None:
            return None
        elapsed = max(timedelta(0), self._now() - pointer.activated_at)
        chosen = _chosen(pointer.version, self._store.history(_EVENTS_LOOKED_AT))
        if elapsed > WATCH_MAX or chosen is None:
            return None
        return _Watched(
            version=pointer.version,
            before=next(iter(self._store.whole_before()), None),
            began=self._monotonic() - elapsed.total_seconds(),
            chosen=chosen,
        )

    async def _judge(self, watched: _Watched) -> None:
        self._pool.compare_with(watched.before)
        before = self._pool.counts(str(watched.before.version)) if watched.before else SetCounts()
        after = self._pool.counts(str(watched.version))
        elapsed = timedelta(seconds=self._monotonic() - watched.began)
        judgement = judge(after, before, elapsed, self._watch_for)
        if judgement.standing is Standing.WATCHED:
            return
        stays = ""
        if judgement.standing is Standing.BAD:
            left = await asyncio.to_thread(self._left_lately)
            stays = (
                must_stay(
                    judgement,
                    chosen=watched.chosen,
                    before=watched.before.version if watched.before else None,
                    left=left,
                )
                or ""
            )
        leave = judgement.standing is Standing.BAD and not stays
        self._watched = None
        self._word = _Word(watched.version, judgement, leave, stays)
        self._pool.compare_with(None)
        if leave and watched.before is not None:
            log.error(
                "the active set misbehaves and is left",
                set=str(watched.version),
                back_to=str(watched.before.version),
                why=judgement.reason,
            )
            self._pool.leave(str(watched.version), watched.before)  # S5: at once
        elif stays:
            log.error(
                "the active set misbehaves and stays in use",
                set=str(watched.version),
                why=judgement.reason,
                stays_because=stays,
            )
        await asyncio.to_thread(self._write, self._word)
        self._word = None

    def _left_lately(self) -> list[Event]:
        now = self._now()
        return [
            event
            for event in self._store.history()
            if event.event == "rolled-back"
            and event.details.get("by") == "watch"
            and event.details.get("by_messages")
            and abs(now - event.at) < LEFT_WITHIN
        ]

    def _write(self, word: _Word) -> None:
        """Raises BusyError while somebody else writes, StoreError; then it is tried again."""
        reason = f"misbehaved after its activation: {word.judgement.reason}"
        with self._store.writer("watch") as writer:
            if word.judgement.standing is Standing.GOOD:
                writer.note("watched", version=word.version, reason=word.judgement.reason)
                return
            if not word.leave:
                because = f"{reason}; stays in use: {word.stays_because}"
                writer.note("misbehaves", version=word.version, reason=because)
                return
            pointer = self._store.pointer()
            if pointer is None or pointer.version != word.version:
                writer.refuse(word.version, reason)  # another one took its place meanwhile
                return
            try:
                writer.rollback(None, reason, by="watch", by_messages=word.judgement.by_messages)
            except StoreError:
                writer.note("misbehaves", version=word.version, reason=reason)
                raise


def _chosen(version: Version, events: Sequence[Event]) -> str | None:
    """Why the watch does not leave this set; empty if it may; None if it was judged already."""
    for event in reversed(events):
        if event.version != version:
            continue
        if event.event in ("watched", "misbehaves"):
            return None
        if event.event == "rolled-back":
            return "it is the one that was gone back to"
        if event.event == "activated":
            by_hand = event.details.get("by") == "administrator"
            return "the administrator has chosen it" if by_hand else ""
    return ""
