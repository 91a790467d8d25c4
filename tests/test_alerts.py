"""Alerts: raised once, reminded of, over; and messages that never hold anything up."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailward.alerts import AlertService, Messenger, Reminders, read_addresses
from mailward.errors import ConfigError
from mailward.settings.service import AlertSettings

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECRET = "0c8d1f"


def test_alerts_come_at_once_again_after_six_hours_and_end() -> None:
    alerts, stale = Reminders(6 * HOUR), {"rapid": "why"}
    assert alerts.due(stale, NOW) == (["rapid"], [])
    assert alerts.due(stale, NOW + 5 * HOUR) == ([], [])
    assert alerts.due(stale, NOW + 6 * HOUR) == (["rapid"], [])
    assert alerts.due({}, NOW + 7 * HOUR) == ([], ["rapid"])
    assert alerts.due(stale, NOW + 8 * HOUR) == (["rapid"], [])


def test_an_alert_with_a_calendar_of_its_own_is_raised_when_that_turns() -> None:
    alerts, ending = Reminders(6 * HOUR), {"license rapid": "it ends", "stale rapid": "why"}
    both = ["license rapid", "stale rapid"]
    assert alerts.due(ending, NOW, {"license rapid": "in 7"}) == (both, [])
    assert alerts.due(ending, NOW + 7 * HOUR, {"license rapid": "in 7"}) == (["stale rapid"], [])
    assert alerts.due(ending, NOW + 8 * HOUR, {"license rapid": "in 3"}) == (["license rapid"], [])
    assert alerts.due({}, NOW + 9 * HOUR) == ([], both)


async def test_alerts_are_raised_in_the_log_and_their_end_too() -> None:
    clock, wrong = [NOW], {"stale rapid": "port closed"}
    service = AlertService(
        AlertSettings(), [lambda: dict(wrong)], Messenger(AlertSettings()), lambda: clock[0]
    )
    with capture_logs() as logged:
        await service.look()
        clock[0] += HOUR
        await service.look()
        clock[0] += 5 * HOUR
        await service.look()
        wrong.clear()
        await service.look()
    assert [(e["event"], e["alert"]) for e in logged] == [
        ("alert", "stale rapid"),
        ("alert", "stale rapid"),
        ("alert is over", "stale rapid"),
    ]


async def test_a_source_with_a_defect_does_not_end_the_alerts() -> None:
    asked: list[int] = []

    def source() -> dict[str, str]:
        asked.append(1)
        if len(asked) == 1:
            raise ZeroDivisionError("defect")
        return {"disk full": "no room"}

    service = AlertService(AlertSettings(), [source], Messenger(AlertSettings()))
    with capture_logs() as logged:
        await service.look()
        await service.look()
    assert [e["event"] for e in logged] == ["alerts cannot be told by a defect", "alert"]


@contextmanager
def receiver(got: list[dict[str, str]], gate: threading.Event | None = None) -> Iterator[int]:
    """A web server that takes Apprise's JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if gate is not None:
                gate.wait(20)
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def addresses(folder: Path, *lines: str) -> AlertSettings:
    path = folder / "addresses"
    path.touch(mode=0o600)
    path.write_text("# who is told\n" + "\n".join(lines))
    return AlertSettings(addresses=path)


def test_a_message_reaches_the_addresses_in_the_file(tmp_path: Path) -> None:
    got: list[dict[str, str]] = []
    with receiver(got) as port:
        messenger = Messenger(addresses(tmp_path, f"json://127.0.0.1:{port}/hook"))
        messenger.send("stale rapid", "no check has succeeded")
        messenger.close()
    assert "stale rapid" in got[0]["title"]
    assert got[0]["message"] == "no check has succeeded"
    assert (messenger.sent, messenger.failed) == (1, 0)


def test_an_address_that_does_not_answer_holds_nothing_up_and_the_queue_is_bounded(
    tmp_path: Path,
) -> None:
    got: list[dict[str, str]] = []
    gate = threading.Event()
    with receiver(got, gate) as port, capture_logs() as logged:
        messenger = Messenger(addresses(tmp_path, f"json://127.0.0.1:{port}/?rto=60"))
        for number in range(200):
            messenger.send(f"alert {number}", "why")
        assert messenger.failed >= 98
        gate.set()
        messenger.close()
    assert 100 <= len(got) <= 102
    assert any("too many wait" in entry["event"] for entry in logged)


def test_failures_are_logged_without_the_addresses(  # S15
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = addresses(tmp_path, f"json://user:{SECRET}@127.0.0.1:9/x", f"nonsense://{SECRET}")
    messenger = Messenger(settings)
    with capture_logs() as logged:
        messenger.send("disk full", "no room")
        messenger.close()
    said = [entry["event"] for entry in logged]
    assert "alert did not reach every address" in said
    assert "address for alerts is not understood" in said
    captured = capsys.readouterr()
    assert SECRET not in repr(logged) + captured.out + captured.err
    assert messenger.failed == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_addresses_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:  # S15
    settings = addresses(tmp_path, f"json://user:{SECRET}@127.0.0.1:9/")
    assert settings.addresses is not None
    settings.addresses.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as refused:
        read_addresses(settings.addresses)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"# nobody\n", b"\xff\xfe\0", b"json://x\n" * 10_000])
def test_a_file_that_holds_no_addresses_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "addresses"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"alerts\.addresses"):
        read_addresses(path)
    with pytest.raises(ConfigError, match=r"alerts\.addresses"):
        read_addresses(tmp_path / "not there")


def test_without_addresses_nothing_is_started(tmp_path: Path) -> None:
    messenger = Messenger(AlertSettings())
    before = threading.active_count()
    began = time.monotonic()
    messenger.send("stale", "why")
    messenger.close()
    assert threading.active_count() == before
    assert time.monotonic() - began < 5
