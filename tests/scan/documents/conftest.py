"""Documents are read with everything in them, as in a scan."""

from collections.abc import Callable

import pytest

from mailward.scan.budget import Budget
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.scan.verdict import Ambiguity, OwnPassword, Unopened
from mailward.settings.scan import ScanSettings

Everything = list[Part | Unopened | Ambiguity | OwnPassword]


@pytest.fixture
def scan() -> Callable[..., Everything]:
    def scan(data: bytes, name: str = "a", **limits: float) -> Everything:
        budget = Budget(ScanSettings.model_validate(limits))
        return list(parts(data, role=Role.ATTACHMENT, name=name, budget=budget))

    return scan


@pytest.fixture
def files(scan: Callable[..., Everything]) -> Callable[..., dict[str, bytes]]:
    """Content by path."""

    def files(data: bytes, name: str = "a") -> dict[str, bytes]:
        return {part.path: part.data for part in scan(data, name) if isinstance(part, Part)}

    return files
