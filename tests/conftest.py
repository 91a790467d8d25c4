"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

_PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The collection of real mail and definitions beside the project, or a loud skip."""
    folder = _PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the data collection at {folder}, which is not on this computer")
    return folder


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Commands configure the logs of the whole process; the next test begins without that."""
    yield
    structlog.reset_defaults()
