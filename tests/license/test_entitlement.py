"""What several licenses allow together, by which clock, and when they are spoken of."""

from datetime import UTC, datetime, timedelta

import pytest

from mailward.definitions.model import Channel
from mailward.license import Entitlement, Held, State, Times, judge, warning_due
from tests.license.signer import NOW, held, licensing


def _judge(
    *licenses: Held,
    now: float = 0,
    signed: float | None = None,
    channel: Channel = Channel.RAPID,
    revoked: dict[str, str] | None = None,
) -> Entitlement:
    """``now`` and ``signed``: days from NOW."""
    times = Times(
        NOW + timedelta(days=now), None if signed is None else NOW + timedelta(days=signed)
    )
    return judge(
        channel, needed=True, held=licenses, licensing=licensing(revoked=revoked), times=times
    )


@pytest.mark.parametrize(
    ("until", "now", "state", "allows"),
    [
        (100, 0, State.VALID, True),
        (100, 39.99, State.VALID, True),
        (100, 40, State.EXPIRING, True),
        (100, 99.99, State.EXPIRING, True),
        (100, 100, State.GRACE, True),
        (100, 113.99, State.GRACE, True),
        (100, 114, State.EXPIRED, False),
        (100, 4000, State.EXPIRED, False),
        (100, -31, State.NOT_YET_VALID, False),
    ],
)
def test_a_license_by_its_dates(until: float, now: float, state: State, allows: bool) -> None:
    found = _judge(held(until=until), now=now)
    assert (found.state, found.allows) == (state, allows)
    assert (found.license is not None) == allows


def test_without_a_license_and_with_one_for_another_channel() -> None:
    assert _judge().state is State.MISSING
    other = _judge(held(channels=["certified"]))
    assert other.state is State.MISSING
    assert "the installed ones are for certified" in other.sentence


def test_a_renewal_takes_effect_at_once_and_leaves_no_gap() -> None:
    old, new = held(until=20), held(since=20, until=385, id="L-2")
    assert _judge(old).state is State.EXPIRING
    both = _judge(old, new)
    assert both.state is State.VALID
    assert both.until == NOW + timedelta(days=385)
    assert both.license is not None
    assert both.license.id == "L-1"  # what is shown must be valid today
    assert _judge(old, new, now=21).license == new.license


def test_a_gap_before_the_renewal_is_an_end() -> None:
    both = (held(until=20), held(since=22, until=385, id="L-2"))
    assert _judge(*both).until == NOW + timedelta(days=20)
    assert _judge(*both, now=21).state is State.GRACE
    assert _judge(*both, now=23).state is State.VALID


def test_channels_of_several_licenses_add_up() -> None:
    both = (held(channels=["rapid"], until=100), held(channels=["certified"], until=10, id="L-2"))
    assert _judge(*both, channel=Channel.RAPID).state is State.VALID
    assert _judge(*both, channel=Channel.CERTIFIED).state is State.EXPIRING


def test_a_broken_license_beside_a_good_one_does_no_harm() -> None:
    assert _judge(Held(None, "it was cut off"), held()).state is State.VALID
    alone = _judge(Held(None, "it was cut off"))
    assert alone.state is State.INVALID
    assert "it was cut off" in alone.sentence


def test_a_revoked_license_allows_nothing_and_the_reason_is_told() -> None:
    found = _judge(held(), revoked={"L-1": "not paid"})
    assert found.state is State.REVOKED
    assert "not paid" in found.sentence
    assert _judge(held(), held(id="L-2"), revoked={"L-1": "not paid"}).state is State.VALID


def test_a_channel_that_needs_none_and_a_publisher_without_keys() -> None:
    times = Times(NOW)
    free = judge(Channel.RAPID, needed=False, held=[], licensing=None, times=times)
    assert (free.state, free.allows) == (State.NOT_NEEDED, True)
    stuck = judge(Channel.RAPID, needed=True, held=[held()], licensing=None, times=times)
    assert (stuck.state, stuck.allows) == (State.INVALID, False)


def test_a_clock_turned_back_renews_nothing() -> None:
    found = _judge(held(until=100), now=0, signed=200)
    assert found.state is State.EXPIRED
    assert "set the clock right" in found.sentence


def test_a_clock_wrongly_in_the_future_is_named() -> None:
    found = _judge(held(until=100), now=3000, signed=0)
    assert found.state is State.EXPIRED
    assert "is the clock right?" in found.sentence
    assert f"{NOW:%Y-%m-%d}" in found.sentence
    assert f"{NOW + timedelta(days=3000):%Y-%m-%d}" in found.sentence


def test_clocks_that_agree_are_not_spoken_of() -> None:
    assert "clock" not in _judge(held(until=10), now=0, signed=-0.5).sentence


def _occasions(licenses: list[Held], days: range, installed_on: dict[int, Held]) -> list[str]:
    """Every quarter of an hour of every day: what was newly spoken of, as ``day: occasion``."""
    said, last = [], None
    for day in days:
        if day in installed_on:
            licenses = [*licenses, installed_on[day]]
        for quarter in (0, 0.25, 0.5, 0.75):
            now = day + quarter
            found = _judge(*licenses, now=now)
            occasion = warning_due(found, NOW + timedelta(days=now))
            if occasion is not None and occasion != last:
                said.append(f"{day}: {found.state}")
            last = occasion
    return said


def test_warnings_before_an_end_and_daily_after_it() -> None:
    assert _occasions([held(until=100)], range(118), {}) == [
        *(f"{100 - left}: expiring" for left in (60, 30, 14, 7, 3, 2, 1)),
        *(f"{day}: grace" for day in range(100, 114)),
        *(f"{day}: expired" for day in range(114, 118)),
    ]


def test_who_wants_to_be_warned_later_or_earlier() -> None:
    assert _occasions([held(until=100, warn_days=5)], range(100), {}) == [
        f"{100 - left}: expiring" for left in (5, 3, 2, 1)
    ]
    assert _occasions([held(until=100, warn_days=90)], range(50), {}) == [
        "10: expiring", "40: expiring",
    ]  # fmt: skip


def test_a_renewal_ends_the_warnings() -> None:
    new = held(since=100, until=465, id="L-2")
    assert _occasions([held(until=100)], range(300), {85: new}) == [
        "40: expiring", "70: expiring",
    ]  # fmt: skip


def test_dates_at_the_edge_of_what_can_be_written() -> None:
    until = (datetime(9998, 12, 30, tzinfo=UTC) - NOW).days
    found = _judge(held(until=until, grace_days=365))
    assert found.state is State.VALID
