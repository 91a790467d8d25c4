"""SIGHUP while sessions are open, and several processes at one door."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import aiosmtplib

from mailward.doors.testing import FakeHop
from tests.e2e import service, through


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 (another process has no event to wait for)
            await asyncio.sleep(0.02)


async def greeting(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return line.decode().split()[1]


async def test_a_changed_configuration_is_put_into_force_and_no_session_is_dropped(
    tmp_path: Path,
) -> None:
    async with FakeHop() as hop:
        state = through.protected(tmp_path, hop.address).state_dir
        path, port, other = tmp_path / "mailward.toml", free_port(), free_port()

        def configure(name: str, at: int = port, policy: str = "") -> None:
            path.write_text(
                f'[smtp]\nlisten = "127.0.0.1:{at}"\nnext_hop = "{hop.address}"\n'
                f'hostname = "{name}"\n{policy}'
            )

        configure("before.example")
        with service.running(state, tmp_path, f"127.0.0.1:{port}", CONFIG=str(path)) as instance:
            said = instance.log
            client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port)
            await client.connect()
            await client.mail("a@example.org")
            await client.rcpt("b@example.net")

            configure("after.example", policy='[policy]\nclean = "reject"\n')
            instance.process.send_signal(signal.SIGHUP)
            await until(lambda: "configuration read again" in said())
            assert await greeting(port) == "after.example"
            code, _ = await client.data(b"Subject: x\r\n\r\nhello\r\n")
            assert (code, len(hop.messages)) == (250, 1)  # as it began

            path.write_text("[smtp]\nlisten = 7\n")
            instance.process.send_signal(signal.SIGHUP)
            await until(lambda: "stays in force" in said())
            assert await greeting(port) == "after.example"

            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                taken.listen()
                configure("never.example", at=taken.getsockname()[1])
                instance.process.send_signal(signal.SIGHUP)
                await until(lambda: said().count("stays in force") == 2)
                assert await greeting(port) == "after.example"

            configure("moved.example", at=other)
            instance.process.send_signal(signal.SIGHUP)
            await until(lambda: said().count("configuration read again") == 2)
            assert await greeting(other) == "moved.example"
            await client.mail("a@example.org")  # still the first session
            await client.quit()


async def test_several_processes_take_mail_at_one_port(tmp_path: Path) -> None:
    async with FakeHop() as hop:
        state = through.protected(tmp_path, hop.address).state_dir
        port = free_port()
        address = f"127.0.0.1:{port}"
        settings = {
            "SMTP__LISTEN": address,
            "SMTP__NEXT_HOP": hop.address,
            "SMTP__REUSE_PORT": "true",
            "SCAN__WORKERS": "1",
        }
        one, two = tmp_path / "one", tmp_path / "two"
        for folder in (one, two):
            folder.mkdir()
        with (
            service.running(state, one, address, "--only", "doors", **settings) as first,
            service.running(state, two, address, "--only", "doors", **settings) as second,
        ):
            await until(lambda: "serving" in second.log())
            served = set[bool]()
            for _ in range(60):
                async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
                    await client.sendmail(
                        "a@x.example", ["b@x.example"], "Subject: x\r\n\r\nhi\r\n"
                    )
                served = {"message" in log() for log in (first.log, second.log)}
                if served == {True}:
                    break
            assert served == {True}
