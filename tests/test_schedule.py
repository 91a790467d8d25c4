"""When something is due: what administrators write, summer time, fleets, and missed times."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailward.errors import ConfigError
from mailward.schedule import SPREAD, next_run, parse, zone

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [ZoneInfo(n) for n in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC")]
TEXTS = [
    "hourly",
    "daily",
    "weekly",
    "every 15 min",
    "every 2 hours",
    "daily at 03:30",
    "daily at 02:30",
    "mon, thu at 12:00",
    "*/20 * * * *",
    "5 2 * * *",
    "0 4 * * 0",
]
moments = st.timedeltas(timedelta(0), timedelta(days=730)).map(
    lambda span: datetime(2026, 1, 1, tzinfo=UTC) + span
)
near_clock_changes = st.builds(
    lambda day, offset: day + offset,
    st.sampled_from([datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]),
    st.timedeltas(timedelta(hours=-30), timedelta(hours=30)),
)
shares = st.floats(0, 1, exclude_max=True)


def runs(text: str, start: datetime, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    schedule, found = parse(text), []
    for _ in range(count):
        start = schedule.next_after(start, 0.0, zone)
        found.append(start.astimezone(zone).strftime("%d %H:%M %Z"))
    return found


@given(st.sampled_from(TEXTS), moments | near_clock_changes, shares, st.sampled_from(ZONES))
def test_the_next_time_is_always_later_and_nothing_lies_between(
    text: str, moment: datetime, share: float, zone: ZoneInfo
) -> None:
    schedule = parse(text)
    due = schedule.next_after(moment, share, zone)
    assert due > moment
    assert due.tzinfo is UTC
    between = moment + (due - moment) * 0.9
    assert abs(schedule.next_after(between, share, zone) - due) < timedelta(microseconds=10)


@given(near_clock_changes, shares)
def test_a_daily_time_comes_once_a_day_whatever_the_clock_does(
    moment: datetime, share: float
) -> None:
    schedule, days = parse("daily at 02:30"), []
    for _ in range(4):
        moment = schedule.next_after(moment, share, BERLIN)
        days.append((moment - SPREAD * share).astimezone(BERLIN).date())
    assert [b - a for a, b in pairwise(days)] == [timedelta(days=1)] * 3


@given(near_clock_changes, shares)
def test_every_quarter_of_an_hour_is_one_also_when_an_hour_repeats_itself(
    moment: datetime, share: float
) -> None:
    for text in ("*/15 * * * *", "every 15 min"):
        first = parse(text).next_after(moment, share, BERLIN)
        second = parse(text).next_after(first, share, BERLIN)
        assert abs(second - first - timedelta(minutes=15)) < timedelta(microseconds=10)


def test_a_time_that_does_not_exist_comes_an_hour_later() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    wanted = ["29 03:30 CEST", "30 02:30 CEST"]
    assert runs("daily at 02:30", before, 2) == runs("30 2 * * *", before, 2) == wanted


def test_a_time_that_comes_twice_counts_once() -> None:
    before = datetime(2026, 10, 24, 12, tzinfo=UTC)
    wanted = ["25 02:30 CEST", "26 02:30 CET"]
    assert runs("daily at 02:30", before, 2) == runs("30 2 * * *", before, 2) == wanted


@pytest.mark.parametrize(
    ("weekdays", "days"),
    [
        ("0", ["29"]),
        ("7", ["29"]),
        ("1", ["23"]),
        ("1-5", ["23", "24", "25", "26", "27"]),
        ("5-7", ["27", "28", "29"]),
        ("*/3", ["25", "28", "29"]),
        ("mon,thu", ["23", "26"]),
    ],
)
def test_weekdays_are_counted_as_crontab_does(weekdays: str, days: list[str]) -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    found = runs(f"0 4 * * {weekdays}", monday, len(days), ZoneInfo("UTC"))
    assert [run.split()[0] for run in found] == days


def test_a_missed_time_is_caught_up_at_once() -> None:
    last = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert next_run(parse("daily at 03:30"), last, now, 0.0, BERLIN) == now
    assert next_run(parse("daily at 03:30"), None, now, 0.0, BERLIN) == now


def test_a_clock_that_was_set_back_a_year_does_not_stop_updates_for_a_year() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    due = next_run(parse("hourly"), now + timedelta(days=365), now, 0.5, BERLIN)
    assert due - now <= timedelta(hours=1)


def test_a_fleet_is_spread_over_the_period() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    hourly, named = parse("hourly"), parse("daily at 13:00")
    fleet = [n / 60 for n in range(60)]
    assert len({hourly.next_after(now, s, UTC).minute for s in fleet}) == 60
    assert {(named.next_after(now, s, UTC) - now) // timedelta(hours=1) for s in fleet} == {1}
    assert len({named.next_after(now, s, UTC) for s in fleet}) == 60


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "sometimes",
        "every",
        "every 0 min",
        "every 5 s",
        "every 999999 days",
        "every -5 min",
        "every 5 parsecs",
        "daily at 24:00",
        "daily at 3",
        "daily at 03:61",
        "someday at 03:30",
        "* * * *",
        "* * * * * *",
        "61 * * * *",
        "0 0 30 2 *",
        "0 0 1 * 1",
        "0 4 * * 8",
        "0 4 * * 5-1",
        "0 4 * * 1-mon",
        "x" * 100_000,
        "0 0 1 1 1\0",
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="every 15 min"):
        parse(text)


@pytest.mark.parametrize("name", ["Middle/Earth", "../../etc/passwd", "\0", "x" * 5000])
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Europe/Vienna"):
        zone(name)
    assert zone("") is None
