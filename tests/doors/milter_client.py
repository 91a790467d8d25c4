"""A mail server's half of the milter protocol, as plain as can be: shares no code with the door."""

import asyncio
import struct
from dataclasses import dataclass, field

ALL_ACTIONS = 0x1FF
ALL_STEPS = 0x1FFFFF


def packet(command: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content) + 1) + command + content


def strings(*texts: bytes) -> bytes:
    return b"".join(text + b"\0" for text in texts)


@dataclass
class Told:
    """What the filter said to one message."""

    answer: bytes
    """The last packet, with its letter."""
    asked: list[bytes] = field(default_factory=list)
    """Those before it."""


class Server:
    """One connection. ``async with`` closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.steps = 0

    @classmethod
    async def connect(cls, where: str | int) -> "Server":
        if isinstance(where, int):
            return cls(*await asyncio.open_connection("127.0.0.1", where))
        return cls(*await asyncio.open_unix_connection(where))

    async def __aenter__(self) -> "Server":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, command: bytes, content: bytes = b"") -> None:
        self.writer.write(packet(command, content))

    async def hear(self) -> bytes:
        (size,) = struct.unpack(">I", await asyncio.wait_for(self.reader.readexactly(4), 10))
        return await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 10) == b""

    async def negotiate(
        self, version: int = 6, actions: int = ALL_ACTIONS, steps: int = ALL_STEPS
    ) -> tuple[int, int, int]:
        self.send(b"O", struct.pack(">III", version, actions, steps))
        heard = await self.hear()
        assert heard[:1] == b"O"
        version, actions, self.steps = struct.unpack(">III", heard[1:13])
        return version, actions, self.steps

    def client(self, address: bytes = b"192.0.2.1") -> None:
        family = b"6" if b":" in address else b"4"
        self.send(b"C", strings(b"client.example") + family + b"\x30\x39" + strings(address))

    async def message(self, content: bytes, *recipients: bytes, queue_id: bytes = b"4ABC") -> Told:
        """Send one, and hear what is to be done with it."""
        self.say(content, *recipients, queue_id=queue_id)
        return await self.told()

    def say(self, content: bytes, *recipients: bytes, queue_id: bytes = b"4ABC") -> None:
        """A whole one as Postfix sends it, when the filter answers its end alone."""
        self.send(b"D", b"M" + strings(b"i", queue_id))
        self.send(b"M", strings(b"<sender@example.org>", b"BODY=8BITMIME"))
        for recipient in recipients or (b"<you@example.org>",):
            self.send(b"R", strings(recipient))
        head, _, body = content.partition(b"\n\n")
        for line in head.splitlines():
            name, _, value = line.partition(b":")
            self.send(b"L", strings(name, value if self.steps & 0x100000 else value.lstrip()))
        self.send(b"B", body.replace(b"\n", b"\r\n"))
        self.send(b"E")

    async def told(self) -> Told:
        asked = []
        while (heard := await self.hear())[:1] in b"+-2behilmpq":
            asked.append(heard)
        return Told(heard, asked)
