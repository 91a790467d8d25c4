"""What a message costs on its way through the scanner, beside the standard library's parser.

With the collection of real mail beside the project if it is there, else with sample mail. Run it
with nothing else going on; the ratios are of one run.
"""

import asyncio
import email
import email.policy
import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mailward.definitions.store import Store
from mailward.definitions.testing import sample_set, sample_trial, stage
from mailward.scan.budget import Budget
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.part import Part, Role
from mailward.scan.pool import ScanPool
from mailward.scan.prepared import LoadedSet, prepare
from mailward.scan.scanner import Scanner
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings
from mailward.testing import EICAR, samples

SHARED = Path(__file__).resolve().parent.parent.parent / "shared/data/mail"
MESSAGES_MAX = 1500
SETTINGS = ScanSettings(workers=2)
VERSION = "20261123.001"


def mail() -> list[bytes]:
    files = sorted(SHARED.glob("spamassassin/*/*.txt"))[::2] + sorted(SHARED.rglob("*.eml"))[:500]
    found = [path.read_bytes() for path in files[:MESSAGES_MAX]]
    if not found:
        print("(the collection of real mail is not here: sample mail instead)")
    return found or [sample.message for sample in samples()] * 100


def ms_each(messages: Sequence[bytes], work: Callable[[bytes], object]) -> float:
    began = time.perf_counter()
    for message in messages:
        work(message)
    return (time.perf_counter() - began) / len(messages) * 1000


def unpack(message: bytes) -> int:
    budget = Budget(SETTINGS)
    found = parts(message, role=Role.MESSAGE, name="", budget=budget)
    return sum(1 for part in found if isinstance(part, Part))


def standard_library(message: bytes) -> int:
    walked = email.message_from_bytes(message, policy=email.policy.compat32).walk()
    return sum(1 for part in walked if part.get_payload(decode=True) is not None)


def active_set(store: Store) -> Path:
    shard = f"{hashlib.sha256(EICAR).hexdigest()}:{len(EICAR)}:Test\n".encode()
    with store.writer("benchmark") as writer:
        stored = stage(writer, sample_set(VERSION, {"eicar": shard}))
        with writer.workspace() as workspace:
            sources = [Source(s.name, s.kind, path) for s, path in stored.shard_paths()]
            prepare(sources, all_engines(), workspace)
            writer.record_trial(stored.version, sample_trial(stored.version), workspace)
        writer.activate(stored.version, "benchmark")
    return stored.prepared


async def pooled(store: Store, messages: Sequence[bytes], in_flight: int) -> tuple[float, float]:
    """Milliseconds to the first worker, and for each message."""
    began = time.perf_counter()
    async with ScanPool(store, SETTINGS) as pool:
        started = time.perf_counter()
        waiting = iter(messages)

        async def sender() -> None:
            for message in waiting:
                await pool.scan(message)

        await asyncio.gather(*(sender() for _ in range(in_flight)))
        done = time.perf_counter()
    return (started - began) * 1000, (done - started) / len(messages) * 1000


def main() -> None:
    messages = mail()
    size = sum(map(len, messages)) / len(messages) / 1024
    print(f"{len(messages)} messages of {size:.1f} KiB on average, ms a message")
    ours, theirs = ms_each(messages, unpack), ms_each(messages, standard_library)
    print(f"  to parts                      {ours:8.3f}")
    print(f"  standard library, MIME only   {theirs:8.3f}   {theirs / ours:.1f} times ours")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        loaded = LoadedSet.load(VERSION, active_set(store), all_engines())
        direct = ms_each(messages, Scanner(loaded, SETTINGS).scan)
        loaded.close()
        print(
            f"  parts and engines, one hash   {direct:8.3f}   {direct / ours:.1f} times the parts"
        )
        for in_flight in (1, 16):
            start, each = asyncio.run(pooled(store, messages, in_flight))
            ratio = each / direct
            print(
                f"  through 2 workers, {in_flight:2} at once {each:8.3f}   {ratio:.2f} times that"
            )
        print(f"  pool ready after {start:.0f} ms")


if __name__ == "__main__":
    main()
