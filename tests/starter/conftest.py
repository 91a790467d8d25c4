"""What the tests of the starter definitions share."""

import pytest

from tests.starter.compiled import StarterScanner


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> StarterScanner:
    return StarterScanner(tmp_path_factory.mktemp("starter"))
