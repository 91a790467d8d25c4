"""What ``/metrics`` tells, in Prometheus' text format. ``docs/operations.md`` lists every metric.

Updates are counted from the store's history, so those that `mailward update` made count too; scans
from the pool. Both begin at zero when the service starts, as counters of Prometheus may.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.scan.pool import ScanPool
from mailward.settings.update import UpdateSettings
from mailward.update import freshness
from mailward.update.agent import enabled_channels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Gathered anew each time they are asked for; ``render`` blocks for milliseconds.

    ``alerts`` gives the alerts of the moment; ``messages`` how many were sent, and how many not;
    ``license_ends`` when the license of a channel ends or ended.
    """

    def __init__(
        self,
        settings: UpdateSettings,
        store: Store,
        pool: ScanPool | None,
        alerts: Callable[[], Mapping[str, str]],
        messages: Callable[[], tuple[int, int]],
        license_ends: Callable[[], Mapping[Channel, datetime]] = dict,
    ) -> None:
        self._settings = settings
        self._store = store
        self._pool = pool
        self._alerts = alerts
        self._messages = messages
        self._license_ends = license_ends
        self._updates = _Updates()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._follow()

    def render(self) -> bytes:
        """All of it, as text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        self._follow()
        yield from self._updates.collect()
        yield from self._of_definitions()
        yield from self._of_alerts()
        yield from self._of_licenses()
        yield from self._of_scans()

    def _follow(self) -> None:
        try:
            self._updates.follow(self._store.history(freshness.EVENTS_LOOKED_AT))
        except MailwardError:  # an alert says it already
            return

    def _of_definitions(self) -> Iterable[Metric]:
        success = GaugeMetricFamily(
            "mailward_update_last_success_timestamp_seconds",
            "when a check of the channel last succeeded",
            labels=["channel"],
        )
        info = GaugeMetricFamily(
            "mailward_active_set_info", "1 for the set in use", labels=["version", "channel"]
        )
        age = GaugeMetricFamily("mailward_active_set_age_seconds", "since the set was built")
        since = GaugeMetricFamily(
            "mailward_active_set_activated_timestamp_seconds", "when the set was activated"
        )
        try:
            active = self._store.active()
            events = self._store.history(freshness.EVENTS_LOOKED_AT)
        except MailwardError:
            active, events = None, []
        for channel in enabled_channels(self._settings):
            last = freshness.known(channel, events).last_success
            if last is not None:
                success.add_metric([channel.value], last.timestamp())
        if active is not None:
            info.add_metric([str(active.version), active.manifest.channel.value], 1)
            built = (datetime.now(UTC) - active.manifest.built_at).total_seconds()
            age.add_metric([], built)
            if active.activated_at is not None:
                since.add_metric([], active.activated_at.timestamp())
        return success, info, age, since

    def _of_alerts(self) -> Iterable[Metric]:
        raised = GaugeMetricFamily("mailward_alert", "1 for each alert", labels=["name"])
        for name in self._alerts():
            raised.add_metric([name], 1)
        told = CounterMetricFamily(
            "mailward_alert_messages", "messages to the administrator", labels=["result"]
        )
        for result, count in zip(("sent", "failed"), self._messages(), strict=True):
            told.add_metric([result], count)
        return raised, told

    def _of_licenses(self) -> Iterable[Metric]:
        ends = GaugeMetricFamily(
            "mailward_license_end_timestamp_seconds",
            "when the license of a channel ends or ended",
            labels=["channel"],
        )
        for channel, moment in self._license_ends().items():
            ends.add_metric([channel.value], moment.timestamp())
        return (ends,)

    def _of_scans(self) -> Iterable[Metric]:
        scans = CounterMetricFamily("mailward_scans", "messages scanned", labels=["verdict"])
        lost = CounterMetricFamily("mailward_workers_lost", "workers that ended or had to be")
        workers = GaugeMetricFamily(
            "mailward_workers", "workers by the set that they scan with", labels=["set"]
        )
        if self._pool is not None:
            for verdict, count in list(self._pool.verdicts.items()):
                scans.add_metric([verdict], count)
            lost.add_metric([], self._pool.workers_lost)
            for version, count in self._pool.sets().items():
                workers.add_metric([version], count)
        return scans, lost, workers


class _Updates:
    """Counts what comes into the history."""

    def __init__(self) -> None:
        self._last: Event | None = None
        self._began = False
        self._results = Counter[tuple[str, str]]()
        self._bytes: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._watch = Counter[str]()

    def follow(self, events: list[Event]) -> None:
        """``events``: the history's end."""
        if self._began:
            for event in self._new(events):
                self._count(event)
        self._began = True
        self._last = events[-1] if events else self._last

    def collect(self) -> Iterable[Metric]:
        """As Prometheus wants it."""
        updates = CounterMetricFamily(
            "mailward_updates", "checks of a channel", labels=["channel", "result"]
        )
        for (channel, result), count in self._results.items():
            updates.add_metric([channel, result], count)
        received = CounterMetricFamily(
            "mailward_update_bytes", "bytes received by checks and downloads", labels=["channel"]
        )
        for channel, came in self._bytes.items():
            received.add_metric([channel], came)
        seconds = CounterMetricFamily(
            "mailward_update_seconds", "time that checks and downloads took", labels=["channel"]
        )
        for channel, spent in self._seconds.items():
            seconds.add_metric([channel], spent)
        watched = CounterMetricFamily(
            "mailward_watch_verdicts", "judgements on fresh sets", labels=["verdict"]
        )
        for verdict, count in self._watch.items():
            watched.add_metric([verdict], count)
        return updates, received, seconds, watched

    def _new(self, events: list[Event]) -> list[Event]:
        if self._last is None:
            return events
        for index in range(len(events) - 1, -1, -1):
            if events[index] == self._last:
                return events[index + 1 :]
        return events

    def _count(self, event: Event) -> None:
        details = event.details
        if event.event in ("checked", "failed"):
            channel = str(details.get("channel", ""))
            result = str(details.get("result", "failed")).replace(" ", "_")
            self._results[channel, result] += 1
            received, ms = _number(details.get("bytes")), _number(details.get("ms"))
            self._bytes[channel] = self._bytes.get(channel, 0) + received
            self._seconds[channel] = self._seconds.get(channel, 0) + ms / 1000
        elif event.event == "watched":
            self._watch["good"] += 1
        elif event.event == "misbehaves":
            self._watch["bad_stays"] += 1
        elif event.event == "rolled-back" and details.get("by") == "watch":
            self._watch["bad_left"] += 1


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0
