"""What a computer may say about how fresh it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.settings.update import CertifiedSettings, ChannelSettings, UpdateSettings
from mailward.update import freshness
from mailward.update.freshness import Knowledge, known, next_check, stale_because

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def checked(at: datetime, result: str = "up to date", channel: str = "rapid") -> Event:
    return Event(at, "checked", None, "why", {"channel": channel, "result": result, "offered": "1"})


def failed(at: datetime, channel: str = "rapid") -> Event:
    return Event(at, "failed", None, "port closed", {"channel": channel})


def test_what_is_known_ends_with_the_last_success_and_says_since_when() -> None:
    events = [checked(NOW - 9 * HOUR), failed(NOW - 8 * HOUR), failed(NOW - 7 * HOUR)]
    found = known(Channel.RAPID, [*events, checked(NOW, channel="certified")])
    assert (found.last_success, found.failing_since) == (NOW - 9 * HOUR, NOW - 8 * HOUR)
    assert (found.failures, found.latest) == (2, "1")
    why = stale_because(found, 6, NOW, NOW)
    assert why is not None
    assert "since 2026-11-23 04:00 UTC" in why
    assert "port closed" in why


def test_a_success_ends_the_failures() -> None:
    found = known(Channel.RAPID, [failed(NOW - HOUR), checked(NOW)])
    assert (found.failures, found.failing_since) == (0, None)
    assert stale_because(found, 6, NOW, NOW) is None


def test_a_frozen_repository_is_stale_though_every_check_succeeds() -> None:
    found = known(Channel.RAPID, [checked(NOW)])
    assert "frozen" in (stale_because(found, 6, NOW - 7 * HOUR, NOW) or "")
    assert stale_because(found, 72, NOW - 7 * HOUR, NOW) is None


def test_never_checked_and_a_success_in_the_future_are_stale() -> None:
    assert "never checked" in (stale_because(Knowledge(), 6, None, NOW) or "")
    future = known(Channel.RAPID, [checked(NOW + timedelta(days=365))])
    assert "clock" in (stale_because(future, 6, NOW, NOW) or "")


def test_only_looking_does_not_put_off_the_next_update() -> None:
    events = [checked(NOW - 3 * HOUR), checked(NOW, "available")]
    found = known(Channel.RAPID, events)
    assert found.last_success == NOW
    assert next_check(found, ChannelSettings(), UpdateSettings(), 0.5, NOW) == NOW


def test_failures_are_tried_again_ever_later_but_within_the_hour() -> None:
    events, waits = [], []
    for _ in range(7):
        events.append(failed(NOW))
        due = next_check(
            known(Channel.CERTIFIED, [failed(NOW, "certified")] * len(events)),
            CertifiedSettings(),
            UpdateSettings(),
            0.0,
            NOW,
        )
        waits.append((due - NOW).total_seconds() / 60)
    assert waits == [5, 10, 20, 40, 60, 60, 60]


def test_a_computers_place_in_the_fleet_is_its_own_and_stays(tmp_path: Path) -> None:
    assert freshness.share(tmp_path) == 0.0
    places = set()
    for number in range(50):
        (tmp_path / "installation").write_text(f"{number:032x}")
        place = freshness.share(tmp_path)
        assert 0 <= place < 1
        assert place == freshness.share(tmp_path)
        places.add(place)
    assert len(places) == 50
