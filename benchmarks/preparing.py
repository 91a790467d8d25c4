"""What preparing the engine ``signatures`` costs: all anew, and with one line more than before.

    python benchmarks/preparing.py

Everything in ../shared/data/definitions/clamav, or a folder that is given. Prints processor time
and the largest resident memory of a process that does nothing else.
"""

import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from mailward.definitions.model import ShardKind
from mailward.scan.engine import Source
from mailward.scan.engines.signatures import SignaturesEngine
from mailward.scan.signatures.reading import KNOWN

SHARED = Path(__file__).resolve().parents[2] / "shared/data/definitions/clamav"
TARGETS = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12)
_HEX = "0123456789abcdeffedcba9876543210"
LINES = {
    "nothing": ("none", ""),
    "one .hdb line": (".hdb", f"{_HEX}:1234:Benchmark"),
    **{f"one .ndb line, target {n}": (".ndb", f"Benchmark:{n}:*:{_HEX}") for n in TARGETS},
    "one .ldb line": (".ldb", f"Benchmark;Engine:81-255,Target:0;0&1;{_HEX};aabbccddeeff0011"),
}


def main() -> None:
    """Anew, then each change."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED
    shards = sorted(path for path in folder.iterdir() if path.suffix in KNOWN)
    with tempfile.TemporaryDirectory(prefix="mailward-bench-") as name:
        work = Path(name)
        _report("all anew", shards, work, "base", None)
        for number, (what, (suffix, line)) in enumerate(LINES.items()):
            changed = [
                _with(path, line, work) if path.suffix == suffix else path for path in shards
            ]
            _report(what, changed, work, f"changed-{number}", work / "base")


def _with(path: Path, line: str, work: Path) -> Path:
    """A copy with the line in the middle."""
    lines = path.read_bytes().split(b"\n")
    lines.insert(len(lines) // 2, line.encode())
    copy = work / path.name
    copy.write_bytes(b"\n".join(lines))
    return copy


def _report(what: str, shards: list[Path], work: Path, into: str, earlier: Path | None) -> None:
    # A process of its own each time: the largest memory never goes down.
    child = get_context("spawn").Process(target=_prepare, args=(what, shards, work / into, earlier))
    child.start()
    child.join()


def _prepare(what: str, shards: list[Path], into: Path, earlier: Path | None) -> None:
    into.mkdir()
    sources = [Source(path.name, ShardKind.CLAMAV, path) for path in shards]
    began = time.process_time()
    preparation = SignaturesEngine().prepare(sources, into, earlier)
    took_s = time.process_time() - began
    largest_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {took_s:.1f} s, {largest_mb:.0f} MB, {preparation.signatures:,} signatures")


if __name__ == "__main__":
    main()
