from datetime import UTC, datetime

import pytest

from mailward.fetch.backoff import FIRST_WAIT_S, is_busy, retry_after_s, wait_s

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0),
        ("Mon, 23 Nov 2026 12:01:00 -0000", 60.0),
        ("Mon, 23 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("9" * 5000, None),
        ("\u0661\u0662", None),
        ("Mon, 99 Nov 2026 12:01:00 GMT", None),
        ("Mon, 23 Nov 99999999999999999999 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date_or_nothing(header: str, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


def test_only_who_is_busy_is_asked_again() -> None:
    assert all(is_busy(status, None) for status in (429, 500, 502, 503, 504))
    assert not any(is_busy(status, None) for status in (400, 401, 403, 404, 407, 416))
    assert is_busy(403, 5.0)


def test_waits_grow_and_end() -> None:
    assert [wait_s(None, tries) for tries in (1, 2, 3)] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, None]


def test_a_server_that_asks_for_more_than_a_moment_is_not_waited_for() -> None:
    assert wait_s(5.0, 1) == 5.0
    assert wait_s(60.0, 1) is None
