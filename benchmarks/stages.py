"""Where the processor time of messages goes, by stage, in one process, as a worker scans them.

The messages are those of ``benchmarks/scan.py``. First each kind is scanned as it is, for what a
message takes; then, by another detector that knows nothing yet, with a clock around each stage.
What a stage has others do is theirs. Needs the collections beside the project.

    python benchmarks/stages.py [--kind "200 KB"] [--state FOLDER]
"""

import argparse
import gc
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scan import SHARED, corpora
from mailward.cli import folder_definitions
from mailward.config import Config
from mailward.scan import containers, message, scanner
from mailward.scan.documents import office_crypt
from mailward.scan.engines import all_engines, hashes, yara
from mailward.scan.engines import signatures as engine
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.signatures import clean_parts, evaluation, filetype, pieces
from mailward.settings.scan import ScanSettings

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("the tree of parts", scanner, "parts"),
    ("containers and documents", containers, "unpack"),
    ("MIME", message, "read"),
    ("passwords of Office documents", office_crypt, "decrypt"),
    ("kinds, for rules", scanner, "kinds"),
    ("hashes", hashes.HashesDetector, "scan"),
    ("YARA", yara.YaraDetector, "scan"),
    ("signatures: else", engine.SignaturesDetector, "scan"),
    ("signatures: type", filetype.FileTypes, "identify"),
    ("signatures: known clean parts", clean_parts.CleanParts, "key"),
    ("signatures: digests", engine.SignaturesDetector, "_by_digest"),
    ("signatures: normalised forms", engine, "views"),
    ("signatures: Vectorscan", pieces.Pieces, "candidates"),
    ("signatures: reading lines", engine.SignaturesDetector, "_evaluator"),
    ("signatures: evaluation", evaluation.Evaluator, "matches"),
)
"""What is called, and of what it is the time."""
WARM_UP = 40


class Clock:
    """One stage at a time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._running: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.process_time()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, stage: str, work: Callable[[], Any]) -> Any:
        """What ``work`` returns."""
        self._switch()
        self._running.append(stage)
        try:
            return work()
        finally:
            self._switch()
            self._running.pop()

    def around(self, stage: str, called: Callable[..., Any]) -> Callable[..., Any]:
        """``called`` and, if it gives one thing after the other, each step of that."""

        def wrapped(*given: Any, **named: Any) -> Any:
            self.calls[stage] += 1
            result = self.timed(stage, lambda: called(*given, **named))
            return self._steps(stage, result) if isinstance(result, Iterator) else result

        return wrapped

    def _steps(self, stage: str, steps: Iterator[Any]) -> Iterator[Any]:
        end = object()
        while (step := self.timed(stage, lambda: next(steps, end))) is not end:
            yield step


def scan_all(prepared: Path, warm: Sequence[bytes], messages: Sequence[bytes]) -> float:
    """Processor time of one message, in ms."""
    loaded = LoadedSet.load("benchmark", prepared, all_engines())
    scans = scanner.Scanner(loaded, ScanSettings())
    for data in warm:
        scans.scan(data, role=Role.MESSAGE)
    gc.collect()
    began = time.process_time()
    for data in messages:
        scans.scan(data, role=Role.MESSAGE)
    took = time.process_time() - began
    loaded.close()
    return took / len(messages) * 1000


def start() -> None:
    options = argparse.ArgumentParser()
    options.add_argument(
        "--kind", default="200 KB", help="of messages, as benchmarks/scan.py names them"
    )
    options.add_argument("--state", type=Path, help="where to keep what is prepared")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailward-") as temporary:
        config = Config(state_dir=chosen.state or Path(temporary))
        config = folder_definitions.configured(config, SHARED / "definitions/clamav")
        (prepared,) = config.definitions_dir.glob("sets/*/prepared")
        all_messages = corpora(200)
        warm, messages = all_messages["phishing"][:WARM_UP], all_messages[chosen.kind]
        print(f"{chosen.kind}: {scan_all(prepared, warm, messages):.1f} ms a message")
        clock = Clock()
        for stage, owner, name in STAGES:
            setattr(owner, name, clock.around(stage, getattr(owner, name)))
        scan_all(prepared, (), messages)
    whole = sum(clock.seconds.values())
    for stage, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1]):
        print(
            f"{stage:32}{seconds / len(messages) * 1000:8.2f} ms {seconds / whole:6.1%}"
            f"{clock.calls[stage] / len(messages):10.1f} calls"
        )


if __name__ == "__main__":
    start()
