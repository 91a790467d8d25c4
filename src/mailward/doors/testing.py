"""A scanner that says what the message asks for, and a mail server that keeps what it is given."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from mailward.doors import tls
from mailward.errors import ScannerDownError
from mailward.scan.part import Role
from mailward.scan.verdict import Reason, Risk, Unopened, Verdict

SET = "20261123.007"


class FakeScanner:
    """Finds what the words VIRUS, ODD and LOCKED name; DOWN makes it fail, CRASH is a defect."""

    def __init__(self) -> None:
        self.scanned: list[bytes] = []

    async def scan(
        self, data: bytes | bytearray, *, role: Role = Role.MESSAGE, name: str = ""
    ) -> Verdict:
        """As ``ScanPool.scan``."""
        self.scanned.append(bytes(data))
        await asyncio.sleep(0)
        if b"DOWN" in data:
            raise ScannerDownError("the fake scanner is down")
        if b"CRASH" in data:
            raise RuntimeError("secret detail")
        risks = []
        if b"VIRUS" in data:
            risks.append(Risk("Fake.Virus", "fake", "message", SET))
        if b"ODD" in data:
            risks.append(Risk("Fake.Odd", "fake", "message", SET, suspicious=True))
        unopened = (
            [Unopened("message/1:a.zip", Reason.ENCRYPTED, format="ZIP")]
            if b"LOCKED" in data
            else []
        )
        return Verdict(tuple(risks), tuple(unopened), parts=1, set=SET, ms=0.1)

    def sets(self) -> Mapping[str, int]:
        """As ``ScanPool.sets``."""
        return {SET: 2}


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the fake hop accepted."""

    mail: str
    """The MAIL command's argument."""
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class FakeHop:
    """A mail server on a free loopback port. ``async with`` opens and closes it.

    ``answers``: replies that differ from the usual ones, by verb, ``.`` for the end of data; an
    empty one closes the connection.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    messages: list[Taken] = field(default_factory=list)
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    """Offers STARTTLS."""
    encrypted: int = 0
    """Connections that have used it."""

    @property
    def address(self) -> str:
        """For ``smtp.next_hop``."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> "FakeHop":
        """Open it."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, whoever is still connected."""
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hop.example\r\n")
        mail, recipients = "", list[str]()
        while True:
            line = (await reader.readuntil(b"\r\n"))[:-2].decode("utf-8")
            self.commands.append(line)
            verb, _, argument = line.partition(" ")
            if verb == "MAIL":
                mail, recipients = argument, []
            answer = self.answers.get(verb, _USUAL.get(verb, "250 2.0.0 OK"))
            if verb == "EHLO" and self.tls is not None:
                answer = answer.replace("250-SIZE", "250-STARTTLS\r\n250-SIZE", 1)
            if not answer:
                return
            if verb == "RCPT" and answer.startswith("2"):
                recipients.append(argument)
            writer.write(answer.encode("ascii") + b"\r\n")
            if verb == "STARTTLS" and answer.startswith("220") and self.tls is not None:
                await tls.start(reader, writer, self.tls)
                self.encrypted += 1
            if verb == "QUIT":
                return
            if verb == "DATA" and answer.startswith("354"):
                content = await _read_data(reader)
                answer = self.answers.get(".", "250 2.0.0 queued")
                if not answer:
                    return
                if answer.startswith("2"):
                    self.messages.append(Taken(mail, tuple(recipients), content))
                writer.write(answer.encode("ascii") + b"\r\n")


_USUAL = {
    "EHLO": "250-hop.example\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 SMTPUTF8",
    "DATA": "354 go on",
    "STARTTLS": "220 2.0.0 go on",
    "QUIT": "221 2.0.0 Bye",
}


async def _read_data(reader: asyncio.StreamReader) -> bytes:
    """Line by line and slowly, so that it shares no code with what it tests."""
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise ConnectionResetError
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)
