"""An account of every message while Mailward's processes are killed and its set is swapped (S12).

Postfix's ``smtp-source`` sends: one session a process, which numbers its recipients (``-N``) and
says what it hears (``-v``), so that each message's own answer is known. A recorder takes what the
gateway hands on. Then each message must be where its answer says, once, and those that were never
answered nowhere more than once.
"""

import asyncio
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mailward import main, testing
from mailward.config import Config
from mailward.definitions.model import Channel, Version
from mailward.protect.held import Held
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from tests.e2e import through
from tests.e2e.postfix import free_port

DOORS = 2
SENDERS = 6
BATCH = 100
_PROGRESS = 50
"""Messages between two blows, or nothing would ever be done on a slow computer."""
_LOOK_S = 0.02
SMTP_SOURCE = "/usr/sbin/smtp-source"
_HEARD = re.compile(
    rb"\S*smtp-source: (?:<<< (?P<code>[0-9]{3})|RCPT TO:<(?P<id>\w+)@|(?P<dot>\.)$)"
)
_RECIPIENT = re.compile(rb"RCPT TO:<(\w+)@", re.IGNORECASE)


class Recorder(asyncio.Protocol):
    """A mail server that remembers which messages it took, and how often, before it says so."""

    def __init__(self, taken: Counter[str]) -> None:
        self.taken = taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._buffer, self._recipients, self._in_data = bytearray(), list[str](), False
        transport.write(b"220 recorder.example\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n.\r\n" if self._in_data else b"\r\n")) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + (5 if self._in_data else 2)]
            self._transport.write(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        if self._in_data:
            self.taken.update(self._recipients)
            self._recipients, self._in_data = [], False
        elif line[:4].upper() == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        elif line[:4].upper() == b"EHLO":
            return b"250-recorder.example\r\n250 8BITMIME\r\n"
        elif found := _RECIPIENT.match(line):
            self._recipients.append(found[1].decode())
        elif line[:4].upper() in (b"RSET", b"MAIL"):
            self._recipients = []
        return b"250 2.0.0 OK\r\n"


@dataclass
class Account:
    """What became of the messages that were begun to be sent."""

    answered: dict[str, int] = field(default_factory=dict)
    """Code of the answer to each whole message."""
    unanswered: set[str] = field(default_factory=set)
    """Whose sender heard nothing, or to try again."""
    taken: Counter[str] = field(default_factory=Counter)
    held: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    swaps: int = 0
    seconds: float = 0.0

    @property
    def settled(self) -> int:
        """Messages that somebody has, or that were refused for good."""
        return len(self.answered)

    def count(self, places: Iterable[str]) -> int:
        """How many of the answered messages are in ``places``."""
        return sum(number in self.answered for number in places)

    @property
    def had_trouble(self) -> bool:
        """Whether one of each kind was killed, and both sets were in use."""
        return bool(self.kills["door"] and self.kills["worker"] and self.swaps > 1)

    @property
    def rejected(self) -> int:
        """Messages that were refused for good."""
        return sum(code >= 500 for code in self.answered.values())

    def astray(self) -> dict[str, str]:
        """Messages that are not where their answer says, with what is wrong."""
        wrong = {}
        for number, code in self.answered.items():
            places = self.taken[number] + self.held[number]
            if places != (code < 500):
                wrong[number] = f"answered {code}, and is in {places} places"
        for number in self.unanswered:
            if (places := self.taken[number] + self.held[number]) > 1:
                wrong[number] = f"was sent once, not answered, and is in {places} places"
        known = self.answered.keys() | self.unanswered
        wrong |= dict.fromkeys((self.taken + self.held).keys() - known, "nobody sent it")
        return wrong


class Doors:
    """Processes of Mailward that share one port, each started again when it was killed."""

    def __init__(self, config: Config, hop_port: int, folder: Path) -> None:
        self.port = free_port()
        self._log = (folder / "mailward.log").open("ab")
        self._told = os.environ | {
            "MAILWARD_STATE_DIR": str(config.state_dir),
            "MAILWARD_SMTP__LISTEN": f"127.0.0.1:{self.port}",
            "MAILWARD_SMTP__NEXT_HOP": f"127.0.0.1:{hop_port}",
            "MAILWARD_SMTP__REUSE_PORT": "true",
            "MAILWARD_SCAN__WORKERS": "1",
            "MAILWARD_EVENTS__DATABASE": "false",
            "MAILWARD_LOG__LEVEL": "warning",
        }
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """One more."""
        self._running.append(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "mailward", "run", "--only", "doors"),
                env=self._told,
                stdout=self._log,
                stderr=self._log,
            )
        )

    async def kill(self, *, worker: bool) -> bool:
        """End a process or a worker of one, at once; whether there was one to be killed."""
        able = [(process, _children(process.pid)) for process in self._running]
        able = [(process, workers) for process, workers in able if workers]
        if not able or (not worker and len(able) < len(self._running)):
            return False
        process, workers = random.choice(able)
        if worker:
            os.kill(random.choice(workers), signal.SIGKILL)
            return True
        self._running.remove(process)
        process.kill()
        await process.wait()
        await self.start()
        return True

    async def answer(self) -> None:
        """Wait until one of them takes connections."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    async def stop(self) -> None:
        """As an administrator stops them: what was begun is finished."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            await asyncio.wait_for(process.wait(), 60)
        self._log.close()


class Senders:
    """``smtp-source`` again and again, until so many messages have been settled amid trouble."""

    def __init__(self, account: Account, count: int, doors: Doors, folder: Path) -> None:
        self._account, self._count, self._doors = account, count, doors
        self._begun = 0
        samples = {sample.name: sample.message for sample in testing.samples()}
        self._files = []
        for name in ("clean", "EICAR attached", "program, called one"):
            path = folder / f"{name.split()[0]}.eml"
            path.write_bytes(samples[name].replace(b"\r\n", b"\n"))
            self._files.append(path)

    async def run(self) -> None:
        """Begin a batch as long as messages are missing. Of ten one is malware, one suspicious."""
        while (missing := self._count - self._account.settled) > 0 or not self._account.had_trouble:
            self._begun += 1
            batch = self._begun
            await self._doors.answer()
            file = self._files[{4: 1, 9: 2}.get(batch % 10, 0)]
            await self._batch(f"b{batch}", file, min(BATCH, missing) if missing > 0 else BATCH)

    async def _batch(self, name: str, file: Path, size: int) -> None:
        source = await asyncio.create_subprocess_exec(
            *(SMTP_SOURCE, "-v", "-A", "-d", "-N", "-s", "1", "-m", str(size)),
            *("-f", "a@example.org", "-t", f"{name}@example.net", "-F", str(file)),
            f"127.0.0.1:{self._doors.port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert source.stderr is not None
        number, after_dot = "", False
        async for line in source.stderr:
            if (said := _HEARD.match(line.rstrip())) is None:
                continue
            if said["id"]:
                self._unanswered(number)
                number = said["id"].decode()
            elif said["dot"]:
                after_dot = True
            elif after_dot:
                after_dot = False
                if said["code"][:1] in b"25":
                    self._account.answered[number] = int(said["code"])
                    number = ""
        self._unanswered(number)
        await source.wait()

    def _unanswered(self, number: str) -> None:
        if number:
            self._account.unanswered.add(number)


def protected(folder: Path) -> Config:
    """A store with two sets to swap, both with the starter definitions."""
    config = through.protected(folder, "127.0.0.1:1")
    publisher = Publisher(folder / "publisher")
    more = folder / "more.txt"
    more.write_text(f"{'ab' * 32}:7:Example.More\n")
    built = build(publisher.home, parse_specs(["starter", f"hashes={more}"]))
    publisher.publish(built.version, forced="another set to swap to")
    main.agent(config).refresh(Channel.RAPID)
    return config


async def account(config: Config, folder: Path, count: int, kill_every_s: float) -> Account:
    """Settle ``count`` messages while something is killed and the set is swapped all the time."""
    result = Account()
    loop = asyncio.get_running_loop()
    recorder = await loop.create_server(
        lambda: Recorder(result.taken), "127.0.0.1", 0, backlog=1024
    )
    doors = Doors(config, recorder.sockets[0].getsockname()[1], folder)
    try:
        for _ in range(DOORS):
            await doors.start()
        await doors.answer()
        began = time.monotonic()
        senders = Senders(result, count, doors, folder)
        async with asyncio.TaskGroup() as sending:
            trouble = asyncio.create_task(_make_trouble(config, doors, result, kill_every_s))
            for _ in range(SENDERS):
                sending.create_task(senders.run())
        trouble.cancel()
        await asyncio.gather(trouble, return_exceptions=True)
        result.seconds = time.monotonic() - began
    finally:
        await doors.stop()
        recorder.close()
    for entry in main.quarantine(config).list():
        assert isinstance(entry, Held), "a message in quarantine is damaged"
        result.held.update(path.partition("@")[0] for path in entry.envelope.recipients)
    return result


async def _make_trouble(config: Config, doors: Doors, result: Account, every_s: float) -> None:
    store = main.store(config)
    versions = [stored.version for stored in store.sets()]
    while True:
        for worker in (True, False):
            enough = result.settled + _PROGRESS
            await asyncio.sleep(every_s)
            while result.settled < enough:  # noqa: ASYNC110 (the senders know of no blows)
                await asyncio.sleep(_LOOK_S)
            if await doors.kill(worker=worker):
                result.kills["worker" if worker else "door"] += 1
            await asyncio.to_thread(_swap, config, versions[result.swaps % len(versions)])
            result.swaps += 1


def _swap(config: Config, version: Version) -> None:
    with main.store(config).writer("no loss") as writer:
        writer.activate(version, "swapped under load", by_administrator=True)


def _children(pid: int) -> list[int]:
    """Of workers, and of what they are forked from."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [each for child in map(int, text.split()) for each in (child, *_children(child))]
