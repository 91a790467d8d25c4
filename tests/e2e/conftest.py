"""What the tests with real servers share."""

import pytest

from mailward.config import Config
from tests.e2e import through


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Mailward's store with the starter definitions, made once: nothing in it is changed by tests.

    Tests that hold messages empty the quarantine before.
    """
    return through.protected(tmp_path_factory.mktemp("starter"), "127.0.0.1:1")
