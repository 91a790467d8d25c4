"""The unattended publisher: feeds in, tested sets out in both channels, signatures kept fresh.

``Watch.tick`` decides what is due, and starts it in a thread of its own: reading feeds, the
stringent tests and the upkeep never wait for each other, and none of them ends the loop. What
fails is noted in ``watch.json``, logged, and told to the publisher.

Spans (every 15 minutes) are counted on the monotonic clock: a clock on the wall that jumps must not
stop the timestamps for as long as it jumped. Only `certified` follows the clock on the wall.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from mailward.definitions.model import Channel, Level, Version
from mailward.errors import ConfigError, MailwardError, TemporaryError
from mailward.publish import candidates, history, notify, publisher_config, schedule
from mailward.publish.build import build
from mailward.publish.feeds import remembered
from mailward.publish.feeds.spec import STARTER
from mailward.publish.gates.base import Limits
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.publish.passphrases import Secrets
from mailward.publish.pruning import prune
from mailward.publish.publisher_config import PublisherConfig
from mailward.publish.quality import Checked, Means, check_excluding
from mailward.publish.repository import Publisher
from mailward.publish.watch_state import Ledger
from mailward.publish.watching import Lookout

log = structlog.get_logger(__name__)

POLL_S = 1.0
"""Between two looks at local feeds: a change is acted on after two to three of them."""

REFRESH_AFTER = timedelta(hours=1)
"""The timestamp's age; it holds for a day."""

_PRUNE_EVERY_S = 3600.0
_UPKEEP_EVERY_S = 60.0
_AGAIN_AFTER_S = 60.0
"""After what may pass by itself: a server that does not answer, a lock that is held."""

_STOP_WITHIN_S = 20.0
"""For what is under way when it is told to stop; killing it is safe at any instant."""

_TEXT_MAX = 3000


@dataclass(frozen=True, slots=True)
class _Plan:
    """The configuration, read."""

    config: PublisherConfig
    rapid_every_s: float
    certified: schedule.Calendar


class Watch:
    """One publisher's folder, looked after until it is told to stop."""

    def __init__(
        self,
        home: Home,
        secrets: Secrets | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
    ) -> None:
        self._home = home
        self._secrets = secrets or Secrets()
        self._now = now
        self._monotonic = monotonic
        self._poll_s = poll_s
        self._ledger = Ledger(home, now)
        self._lookout = Lookout(poll_s)
        self._threads: dict[str, threading.Thread] = {}
        self._plan = self._read_plan()
        self._plan_at = self._config_mtime()
        self._rapid_at = self._upkeep_at = self._prune_at = monotonic()
        self._certified_at = self._plan.certified.next_after(self._ledger.last_certified())
        self._wall = self._now()

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set. Raises ConfigError, PublishError for what it cannot begin with."""
        log.info("watch begins", folder=str(self._home.folder))
        while not stop.is_set():
            self.tick()
            stop.wait(self._poll_s)
        self.finish(_STOP_WITHIN_S)
        self._ledger.stopped()
        log.info("watch ends")

    def tick(self) -> None:
        """Start whatever is due."""
        self._take_new_plan()
        self._mind_the_wall()
        at = self._monotonic()
        if self._is_free("upkeep") and at >= self._upkeep_at:
            self._upkeep_at = at + _UPKEEP_EVERY_S
            self._start("upkeep", self._upkeep)
        changed = self._lookout.has_changed(self._places(), at)
        if changed:
            self._rapid_at = at
        if self._is_free("rapid") and at >= self._rapid_at:
            self._rapid_at = at + self._plan.rapid_every_s
            self._start("rapid", self._rapid)
        if self._is_free("certified") and self._wall >= self._certified_at:
            self._certified_at = self._plan.certified.next_after(self._wall)
            self._start("certified", self._certified)

    def finish(self, timeout_s: float) -> None:
        """Wait for what is under way."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- what is done ---------------------------------------------------------------------------

    def _rapid(self) -> None:
        self._do("rapid", self._publish_rapid)

    def _certified(self) -> None:
        self._do("certified", self._promote)

    def _upkeep(self) -> None:
        self._do("refresh", self._refresh)
        if self._monotonic() >= self._prune_at:
            self._prune_at = self._monotonic() + _PRUNE_EVERY_S
            self._do("prune", self._prune)

    def _publish_rapid(self) -> str:
        """Read the feeds; publish what they give if it is new and passes the basic tests."""
        config = self._plan.config
        if not config.feeds:
            raise ConfigError(f"{self._home.folder / publisher_config.FILE_NAME} names no feed")
        built = build(
            self._home, remembered(self._home, config.feed_specs, config.fetching), self._now()
        )
        self._tell_of_kept({feed.name: feed.kept for feed in built.feeds if feed.kept})
        signed = Signed.load(self._home)
        if history.current(self._home, signed, Channel.RAPID).version == built.version:
            return f"{built.version} is offered, nothing new"
        reason = history.withdrawn(self._home, signed, built.version)
        if reason:
            return f"{built.version} was withdrawn ({reason}), nothing new since"
        checked = self._checked(built.version, Level.BASIC, _means(config))
        offer = self._publisher().publish(
            checked.version,
            rollout_hours=config.channels.rapid.rollout_hours or None,
            license_required=config.channels.rapid.license_required,
        )
        return f"{offer.version} is published{_excluding(checked)}"

    def _promote(self) -> str:
        """Take what rapid offers through the stringent tests."""
        config = self._plan.config
        signed = Signed.load(self._home)
        version = history.current(self._home, signed, Channel.RAPID).version
        if version is None:
            return "rapid offers nothing to promote"
        if history.current(self._home, signed, Channel.CERTIFIED).version == version:
            return f"{version} is certified, nothing new"
        checked = self._checked(version, Level.STRINGENT, _means(config))
        offer = self._publisher().promote(
            checked.version,
            rollout_hours=config.channels.certified.rollout_hours or None,
            license_required=config.channels.certified.license_required,
        )
        return f"{offer.version} is certified{_excluding(checked)}"

    def _checked(self, version: Version, level: Level, means: Means) -> Checked:
        report = candidates.report(self._home, version, level)
        if report is not None and report.passed:
            return Checked(version, report)
        return check_excluding(self._home, version, level, means, now=self._now())

    def _refresh(self) -> str:
        publisher = self._publisher()
        if not publisher.is_refresh_due(REFRESH_AFTER):
            return "nothing is due"
        return f"the timestamp holds until {publisher.refresh_timestamp():%Y-%m-%d %H:%M} UTC"

    def _prune(self) -> str:
        done = prune(self._home, self._now())
        return f"{done.files} files with {done.bytes} bytes removed, {done.waiting} soon"

    def _tell_of_kept(self, kept: dict[str, str]) -> None:
        """Feeds that were refused, with their last good content in use."""
        said = "; ".join(f"feed {name}: {why}" for name, why in sorted(kept.items()))
        result = said or "all feeds gave what they should"
        self._note("feeds", not kept, result, 0.0)

    def _publisher(self) -> Publisher:
        return Publisher(
            self._home.folder,
            now=self._now,
            secrets=self._secrets,
            more_keys=self._plan.config.keys,
        )

    # --- how it is done -------------------------------------------------------------------------

    def _is_free(self, lane: str) -> bool:
        thread = self._threads.get(lane)
        return thread is None or not thread.is_alive()

    def _start(self, lane: str, work: Callable[[], None]) -> None:
        # Daemons: who tells the process to stop does not wait for an hour of tests.
        thread = threading.Thread(target=work, name=f"watch-{lane}", daemon=True)
        self._threads[lane] = thread
        thread.start()

    def _do(self, job: str, work: Callable[[], str]) -> None:
        """One job: whatever comes of it is noted, and nothing ends the loop."""
        began = time.monotonic()
        try:
            result, good = work(), True
        except (MailwardError, OSError) as e:
            result, good = str(e), False
            if job == "rapid" and isinstance(e, TemporaryError):
                self._rapid_at = min(self._rapid_at, self._monotonic() + _AGAIN_AFTER_S)
        except Exception as e:  # a defect in one job must not stop the timestamps
            log.exception("defect in a job", job=job)
            result, good = f"defect, see the log: {type(e).__name__}: {e}", False
        self._note(job, good, result, time.monotonic() - began)

    def _note(self, job: str, good: bool, result: str, took_s: float) -> None:
        turned = self._ledger.note(job, good, result[:_TEXT_MAX], took_s)
        if good:
            log.info("watch job done", job=job, result=result, seconds=round(took_s, 1))
        else:
            log.error("watch job failed", job=job, reason=result, seconds=round(took_s, 1))
        if turned:
            notify.tell(self._plan.config.notify_command, job, good, result)

    # --- when it is done ------------------------------------------------------------------------

    def _read_plan(self) -> _Plan:
        config = publisher_config.find(self._home.folder)
        times = config.schedule
        return _Plan(
            config,
            schedule.span(times.rapid_every, "schedule.rapid_every").total_seconds(),
            schedule.calendar(times.certified, "schedule.certified"),
        )

    def _config_mtime(self) -> int:
        try:
            return (self._home.folder / publisher_config.FILE_NAME).stat().st_mtime_ns
        except OSError:
            return 0

    def _take_new_plan(self) -> None:
        """A changed configuration counts from the next tick; one that is wrong, not at all."""
        mtime = self._config_mtime()
        if mtime == self._plan_at:
            return
        self._plan_at = mtime
        try:
            self._plan = self._read_plan()
        except ConfigError as e:
            self._note("configuration", False, f"{e}: going on with the one before", 0.0)
            return
        self._note("configuration", True, "read", 0.0)
        self._rapid_at = self._monotonic()
        self._certified_at = self._plan.certified.next_after(self._now())

    def _mind_the_wall(self) -> None:
        """The clock on the wall may be set back: what was next is then too far away."""
        now = self._now()
        if now < self._wall:
            self._certified_at = min(self._certified_at, self._plan.certified.next_after(now))
        self._wall = now

    def _places(self) -> tuple[Path, ...]:
        specs = self._plan.config.feed_specs
        local = [Path(s.place) for s in specs if s.kind != STARTER and not s.is_address]
        return (*local, self._home.excluded)


def _means(config: PublisherConfig) -> Means:
    gates = config.gates
    return Means(
        known_good=gates.known_good,
        known_bad=gates.known_bad,
        limits=Limits(
            gates.min_share, gates.max_share, gates.max_time_ratio, gates.max_memory_ratio
        ),
    )


def _excluding(checked: Checked) -> str:
    if not checked.excluded:
        return ""
    return f", without {', '.join(checked.excluded[:10])}, which hit known-good files"
