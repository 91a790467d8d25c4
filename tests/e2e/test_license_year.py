"""A year, day by day: what came, what did not, and the alerts that went out."""

from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from mailward.alerts import Reminders
from mailward.definitions.model import Channel
from mailward.definitions.store import Store
from mailward.publish import licensing
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.settings.update import (
    CertifiedSettings,
    ChannelSettings,
    StoreSettings,
    UpdateSettings,
)
from mailward.update import alarms
from mailward.update.agent import Agent, Result
from mailward.update.licenses import Licenses

START = datetime(2027, 1, 1, 6, 0, tzinfo=UTC)
RAPID = [Channel.RAPID]

_NEW_SET_ON = (0, 60, 120, 190, 200, 300)


class Year:
    """A publisher and a computer whose only clock is the day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.today = START
        self.publisher = Publisher(folder / "publisher", now=lambda: self.today)
        root = self.publisher.init()
        licensing.init(self.publisher, "Example Ltd", "definitions")
        self.licenses = Licenses(folder / "license", folder / "update")
        self.reminders = Reminders(timedelta(hours=6))
        self.settings = UpdateSettings(
            repository=self.publisher.home.public.as_uri(),
            root=root,
            certified=CertifiedSettings(enabled=False),
            rapid=ChannelSettings(enabled=True),
        )
        store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
        self.agent = Agent(self.settings, store, folder / "update")
        self.alerts: list[str] = []
        self.results: list[tuple[int, Result]] = []

    def publish(self, day: int) -> None:
        (self.folder / "list.txt").write_text(f"{day:064x}\n")
        specs = parse_specs([f"hashes={self.folder / 'list.txt'}"])
        version = build(self.publisher.home, specs, self.today).version
        self.publisher.publish(version, forced="a test", license_required=True)

    def buy(self, name: str, first_day: int, last_day: int) -> None:
        since, until = START + timedelta(days=first_day), START + timedelta(days=last_day)
        order = Order("Example Hospital", until.date(), since=since.date(), id=name)
        ((_, token),) = licensing.issue_all(self.publisher, [order], self.today)
        file = self.folder / f"{name}.mwlic"
        file.write_text(token)
        known, _ = self.agent.known_of_licenses(RAPID)
        self.licenses.install(file, RAPID, known, self.today)

    def live(self, day: int) -> None:
        """The publisher signs, the agent looks; the service speaks four times."""
        self.today = START + timedelta(days=day)
        self.publisher.refresh_timestamp()
        if day in _NEW_SET_ON:
            self.publish(day)
        self.results.append((day, self.agent.refresh(Channel.RAPID).result))
        for hours in (0, 1, 7, 13):
            now = self.today + timedelta(hours=hours)
            wrong = alarms.of_licenses(self.settings, self.licenses, now)
            occasions = alarms.license_occasions(self.settings, self.licenses, now)
            due, over = self.reminders.due(wrong, now, occasions)
            state = self.licenses.entitlement(Channel.RAPID, now).state
            self.alerts += [f"day {day}: {state}" for _ in due] + [f"day {day}: over" for _ in over]


@pytest.mark.timeout(240)
def test_a_year_with_an_expiry_a_late_renewal_and_one_in_time(tmp_path: Path) -> None:
    year = Year(tmp_path)
    for day in range(365):
        if day == 1:
            year.buy("first", first_day=0, last_day=179)  # ends when day 180 begins
        if day == 205:
            year.buy("late", first_day=205, last_day=324)
        if day == 290:
            year.buy("in-time", first_day=325, last_day=700)
        year.live(day)
    # 60, 30, 14, 7, 3, 2 and 1 days before the end (warned at 06:00: 18 hours of a day are left).
    assert year.alerts == [
        "day 0: missing",
        "day 1: over",
        *(f"day {180 - days}: expiring" for days in (60, 30, 14, 7, 3, 2, 1)),
        *(f"day {day}: grace" for day in range(180, 194)),
        *(f"day {day}: expired" for day in range(194, 205)),
        "day 205: over",
        "day 265: expiring",
        "day 290: over",
    ]
    runs = [
        (result, [day for day, _ in days]) for result, days in groupby(year.results, lambda r: r[1])
    ]
    told = [(result, days[0], days[-1]) for result, days in runs]
    assert told == [
        (Result.UNLICENSED, 0, 0),
        (Result.ACTIVATED, 1, 1),
        (Result.UP_TO_DATE, 2, 59),
        (Result.ACTIVATED, 60, 60),
        (Result.UP_TO_DATE, 61, 119),
        (Result.ACTIVATED, 120, 120),
        (Result.UP_TO_DATE, 121, 189),
        (Result.ACTIVATED, 190, 190),  # in grace
        (Result.UP_TO_DATE, 191, 199),
        (Result.UNLICENSED, 200, 204),  # what is known, and not fetched
        (Result.ACTIVATED, 205, 205),
        (Result.UP_TO_DATE, 206, 299),
        (Result.ACTIVATED, 300, 300),
        (Result.UP_TO_DATE, 301, 364),
    ]
