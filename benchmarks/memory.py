"""What each further worker costs in memory, with all of the ClamAV signatures of the collection.

It costs what it has for itself: private memory that was written to (``Private_Dirty`` of
``/proc/PID/smaps_rollup``). What workers share is there once, however many they are: mapped files,
and what they have from the process that they are forked from and never changed. The proportional
set size (PSS), which counts a share of that, falls with every worker more. Looked at after loading
and after each kind of messages, one kind after the other. Needs the collections of mail and
definitions beside the project.

    python benchmarks/memory.py [--workers 3] [--state FOLDER]
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mailward import main
from mailward.cli import folder_definitions
from mailward.config import Config
from mailward.scan.pool import ScanPool
from mailward.settings.scan import ScanSettings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.scan import (
    SHARED,
    Measured,
    ask_mailward,
    corpora,
    parents,
    turn,
    workers,
)

KINDS = ("phishing", "spamassassin", "20 KB", "200 KB", "2 MB")
MESSAGES = 400
SETTLE_S = 0.5
"""What is tidied up after an answer is not waited for."""


def mib(pid: int, what: str) -> float:
    """Of a process, from the kernel."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def tell(when: str) -> None:
    private = [mib(pid, "Private_Dirty") for pid in workers()]
    pss = [mib(pid, "Pss") for pid in workers()]
    once = sum(mib(pid, "Anonymous") for pid in parents())
    print(
        f"{when:24} each worker {statistics.mean(private):5.1f} MiB, most {max(private):5.1f}"
        f" (PSS {statistics.mean(pss):5.1f}); once {once:.1f}",
        flush=True,
    )


async def run(config: Config, number: int, messages: dict[str, list[bytes]]) -> None:
    began = time.perf_counter()
    async with ScanPool(main.store(config), ScanSettings(workers=number)) as pool:
        print(f"{number} workers ready after {(time.perf_counter() - began) * 1000:.0f} ms")
        tell("loaded")
        for kind in KINDS:
            measured = Measured()
            await turn(ask_mailward(pool), messages[kind], measured, workers())
            await asyncio.sleep(SETTLE_S)
            tell(f"after {len(messages[kind])} of {kind}")
            each_ms = measured.processor_s / len(messages[kind]) * 1000
            print(f"{'':24} {each_ms:.3f} ms of processor time a message")


def start() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--workers", type=int, default=3)
    options.add_argument("--state", type=Path, help="where to keep what is prepared")
    chosen = options.parse_args()
    definitions = SHARED / "definitions/clamav"
    if not definitions.is_dir():
        raise SystemExit("the collections of mail and definitions are not beside the project")
    with tempfile.TemporaryDirectory(prefix="mailward-") as temporary:
        config = Config(state_dir=chosen.state or Path(temporary) / "state")
        config = folder_definitions.configured(config, definitions)
        asyncio.run(run(config, chosen.workers, corpora(MESSAGES)))


if __name__ == "__main__":
    start()
