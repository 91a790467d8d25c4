"""Events: nothing is lost at a clean stop, nothing waits, nothing runs full."""

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mailward.database import Database
from mailward.errors import TemporaryError
from mailward.protect import events
from mailward.protect.event_rows import EventRows
from mailward.protect.events import Event, EventLog, Row
from mailward.settings.protect import DatabaseSettings, EventSettings

MESSAGE = Event(
    "message",
    "smtp",
    trace_id="0123",
    message_id="<a@b>",
    client="192.0.2.1",
    sender="ann@example.org",
    recipients=("bob@example.net", "eve@example.com"),
    size_bytes=10,
    verdict="infected",
    risks=("Test.Virus",),
    action=("reject",),
    answer="550 5.7.1 no",
    ms=1.5,
)


@pytest.fixture
def rows(tmp_path: Path) -> EventRows:
    return EventRows(Database(DatabaseSettings(), tmp_path), keep_days=90)


def log(folder: Path, insert: Any = None, **settings: Any) -> EventLog:
    return EventLog(folder / "events", EventSettings(**settings), "node1", insert)


def lines(folder: Path) -> list[dict[str, Any]]:
    paths = [folder / "events/events.jsonl.1", folder / "events/events.jsonl"]
    return [json.loads(line) for p in paths if p.exists() for line in p.read_text().splitlines()]


def test_a_clean_stop_writes_everything_to_both(tmp_path: Path, rows: EventRows) -> None:
    with log(tmp_path, rows.insert) as told:
        for number in range(2500):
            told.record(Event("message", "smtp", trace_id=str(number)))

    assert [line["trace_id"] for line in lines(tmp_path)] == [str(n) for n in range(2500)]
    found = rows.search(limit=10_000)
    assert [row["trace_id"] for row in found] == [str(n) for n in reversed(range(2500))]


def test_the_database_is_opened_before_the_first_event(tmp_path: Path, rows: EventRows) -> None:
    opened = threading.Event()

    def insert(batch: Sequence[Row]) -> None:
        rows.insert(batch)
        opened.set()

    with log(tmp_path, insert):
        assert opened.wait(20)
    assert rows.search() == lines(tmp_path) == []


def test_an_event_comes_back_as_it_was(tmp_path: Path, rows: EventRows) -> None:
    with log(tmp_path, rows.insert) as told:
        told.record(MESSAGE)

    (row,) = rows.search()
    assert row["recipients"] == list(MESSAGE.recipients)
    assert (row["risks"], row["action"], row["rule"]) == (["Test.Virus"], ["reject"], [])
    assert (row["node"], row["ms"], row["size_bytes"]) == ("node1", 1.5, 10)
    assert datetime.now(UTC) - row["at"] < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ANN@example", True),
        ("eve@", True),
        ("test.virus", True),
        ("<a@b>", True),
        ("192.0.2", True),
        ("%", False),
        ("_", False),
        ("nobody", False),
    ],
)
def test_searching(tmp_path: Path, rows: EventRows, text: str, found: bool) -> None:
    with log(tmp_path, rows.insert) as told:
        told.record(MESSAGE)

    assert bool(rows.search(text=text)) is found
    assert rows.search(text=text, since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_what_the_mail_holds_cannot_break_a_row(tmp_path: Path, rows: EventRows) -> None:
    hostile = "a\0b\r\nc\udcff'; DROP TABLE events; --"
    with log(tmp_path, rows.insert) as told:
        told.record(Event("message", "smtp", sender=hostile, recipients=(hostile, "x")))

    (row,) = rows.search()
    assert row["recipients"] == ["a?b??c?'; DROP TABLE events; --", "x"]
    assert row["sender"] == row["recipients"][0]


def test_a_database_that_fails_costs_no_event(tmp_path: Path, rows: EventRows) -> None:
    failed: list[bool] = []

    def insert(batch: Sequence[Row]) -> None:
        if not failed:
            failed.append(True)
            raise TemporaryError("down")
        rows.insert(batch)

    told = log(tmp_path, insert)
    told.record(MESSAGE)
    told._write()
    assert (len(lines(tmp_path)), failed) == (1, [True])
    with told:
        told.record(MESSAGE)

    assert len(lines(tmp_path)) == 2
    assert len(rows.search()) == 2


def test_a_disk_that_fails_costs_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = log(tmp_path)
    told.record(MESSAGE)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("mailward.durable.write_all", fails)
        told._write()
    assert lines(tmp_path) == []
    with told:
        pass
    assert len(lines(tmp_path)) == 1


def test_what_waits_is_bounded_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WAITING_MAX", 10)
    told = log(tmp_path)
    for number in range(25):
        told.record(Event("message", "smtp", trace_id=str(number)))
    with told:
        pass

    assert [line["trace_id"] for line in lines(tmp_path)] == [str(n) for n in range(15, 25)]


def test_the_file_becomes_the_older_of_two(tmp_path: Path) -> None:
    told = log(tmp_path, max_bytes=2000)
    for number in range(20):
        told.record(Event("message", "smtp", trace_id=str(number)))
        told._write()

    assert {p.name for p in (tmp_path / "events").iterdir()} == {
        "events.jsonl", "events.jsonl.1", "events.lock"
    }  # fmt: skip
    assert all(p.stat().st_size <= 2000 for p in (tmp_path / "events").iterdir())
    assert lines(tmp_path)[-1]["trace_id"] == "19"


def test_rows_are_forgotten_after_their_time(tmp_path: Path) -> None:
    database = Database(DatabaseSettings(), tmp_path)
    old = {"at": datetime.now(UTC) - timedelta(days=3), "node": "n"}
    told: list[Row] = []
    with log(tmp_path, told.extend) as writer:
        writer.record(MESSAGE)
    EventRows(database, keep_days=90).insert([{**told[0], **old}, told[0]])

    EventRows(database, keep_days=1).insert([told[0]])

    assert [row["node"] for row in EventRows(database, 1).search()] == ["node1", "node1"]
