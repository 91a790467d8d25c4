"""The gateway is killed in the middle of its work: no message is lost (S12)."""

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path

from mailward.doors.testing import FakeHop
from mailward.protect.quarantine import Quarantine
from mailward.settings.protect import QuarantineSettings

GATEWAY = """
import asyncio, sys
from pathlib import Path
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeScanner
from mailward.protect.quarantine import Quarantine

async def main(hop, folder):
    settings = SmtpSettings(listen="127.0.0.1:0", next_hop=hop)
    quarantine = Quarantine(Path(folder), QuarantineSettings())
    gateway = Gateway(settings, PolicySettings(), FakeScanner(), quarantine)
    await gateway.start()
    print(gateway.port, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""
MESSAGES = 120
KILLS = 4
SENDERS = 6


class Killable:
    """A gateway in a process of its own, started again after each kill."""

    def __init__(self, hop: str, folder: Path) -> None:
        self._arguments = (sys.executable, "-c", GATEWAY, hop, str(folder))
        self.port = 0
        self.up = asyncio.Event()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())
        self.up.set()

    async def kill(self) -> None:
        self.up.clear()
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


async def offer(port: int, number: int) -> bool:
    """One message, every third of them for the quarantine; whether it was acknowledged."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    word = "ODD" if number % 3 == 0 else "fine"
    try:
        await reader.readline()
        for command in ("HELO c", f"MAIL FROM:<{number}@example.org>", "RCPT TO:<b@c>", "DATA"):
            writer.write(f"{command}\r\n".encode())
            if not (await reader.readline()).startswith((b"2", b"3")):
                return False
        writer.write(f"\r\n{word} {number}\r\n.\r\n".encode())
        return (await reader.readline()).startswith(b"250 ")
    finally:
        writer.close()


async def test_every_message_arrives_whatever_is_killed_and_when(tmp_path: Path) -> None:
    async with FakeHop() as hop:
        gateway = Killable(hop.address, tmp_path / "quarantine")
        await gateway.start()
        waiting = list(range(MESSAGES))
        acknowledged: list[int] = []
        progress = asyncio.Event()

        async def sender() -> None:
            while waiting:
                await gateway.up.wait()
                number = waiting.pop()
                try:
                    done = await offer(gateway.port, number)
                except ConnectionError:
                    done = False
                (acknowledged if done else waiting).append(number)
                progress.set()

        senders = [asyncio.create_task(sender()) for _ in range(SENDERS)]
        for kill in range(1, KILLS + 1):
            while len(acknowledged) < kill * MESSAGES // (KILLS + 1):
                progress.clear()
                await progress.wait()
            await gateway.kill()
            await gateway.start()
        await asyncio.gather(*senders)
        await gateway.kill()

    quarantine = Quarantine(tmp_path / "quarantine", QuarantineSettings())
    held = [quarantine.message(entry.id) for entry in quarantine.list()]
    arrived = Counter(
        int(message.split()[-1]) for message in held + [taken.content for taken in hop.messages]
    )
    assert sorted(acknowledged) == list(range(MESSAGES))
    assert set(arrived) == set(range(MESSAGES))
    # Only a message that was under way when a gateway was killed can have arrived unacknowledged.
    assert arrived.total() - MESSAGES <= KILLS * SENDERS
