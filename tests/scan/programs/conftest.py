"""Programs are read one level deep here."""

from collections.abc import Callable

import pytest

from mailward.scan import programs
from mailward.scan.budget import Budget
from mailward.scan.contents import Found
from mailward.settings.scan import ScanSettings

Look = Callable[..., list[Found]]


@pytest.fixture
def look() -> Look:
    def look(data: bytes, seconds: float = 2) -> list[Found]:
        budget = Budget(ScanSettings())
        budget.emulation_left_s = seconds
        return list(programs.read(data, budget))

    return look
