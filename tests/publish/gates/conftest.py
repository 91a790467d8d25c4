"""Sets out of a few rules, prepared for gates to test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mailward.publish.build import build
from mailward.publish.gates.base import Subject, unpack
from mailward.publish.home import Home
from mailward.scan.engines import all_engines
from mailward.scan.prepared import prepare
from tests.publish.gates.sets import Rules


@pytest.fixture
def subject(home: Home, tmp_path: Path) -> Callable[..., Subject]:
    """Builds a set with these rules, and prepares it."""

    def make(**rules: str) -> Subject:
        manifest = build(home, [Rules(rules)]).manifest
        work = tmp_path / f"work-{manifest.version}"
        work.mkdir()
        sources = unpack(home, manifest, work / "shards")
        prepare(sources, all_engines(), work / "prepared")
        return Subject(home, manifest, sources, work / "prepared", work)

    return make
