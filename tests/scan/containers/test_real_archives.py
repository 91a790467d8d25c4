"""Archives of other projects' tests: no crash, no hang, nothing that is silently clean."""

import importlib.util
import random
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from mailward.scan.containers import libarchive

COMPARED = 40
"""Files that are compared with 7-Zip: a process each."""
NAMES = ("*.7z", "*.rar", "*.zip", "*.cab*", "*.iso*", "*.lzh*", "*.cpio*", "*.arj*", "*.rpm*")


@pytest.fixture
def comparing() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks/containers.py"
    spec = importlib.util.spec_from_file_location("containers_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.shared
@pytest.mark.real
@pytest.mark.skipif(not libarchive.version(), reason="needs libarchive13, not installed")
def test_nothing_that_seven_zip_opens_is_silently_clean(
    shared: Path, comparing: ModuleType
) -> None:
    if shutil.which("7z") is None:
        pytest.skip("needs 7z, which is not installed")
    found = (path for name in NAMES for path in (shared / "containers").rglob(name))
    paths = sorted(path for path in found if path.is_file())
    for path in random.Random(0).sample(paths, min(COMPARED, len(paths))):
        name, data = comparing.decoded(path)
        ours = comparing.ours(name, data)
        missing = {
            inner
            for inner, digest in comparing.theirs(name, data).items()
            if digest not in ours.hashes and "TOC" not in inner and not inner.endswith(".cpio")
        }
        assert not missing or ours.shut, path.name
