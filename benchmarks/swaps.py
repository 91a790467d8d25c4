"""100 changes between two sets under a steady load of scans: failures, the slowest scan, memory.

    python benchmarks/swaps.py [--swaps 100] [--rate 40] [--yara FOLDER …]

Phases with and without swaps take turns in one run. The load is open: a message is due at its time
whether or not the one before has been answered, so waiting counts. Memory is the proportional set
size (PSS) of all workers together, looked at ten times a second. With the collection of real mail
and definitions beside the project the sets are real YARA rules and hashes and the messages real
mail; without it, the starter definitions and made-up messages.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from mailward.definitions.model import Channel, Version
from mailward.definitions.store import Store
from mailward.errors import MailwardError
from mailward.publish import candidates, objects
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.scan.pool import ScanPool
from mailward.scan.verdict import Reason
from mailward.settings.scan import ScanSettings
from mailward.settings.update import StoreSettings, UpdateSettings
from mailward.testing import message
from mailward.update import trial

_SHARED = Path(__file__).resolve().parents[2] / "shared/data"
_PHASES = 5
_SAMPLE_S = 0.1
_SETTLE_S = 2.0
_STEADY_S = 8.0


@dataclass
class Phase:
    """What was seen while there were swaps, or none."""

    name: str
    ms: list[float] = field(default_factory=list)
    pss: list[int] = field(default_factory=list)
    swaps_s: list[float] = field(default_factory=list)


class Memory:
    """Looks at the workers' memory from a thread."""

    def __init__(self) -> None:
        self.into: list[int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            into = self.into
            if into is not None:
                into.append(sum(_pss_bytes(pid) for pid in _workers()))


def _workers(above: int = os.getpid()) -> Iterator[int]:
    """And what they are forked from."""
    for path in Path(f"/proc/{above}/task").glob("*/children"):
        try:
            for pid in map(int, path.read_text().split()):
                if b"mailward.scan.forking" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    yield pid
                    yield from _workers(pid)
        except OSError:
            continue


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class Load:
    """Messages that are due at regular times."""

    def __init__(self, pool: ScanPool, mail: Sequence[bytes], per_s: float) -> None:
        self._pool, self._mail, self._per_s = pool, cycle(mail), per_s
        self.into: list[float] = []
        self.failed: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        due = time.perf_counter()
        while True:
            due += 1 / self._per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self._scan(next(self._mail), due, self.into))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _scan(self, mail: bytes, due: float, into: list[float]) -> None:
        try:
            verdict = await self._pool.scan(mail)
        except MailwardError as e:
            self.failed.append(str(e))
            return
        lost = [u for u in verdict.unopened if u.reason in (Reason.CRASH, Reason.TIME)]
        self.failed += [f"{each.reason}: {each.detail}" for each in lost]
        into.append((time.perf_counter() - due) * 1000)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=40, help="messages a second")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--yara", type=Path, nargs="*", help="folders of rules, instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailward-bench-") as name:
        store, versions = _two_sets(Path(name), given.yara)
        _activate(store, versions[0])
        settings = ScanSettings(workers=given.workers)
        steady, swapping = Phase("without swaps"), Phase("with swaps")
        async with ScanPool(store, settings) as pool:
            with Memory() as memory:
                load = Load(pool, _mail(), given.rate)
                running = asyncio.create_task(load.run())
                await asyncio.sleep(_SETTLE_S)
                order = cycle((versions[1], versions[0]))
                for _ in range(_PHASES):
                    load.into, memory.into = steady.ms, steady.pss
                    await asyncio.sleep(_STEADY_S)
                    load.into, memory.into = swapping.ms, swapping.pss
                    for version in islice(order, given.swaps // _PHASES):
                        swapping.swaps_s.append(await _swap(store, pool, version))
                    memory.into = None
                    load.into = []
                    await asyncio.sleep(_SETTLE_S)
                running.cancel()
                await load.end()
        _tell(steady)
        _tell(swapping)
        print(
            f"{len(swapping.swaps_s)} swaps, {statistics.median(swapping.swaps_s):.2f} s each "
            f"until all {given.workers} workers have changed; scans failed: {len(load.failed)}"
        )
        for why in load.failed[:5]:
            print(f"  {why}")
        ratio = max(swapping.pss) / statistics.median(steady.pss)
        print(f"memory peak with swaps to steady state: {ratio:.2f}")


async def _swap(store: Store, pool: ScanPool, version: Version) -> float:
    began = time.perf_counter()
    await asyncio.to_thread(_activate, store, version)
    while list(pool.sets()) != [str(version)]:  # noqa: ASYNC110 (the pool is asked)
        await asyncio.sleep(0.01)
    return time.perf_counter() - began


def _activate(store: Store, version: Version) -> None:
    with store.writer("benchmark") as writer:
        writer.activate(version, "benchmark", by_administrator=True)


def _tell(phase: Phase) -> None:
    ms = sorted(phase.ms)
    mib = [value / 2**20 for value in phase.pss]
    print(
        f"{phase.name:14} {len(ms):6,} scans: median {ms[len(ms) // 2]:.1f} ms, 99 % within "
        f"{ms[len(ms) * 99 // 100]:.1f} ms, slowest {ms[-1]:.1f} ms; workers' memory median "
        f"{statistics.median(mib):.0f} MiB, most {max(mib):.0f} MiB"
    )


def _two_sets(folder: Path, rules: list[Path] | None) -> tuple[Store, list[Version]]:
    publisher = Publisher(folder / "publisher")
    publisher.init()
    yara = _SHARED / "definitions/yara"
    hashes = _SHARED / "definitions/hashes"
    if rules:
        specs = [[f"yara={place}" for place in rules], [f"yara={place}" for place in rules[::-1]]]
        specs[1].append("starter")
    elif yara.is_dir():
        common = [f"yara={yara}/reversinglabs-yara-rules", f"hashes={hashes}/eset"]
        specs = [[*common, f"yara={yara}/Yara-rules"], [*common, f"yara={yara}/atr-yara"]]
    else:
        (folder / "one.txt").write_text("".join(f"{n:064x}\n" for n in range(100_000)))
        specs = [["starter"], ["starter", f"hashes={folder}/one.txt"]]
    store = Store(folder / "definitions", StoreSettings(min_free_bytes=1))
    versions = []
    for each in specs:
        version = build(publisher.home, parse_specs(each)).version
        publisher.publish(version, forced="a benchmark")
        versions.append(_prove(publisher, store, version))
    return store, versions


def _prove(publisher: Publisher, store: Store, version: Version) -> Version:
    """As an agent does, but what a set finds in the built-in messages does not matter here."""
    manifest = candidates.load(publisher.home, version).model_copy(
        update={"channel": Channel.RAPID}
    )
    with store.writer("benchmark") as writer:
        for shard in manifest.shards:
            content = objects.get(publisher.home, shard)
            writer.add_object(shard.sha256, shard.size_bytes, [content])
        stored = writer.stage(manifest)
        with writer.workspace() as workspace:
            result = trial.run(manifest, stored.shard_paths(), workspace, UpdateSettings())
            print(
                f"set {version}: {sum(e.signatures for e in result.engines):,} signatures, "
                f"proved in {result.duration_ms / 1000:.1f} s, loads in "
                f"{result.measured.load_ms if result.measured else 0:.0f} ms"
            )
            passed = result.model_copy(update={"passed": True, "problems": ()})
            writer.record_trial(version, passed, workspace)
    return version


def _mail() -> list[bytes]:
    folder = _SHARED / "mail/spamassassin"
    files = sorted(folder.rglob("*.txt"))[:2000:2] if folder.is_dir() else []
    return [path.read_bytes() for path in files] or [
        message(subject=f"Message {n}", text=f"Dear {n},\n" * 200) for n in range(1000)
    ]


if __name__ == "__main__":
    asyncio.run(main())
