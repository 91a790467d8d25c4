"""Messages per second of Mailward's workers and of clamd, with the same ClamAV signatures.

Both get whole messages over 4 connections, each message once, in turns within one run, on the
cores that there are (2 is what figures are quoted for). A turn is a third of a kind of messages:
the turns of both alternate, and none is so short that waking up (processor frequency, caches) is
what it measures. Beside it stands the processor time of a message, which depends less on what
else the computer does: of workers and of the pool with what asks it for Mailward, of the daemon
alone for clamd. clamd is Debian's ``clamav-daemon``, started on a socket in a temporary folder.
Needs the collections of mail and definitions beside the project.

    python benchmarks/scan.py [--messages N] [--only mailward]
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import resource
import shutil
import socket as socketlib
import statistics
import subprocess
import tempfile
import time
import zlib
from base64 import encodebytes
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hyperscan

from mailward import main
from mailward.cli import folder_definitions
from mailward.config import Config
from mailward.scan.pool import ScanPool
from mailward.scan.signatures.pieces import file_names
from mailward.scan.signatures.sealed import Sealed
from mailward.settings.scan import ScanSettings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared/data"
CONNECTIONS = 4
TURNS = 3
"""Of each scanner for a kind of messages, alternately."""

Ask = Callable[[bytes], Awaitable[bool]]


@dataclass
class Measured:
    """What one scanner did with one kind of messages."""

    seconds: float = 0.0
    processor_s: float = 0.0
    latencies: list[float] = field(default_factory=list)
    infected: int = 0

    def line(self) -> str:
        cuts = statistics.quantiles(self.latencies, n=100)
        return (
            f"{len(self.latencies) / self.seconds:8.1f}/s   p50 {cuts[49] * 1000:7.2f} ms"
            f"   p99 {cuts[98] * 1000:8.2f} ms"
            f"   processor {self.processor_s / len(self.latencies) * 1000:7.3f} ms"
            f"   {self.infected} infected"
        )


def corpora(limit: int) -> dict[str, list[bytes]]:
    """Real mail by collection, and by size: real mail of about that size, or with an attachment."""
    phishing = [p.read_bytes() for p in sorted((SHARED / "mail/phishing").rglob("*.eml"))]
    assassin = [p.read_bytes() for p in sorted((SHARED / "mail/spamassassin").rglob("*.txt"))]
    chance = random.Random(7)
    for messages in (phishing, assassin):
        chance.shuffle(messages)
    unlike = list(dict.fromkeys(assassin))
    found = {
        "phishing": list(dict.fromkeys(phishing))[:limit],
        "spamassassin": unlike[:limit],
    }
    rest = unlike[limit:] + phishing[limit:]
    for name, least, most in (("2 KB", 1_500, 2_500), ("20 KB", 15_000, 27_000)):
        found[name] = [m for m in rest if least <= len(m) <= most][: limit // 4]
    documents = [p.read_bytes() for p in sorted((SHARED / "clean").rglob("*")) if p.is_file()]
    for name, size, number in (("200 KB", 200_000, 40), ("2 MB", 2_000_000, 8)):
        found[name] = [_with_documents(documents, size, chance) for _ in range(number)]
    return {name: messages for name, messages in found.items() if messages}


def _with_documents(documents: Sequence[bytes], size: int, chance: random.Random) -> bytes:
    """A message with documents, some cut, until it has the size."""
    boundary, wanted = "----benchmark", size * 3 // 4
    pieces = [
        f"From: a@example.org\nTo: b@example.org\nSubject: {chance.random()}\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'
        f"--{boundary}\nContent-Type: text/plain\n\nsee attached {chance.random()}\n".encode()
    ]
    while wanted > 0:
        document = chance.choice(documents)[:wanted]
        wanted -= max(1, len(document))
        pieces.append(
            f"--{boundary}\nContent-Type: application/octet-stream\n"
            f'Content-Disposition: attachment; filename="{chance.random()}.bin"\n'
            "Content-Transfer-Encoding: base64\n\n".encode()
            + encodebytes(document)
        )
    return b"".join([*pieces, f"--{boundary}--\n".encode()])


async def turn(
    ask: Ask, messages: Sequence[bytes], into: Measured, processes: Sequence[int] = ()
) -> None:
    """All messages over several connections at once; ``processes``: whose processor time counts."""
    waiting = iter(messages)

    async def connection() -> None:
        for message in waiting:
            began = time.perf_counter()
            infected = await ask(message)  # not within the sum: others add to it meanwhile
            into.infected += infected
            into.latencies.append(time.perf_counter() - began)

    processor_s = sum(map(processor_time, processes))
    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    into.seconds += time.perf_counter() - began
    into.processor_s += sum(map(processor_time, processes)) - processor_s


def processor_time(pid: int) -> float:
    """Seconds, of all its threads (Linux, ``clock_getcpuclockid``)."""
    return time.clock_gettime(~pid << 3 | 2)


# --- clamd ----------------------------------------------------------------------------------------


@contextmanager
def clamd(definitions: Path, work: Path) -> Iterator[tuple[Path, int]]:
    """A daemon with these definitions: its socket and process."""
    database = work / "database"
    database.mkdir()
    for path in definitions.iterdir():
        if path.is_file() and path.suffix != ".cvd":
            shutil.copy(path, database / path.name)
    for path in (work, database, *database.iterdir()):
        path.chmod(0o755)
    socket = work / "clamd.sock"
    settings = work / "clamd.conf"
    settings.write_text(
        f"LocalSocket {socket}\nDatabaseDirectory {database}\nForeground yes\nUser root\n"
        f"MaxThreads {CONNECTIONS}\nMaxScanSize 400M\nMaxFileSize 100M\nStreamMaxLength 100M\n"
        "DetectPUA yes\n"
    )
    began = time.perf_counter()
    with (work / "clamd.log").open("w") as log:
        process = subprocess.Popen(["clamd", f"--config-file={settings}"], stdout=log, stderr=log)
    try:
        while not _answers(socket):
            if process.poll() is not None:
                raise SystemExit(f"clamd ended: {(work / 'clamd.log').read_text()[-500:]}")
            time.sleep(0.1)
        print(f"clamd: ready after {time.perf_counter() - began:.1f} s, {memory(process.pid)}")
        yield socket, process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socketlib.socket(socketlib.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"zPING\0")
        return connection.recv(16).startswith(b"PONG")
    return False


def ask_clamd(socket: Path) -> Ask:
    async def ask(message: bytes) -> bool:
        reader, writer = await asyncio.open_unix_connection(socket)
        writer.write(b"zINSTREAM\0" + len(message).to_bytes(4, "big") + message + bytes(4))
        await writer.drain()
        answer = await reader.read()
        writer.close()
        if b"ERROR" in answer:
            raise SystemExit(f"clamd says {answer!r}")
        return b"FOUND" in answer

    return ask


def ask_mailward(pool: ScanPool) -> Ask:
    async def ask(message: bytes) -> bool:
        return bool((await pool.scan(message)).risks)

    return ask


def memory(pid: int) -> str:
    """Of a process, from the kernel."""
    places = Path(f"/proc/{pid}/status"), Path(f"/proc/{pid}/smaps_rollup")
    told = "".join(place.read_text() for place in places)
    found = re.findall(r"^(VmHWM|Private_Dirty):\s+(\d+)", told, re.MULTILINE)
    mib = {name: int(kib) // 1024 for name, kib in found}
    return f"{mib['Private_Dirty']} MiB private, at most {mib['VmHWM']} MiB, shared included"


def workers() -> list[int]:
    """Processes of the pool's workers, not what they are forked from."""
    return [worker for parent in parents() for worker in _children(parent)]


def parents() -> list[int]:
    """What the workers are forked from."""
    return _children(os.getpid())


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in tasks for child in path.read_text().split()]


def vectorscan_alone(config: Config, messages: Sequence[bytes]) -> None:
    """The databases that a mail needs over the same bytes, and what reading them takes."""
    (home,) = (config.definitions_dir / "sets").iterdir()
    prepared = next((home / "prepared").glob("signatures-*"))
    for scope in ((0, ""), (4, "")):
        database = hyperscan.loadb(
            Sealed(prepared / file_names(scope)[0]).slice(0), mode=hyperscan.HS_MODE_BLOCK
        )
        scratch = hyperscan.Scratch(database)
        hits = 0

        def count(*_: object) -> None:
            nonlocal hits
            hits += 1

        began = time.perf_counter()
        for message in messages:
            database.scan(message, match_event_handler=count, scratch=scratch)
        took = time.perf_counter() - began
        rate = sum(map(len, messages)) / took / 1e6
        print(
            f"Vectorscan alone, {file_names(scope)[0]}: {rate:.0f} MB/s,"
            f" {took / len(messages) * 1e6:.0f} us and {hits / len(messages):.1f} hits a message"
        )
    began = time.perf_counter()
    for message in messages:
        zlib.crc32(message)
    rate = sum(map(len, messages)) / (time.perf_counter() - began) / 1e6
    print(f"CRC-32 of the same: {rate:.0f} MB/s")


# --- the run --------------------------------------------------------------------------------------


async def compare(
    pool: ScanPool, daemon: tuple[Path, int] | None, messages: dict[str, list[bytes]]
) -> None:
    scanners = {"mailward": (ask_mailward(pool), [*workers(), os.getpid()])}
    if daemon is not None:
        scanners["clamd"] = (ask_clamd(daemon[0]), [daemon[1]])
    for kind, all_of_it in messages.items():
        found = {name: Measured() for name in scanners}
        for number in range(TURNS):
            for name, (ask, processes) in scanners.items():
                await turn(ask, all_of_it[number::TURNS], found[name], processes)
        report(kind, [len(message) for message in all_of_it], found)


def report(kind: str, sizes: Sequence[int], scanners: dict[str, Measured]) -> None:
    print(f"\n{kind}: {len(sizes)} messages of {statistics.mean(sizes):,.0f} bytes on average")
    for name, measured in scanners.items():
        print(f"  {name:9}{measured.line()}")
    if "clamd" in scanners:
        ratio = scanners["clamd"].seconds / scanners["mailward"].seconds
        processor = scanners["clamd"].processor_s / scanners["mailward"].processor_s
        print(f"  ratio    {ratio:8.1f}     of processor time {processor:.1f}", flush=True)


async def run(
    config: Config, daemon: tuple[Path, int] | None, messages: dict[str, list[bytes]]
) -> None:
    limits = ScanSettings(workers=min(2, os.cpu_count() or 1))
    async with ScanPool(main.store(config), limits) as pool:
        warm = [b"Subject: warm up\n\n%d" % number for number in range(20)]
        await turn(ask_mailward(pool), warm, Measured())
        await compare(pool, daemon, messages)
        for pid in workers():
            print(f"worker: {memory(pid)}")
    vectorscan_alone(config, messages["phishing"])


def start() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--messages", type=int, default=600, help="of each collection")
    options.add_argument("--only", choices=("mailward",))
    options.add_argument("--state", type=Path, help="where to keep what is prepared")
    chosen = options.parse_args()
    definitions = SHARED / "definitions/clamav"
    if not definitions.is_dir():
        raise SystemExit("the collections of mail and definitions are not beside the project")
    with tempfile.TemporaryDirectory(prefix="mailward-") as temporary:
        work = Path(temporary)
        began = time.perf_counter()
        config = Config(state_dir=chosen.state or work / "state")
        config = folder_definitions.configured(config, definitions)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(f"mailward: ready after {time.perf_counter() - began:.1f} s; child: {children} MB")
        messages = corpora(chosen.messages)
        if chosen.only:
            asyncio.run(run(config, None, messages))
            return
        (work / "clamd").mkdir()
        with clamd(definitions, work / "clamd") as daemon:
            asyncio.run(run(config, daemon, messages))
            print(f"\nclamd: {memory(daemon[1])}")


if __name__ == "__main__":
    start()
