"""The computer's clock is wrong, or is set while an update runs."""

import importlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest

from tests.attacks.faults import Asked, Computer, Hostile, World

pytestmark = pytest.mark.usefixtures("quick_trial")

_YEAR = timedelta(days=365)
_READ_THE_CLOCK = (
    "tuf.ngclient._internal.trusted_metadata_set",
    "mailward.update.agent",
    "mailward.definitions.history",
    "mailward.definitions.writer",
)
"""Everything in an update that does."""

SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Makes the clock of an update wrong by so much; `mailward status` looks at the right one."""
    wrong = timedelta(0)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz or UTC) + wrong

    def set_to(by: timedelta) -> None:
        nonlocal wrong
        wrong = by

    for name in _READ_THE_CLOCK:
        module = importlib.import_module(name)
        if isinstance(module.datetime, type):
            monkeypatch.setattr(module, "datetime", Wrong)
        else:
            monkeypatch.setattr(module.datetime, "datetime", Wrong)
    return set_to


def test_a_clock_a_year_ahead(computer: Computer, set_clock: SetClock) -> None:
    """Everything seems to have expired, and the words name the clock."""
    set_clock(_YEAR)
    computer.withstands("expired .*this computer's clock is wrong")
    set_clock(timedelta(0))
    computer.recovers()


def test_a_clock_a_year_behind(
    computer: Computer, set_clock: SetClock, faults_world: World
) -> None:
    """Nothing can expire then, so the set comes; by a right clock that was no fresh check."""
    set_clock(-_YEAR)
    with computer.scanning() as scans:
        computer.refresh()
    assert scans.failed == []
    assert computer.active() == faults_world.new
    assert _says(computer, "no successful check for more than 6 hours")
    set_clock(timedelta(0))
    computer.refresh()
    assert computer.status()["alerts"] == []


@pytest.mark.parametrize(
    ("to", "words"),
    [(-_YEAR, "no successful check for more than 6 hours"), (_YEAR, "is the clock right?")],
    ids=["back", "ahead"],
)
def test_a_clock_set_in_mid_update(
    computer: Computer,
    set_clock: SetClock,
    hostile: Hostile,
    faults_world: World,
    to: timedelta,
    words: str,
) -> None:
    """After the metadata was checked, before the objects have come."""

    def step(asked: Asked) -> bool:
        if asked.is_("objects", "patches"):
            set_clock(to)
        return False

    hostile.spoil = step
    with computer.scanning() as scans:
        computer.refresh()
    assert scans.failed == []
    assert computer.active() == faults_world.new
    assert computer.store.verify() == []
    assert _says(computer, words)
    set_clock(timedelta(0))
    computer.refresh()
    assert computer.status()["alerts"] == []


def _says(computer: Computer, words: str) -> bool:
    return any(words in alert for alert in computer.status()["alerts"])
