"""Containers are read one level deep here; ``tests/scan/test_unpack.py`` goes down."""

from collections.abc import Callable

import pytest

from mailward.scan import containers
from mailward.scan.budget import Budget
from mailward.scan.contents import Found, Piece, Shut
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings

Unpack = Callable[..., list[Found]]


@pytest.fixture
def unpack() -> Unpack:
    def unpack(data: bytes, name: str = "", **limits: float) -> list[Found]:
        budget = Budget(ScanSettings.model_validate(limits))
        return list(containers.unpack(data, name, "", budget) or ())

    return unpack


@pytest.fixture
def members(unpack: Unpack) -> Callable[..., list[tuple[str, bytes]]]:
    def members(data: bytes, name: str = "") -> list[tuple[str, bytes]]:
        return [(p.name, p.data) for p in unpack(data, name) if isinstance(p, Piece)]

    return members


@pytest.fixture
def reasons(unpack: Unpack) -> Callable[..., list[Reason]]:
    def reasons(data: bytes) -> list[Reason]:
        return [s.reason for s in unpack(data) if isinstance(s, Shut)]

    return reasons
