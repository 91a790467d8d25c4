import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailward.definitions.history import History
from mailward.definitions.model import Version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def names(history: History, limit: int | None = None) -> list[str]:
    return [event.event for event in history.read(limit)]


def test_events_come_back_as_they_were_noted_newest_last(path: Path) -> None:
    history = History(path)
    history.append("first", {"version": Version(20260101, 1), "reason": "why", "size": 3})
    history.append("second", {"reason": None})
    first, second = history.read()
    assert (first.event, first.version, first.reason) == ("first", Version(20260101, 1), "why")
    assert first.details == {"size": 3}
    assert abs((datetime.now(UTC) - first.at).total_seconds()) < 60
    assert (second.event, second.version, second.reason) == ("second", None, "")
    assert names(history, 1) == ["second"]
    assert names(history, 0) == []


@pytest.mark.parametrize(
    "torn",
    [
        b'{"at": "2026-01-01T00:00:00+00:00", "event": "to',
        b"{",
        b"\xff\xfe\0",
        b"null",
        b"[" * 9999,
    ],
)
def test_a_torn_line_is_skipped_and_the_next_one_begins_anew(path: Path, torn: bytes) -> None:
    history = History(path)
    history.append("first", {})
    with path.open("ab") as file:
        file.write(torn)
    assert names(history) == ["first"]
    history.append("second", {})
    assert names(history) == ["first", "second"]


@pytest.mark.parametrize(
    "line",
    [
        {"event": "no time"},
        {"at": "yesterday", "event": "e"},
        {"at": "2026-01-01T00:00:00", "event": "no zone"},
        {"at": 5, "event": "e"},
        {"at": "2026-01-01T00:00:00Z", "event": 5},
        {"at": "2026-01-01T00:00:00Z", "event": "e", "version": "../x"},
        {"at": "2026-01-01T00:00:00Z", "event": "e", "version": 5},
        {"at": "2026-01-01T00:00:00Z", "event": "e", "reason": []},
        "text",
        7,
    ],
)
def test_a_line_with_wrong_values_is_skipped(path: Path, line: object) -> None:
    path.write_text(json.dumps(line) + "\n")
    history = History(path)
    history.append("good", {})
    assert names(history) == ["good"]


def test_the_history_is_bounded_and_one_older_file_is_kept(path: Path) -> None:
    history = History(path, max_bytes=1000)
    for number in range(100):
        history.append(f"event-{number:02}", {"reason": "x" * 50})
    assert {p.name for p in path.parent.iterdir()} == {"history.jsonl", "history.jsonl.1"}
    assert all(p.stat().st_size <= 1000 for p in path.parent.iterdir())
    kept = names(history)
    assert kept == [f"event-{number:02}" for number in range(100 - len(kept), 100)]
    assert len(kept) > 10
    assert names(history, 12) == kept[-12:], "also across the two files"


def test_a_huge_event_is_shortened_to_what_it_is_about(path: Path) -> None:
    history = History(path)
    history.append("huge", {"reason": "y" * 10**6, "version": "20260101.001", "more": "z" * 10**6})
    (event,) = history.read()
    assert path.stat().st_size < 64 * 1024
    assert event.reason == "y" * 2000
    assert event.details == {"shortened": True}


def test_text_from_outside_cannot_forge_a_line(path: Path) -> None:
    history = History(path)
    history.append(
        "failed", {"reason": '"}\n{"at":"2026-01-01T00:00:00Z","event":"forged"}\n\u2028'}
    )
    assert names(history) == ["failed"]
