"""Every rule finds its samples and leaves its near misses alone."""

from typing import Any

import pytest

from mailward.scan.part import Part
from tests.starter.compiled import StarterScanner
from tests.starter.samples.everything import DETECTED, LEFT_ALONE


def _cases(samples: dict[str, list[Part]]) -> list[Any]:
    return [
        pytest.param(name, part, id=f"{name}-{number}")
        for name, parts in samples.items()
        for number, part in enumerate(parts, start=1)
    ]


@pytest.mark.parametrize(("name", "part"), _cases(DETECTED))
def test_detects(scanner: StarterScanner, name: str, part: Part) -> None:
    assert name in scanner.names(part)


@pytest.mark.parametrize(("name", "part"), _cases(LEFT_ALONE))
def test_leaves_alone(scanner: StarterScanner, name: str, part: Part) -> None:
    assert name not in scanner.names(part)
