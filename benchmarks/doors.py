"""Messages through each door with real ClamAV signatures, next to clamd and clamav-milter.

The same signatures (main.hdb and main.ndb of ../shared/data) in both, the same messages of the
SpamAssassin corpus, the same client, contenders one after the other in each round of one run. clamd
does not use its memory of clean files: no message comes twice in real life. Needs Postfix,
clamav-daemon, clamav-milter and root.

    python benchmarks/doors.py [MESSAGES] [ROUNDS]
"""

import asyncio
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiosmtplib

PROJECT = Path(__file__).resolve().parent.parent
SHARED = PROJECT.parent / "shared" / "data"
CLIENTS = 8
CONNECTIONS = 5000
SIGNATURES = ("main.hdb", "main.ndb")
sys.path.insert(0, str(PROJECT))  # the servers of the tests

from mailward import main as composition  # noqa: E402 (needs the path)
from mailward.config import Config  # noqa: E402
from mailward.definitions.model import Channel  # noqa: E402
from mailward.publish.build import build  # noqa: E402
from mailward.publish.feeds import parse_specs  # noqa: E402
from mailward.publish.repository import Publisher  # noqa: E402
from mailward.settings.update import ChannelSettings, UpdateSettings  # noqa: E402
from tests.e2e import clamd, postfix, service, through  # noqa: E402

Send = Callable[[bytes], Awaitable[None]]


@dataclass
class Contender:
    name: str
    connect: Callable[[], Awaitable[tuple[Send, Callable[[], None]]]]
    rates: list[float] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)

    async def race(self, messages: Sequence[bytes]) -> None:
        waiting = list(messages)

        async def client() -> None:
            send, close = await self.connect()
            while waiting:
                message = waiting.pop()
                began = time.perf_counter()
                await send(message)
                self.times_ms.append((time.perf_counter() - began) * 1000)
            close()

        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        self.rates.append(len(messages) / (time.perf_counter() - began))

    def line(self) -> str:
        cuts = statistics.quantiles(self.times_ms, n=100)
        rates = ", ".join(f"{rate:.0f}" for rate in self.rates)
        times = f"p50 {cuts[49]:6.1f} ms   p99 {cuts[98]:7.1f} ms"
        return f"{self.name:<31} {rates:>10} messages/s   {times}"


def over_clamd(path: Path) -> Callable[[], Awaitable[tuple[Send, Callable[[], None]]]]:
    """One connection a message, as clamav-milter and Rspamd do."""

    async def connect() -> tuple[Send, Callable[[], None]]:
        async def send(message: bytes) -> None:
            reader, writer = await asyncio.open_unix_connection(str(path))
            size = struct.pack(">I", len(message))
            writer.write(b"zINSTREAM\0" + size + message + bytes(4))
            answer = await reader.read()
            if not answer.endswith((b": OK\0", b" FOUND\0")):
                raise RuntimeError(f"no verdict: {answer!r}")
            writer.close()

        return send, lambda: None

    return connect


def over_smtp(port: int) -> Callable[[], Awaitable[tuple[Send, Callable[[], None]]]]:
    """Many messages a connection."""

    async def connect() -> tuple[Send, Callable[[], None]]:
        smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, timeout=120)
        await smtp.connect()

        async def send(message: bytes) -> None:
            try:
                await smtp.sendmail("a@example.org", [f"m1@{postfix.DOMAIN}"], message)
            except aiosmtplib.SMTPResponseException as e:
                if e.code not in (550, 551, 552, 554):
                    raise

        return send, smtp.close

    return connect


def protected(folder: Path) -> Config:
    """A store with the signatures, published without gates: they are measured, not judged."""
    publisher = Publisher(folder / "publisher")
    root = publisher.init()
    feeds = [f"clamav={SHARED}/definitions/clamav/{name}" for name in SIGNATURES]
    built = build(publisher.home, parse_specs(feeds))
    publisher.publish(built.version, forced="a benchmark")
    config = Config().model_copy(
        update={
            "state_dir": folder / "state",
            "update": UpdateSettings(
                repository=(folder / "publisher/public").as_uri(),
                root=root,
                rapid=ChannelSettings(enabled=True),
            ),
        }
    )
    composition.agent(config).refresh(Channel.RAPID)
    return config


def memory_mib(pid: int) -> float:
    """Proportional set size of a process and its children."""
    total = 0
    for each in (pid, *_children(pid)):
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def _children(pid: int) -> list[int]:
    """And theirs: workers are forked from a child."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [each for child in map(int, text.split()) for each in (child, *_children(child))]


async def hold_open(port: int, pid: int) -> str:
    """Negotiated milter connections, all at once, then a message through the last one."""
    from tests.doors.milter_client import Server

    before = memory_mib(pid)
    began = time.perf_counter()
    servers = []
    for _ in range(CONNECTIONS):
        server = await Server.connect(port)
        await server.negotiate()
        servers.append(server)
    seconds = time.perf_counter() - began
    servers[-1].client()
    told = await servers[-1].message(b"Subject: hello\n\nhello\n")
    after = memory_mib(pid)
    for server in servers:
        server.writer.close()
    more = after - before
    return (
        f"{CONNECTIONS} milter connections open after {seconds:.1f} s: {more:.0f} MiB more, "
        f"{more * 1024 / CONNECTIONS:.1f} KiB each; a message is then answered {told.answer!r}"
    )


async def hold_greeted(port: int, pid: int) -> str:
    """SMTP connections, all at once, then a session through one more.

    Without EHLO, at which each would get a connection to the next hop.
    """
    before = memory_mib(pid)
    began = time.perf_counter()
    clients = []
    for _ in range(CONNECTIONS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        clients.append(writer)
    seconds = time.perf_counter() - began
    send, close = await over_smtp(port)()
    await send(b"Subject: hello\r\n\r\nhello\r\n")
    close()
    more = memory_mib(pid) - before
    for writer in clients:
        writer.close()
    return (
        f"{CONNECTIONS} SMTP connections greeted after {seconds:.1f} s: {more:.0f} MiB more, "
        f"{more * 1024 / CONNECTIONS:.1f} KiB each; a message then passes"
    )


def main(count: int, rounds: int) -> None:
    reason = clamd.why_not("clamav-milter") or postfix.why_not()
    if reason or not SHARED.is_dir():
        print(f"doors: skipped: {reason or f'needs the data collection at {SHARED}'}")
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    corpus = through.corpus(SHARED)
    slices = [corpus[n::rounds][:count] for n in range(rounds)]
    content = {
        name: (SHARED / "definitions/clamav" / name).read_text("latin-1") for name in SIGNATURES
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailward-bench-")))
        folder.chmod(0o755)
        config = protected(folder)
        their_clamd = stack.enter_context(clamd.running(content, more="DisableCache yes"))
        their_milter = folder / "clamav-milter.sock"
        conf = folder / "clamav-milter.conf"
        conf.write_text(
            f"MilterSocket {their_milter}\nMilterSocketMode 666\nForeground yes\nUser root\n"
            f"ClamdSocket unix:{their_clamd}\nOnInfected Reject\nTemporaryDirectory {folder}\n"
        )
        process = subprocess.Popen(["/usr/sbin/clamav-milter", "-c", str(conf)])
        stack.callback(process.wait)
        stack.callback(process.kill)
        plain = stack.enter_context(postfix.running())
        ports = [postfix.free_port() for _ in range(2)]
        doors = {
            "SMTP__LISTEN": f"127.0.0.1:{ports[0]}",
            "SMTP__NEXT_HOP": f"127.0.0.1:{plain.port}",
            "SMTP__MAX_CONNECTIONS": str(2 * CONNECTIONS),
            "SMTP__MAX_CONNECTIONS_PER_CLIENT": str(2 * CONNECTIONS),
            "CLAMD__ENABLED": "true",
            "CLAMD__LISTEN": f'["{folder}/clamd.sock"]',
            "MILTER__ENABLED": "true",
            "MILTER__LISTEN": f'["127.0.0.1:{ports[1]}"]',
            "POLICY__SUSPICIOUS": "reject",
            "LOG__LEVEL": "warning",
        }
        ours = stack.enter_context(
            service.running(config.state_dir, folder, f"{folder}/clamd.sock", **doors)
        )
        with_ours = stack.enter_context(
            postfix.running(f"smtpd_milters = inet:127.0.0.1:{ports[1]}\n")
        )
        with_theirs = stack.enter_context(postfix.running(f"smtpd_milters = unix:{their_milter}\n"))
        contenders = [
            Contender("Postfix alone", over_smtp(plain.port)),
            Contender("clamd protocol: clamd", over_clamd(their_clamd)),
            Contender("clamd protocol: Mailward", over_clamd(folder / "clamd.sock")),
            Contender("Postfix + clamav-milter + clamd", over_smtp(with_theirs.port)),
            Contender("Postfix + Mailward's milter", over_smtp(with_ours.port)),
            Contender("Mailward's gateway + Postfix", over_smtp(ports[0])),
        ]
        for messages in slices:
            for contender in contenders:
                asyncio.run(contender.race(messages))
        size = sum(map(len, slices[0])) / len(slices[0]) / 1024
        print(
            f"doors: {len(slices[0])} messages of {size:.1f} KiB on average in each of {rounds} "
            f"rounds, {CLIENTS} clients, {config.scan.workers} workers, {os.cpu_count()} cores, "
            f"load {os.getloadavg()[0]:.1f}"
        )
        for contender in contenders:
            print(f"doors: {contender.line()}")
        pid = ours.process.pid
        found = subprocess.run(
            ["pgrep", "-f", f"clamd -c {their_clamd.parent}"], capture_output=True, check=True
        )
        theirs = sum(map(memory_mib, [*map(int, found.stdout.split()), process.pid]))
        print(
            f"doors: memory (PSS): Mailward {memory_mib(pid):.0f} MiB with its workers; "
            f"clamd and clamav-milter {theirs:.0f} MiB"
        )
        print(f"doors: {asyncio.run(hold_open(ports[1], pid))}")
        print(f"doors: {asyncio.run(hold_greeted(ports[0], pid))}")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:3]]
    main(*(numbers + [200, 2][len(numbers) :]))
