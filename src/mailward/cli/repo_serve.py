"""`mailward repo watch` and `mailward repo serve`: what runs for as long as it is left to.

What only they need is imported when they are run: every `mailward` command reads this module.
"""

import asyncio
import signal
import threading
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mailward import logs
from mailward.cli.common import out, settings
from mailward.cli.repo_keys import RepoOption, publisher
from mailward.errors import UsageError
from mailward.publish.home import Home, held
from mailward.publish.limits import Limits

if TYPE_CHECKING:
    from mailward.publish.ftp import FtpSettings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def watch_command(ctx: typer.Context, repo: RepoOption) -> None:
    """Publish by itself what the feeds in publisher.toml give, until Ctrl-C.

    What passes the basic tests goes to rapid at once, what passes the stringent ones to certified
    when its time comes; signatures are kept fresh, and what nobody needs any more is removed.
    Example: `mailward repo watch --repo DIR`
    """
    from mailward.publish.watch import Watch

    logs.configure(settings(ctx).log)
    with_keys = publisher(repo)
    with_keys.home.require()
    stop = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    with held(with_keys.home.watch_lock, "watching", wait_s=0):
        watch = Watch(with_keys.home, with_keys.secrets)
        out.print(f"Watching the feeds of {repo} until Ctrl-C")
        watch.run(stop)


def serve_command(
    ctx: typer.Context,
    repo: RepoOption,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Port 0 takes a free one.")
    ] = "127.0.0.1:8080",
    client_connections: Annotated[
        int, typer.Option("--client-connections", min=1, help="Of one client at once.")
    ] = Limits().connections,
    client_rate: Annotated[
        float, typer.Option("--client-rate", min=0.1, help="Requests of one client a second.")
    ] = Limits().requests_per_s,
    ftp_listen: Annotated[
        str | None, typer.Option("--ftp", metavar="HOST:PORT", help="Also by FTP, anonymously.")
    ] = None,
    ftp_passive: Annotated[
        str | None,
        typer.Option("--ftp-passive", metavar="FIRST-LAST", help="Ports for FTP's data."),
    ] = None,
    ftp_address: Annotated[
        str | None,
        typer.Option("--ftp-address", metavar="ADDRESS", help="What FTP clients see (NAT)."),
    ] = None,
) -> None:
    """Serve the public folder over HTTP, and FTP, until Ctrl-C; other servers do as well.

    Sets of a channel that asks for a license go only to who shows one.
    Example: `mailward repo serve --repo DIR --listen 127.0.0.1:8080 --ftp 127.0.0.1:2121`
    """
    logs.configure(settings(ctx).log)
    home = publisher(repo).home
    home.require()
    if ftp_listen is None and (ftp_passive or ftp_address):
        raise UsageError("--ftp-passive and --ftp-address go with --ftp")
    limits = Limits(client_connections, client_rate)
    by_ftp = None if ftp_listen is None else _ftp_settings(ftp_listen, ftp_passive, ftp_address)
    asyncio.run(_serve(home, _address("--listen", listen), limits, by_ftp))


async def _serve(
    home: Home, address: tuple[str, int], limits: Limits, by_ftp: "FtpSettings | None"
) -> None:
    from mailward.publish import server
    from mailward.publish.gate import Gate
    from mailward.publish.usage import Usage

    folder = home.public
    usage = Usage(home.license_usage)
    gate = Gate(home, usage)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as servers:
        servers.callback(lambda: usage.save(datetime.now(UTC)))
        port = await servers.enter_async_context(server.serving(folder, *address, limits, gate))
        out.print(f"Serving {folder} at http://{_shown(address[0])}:{port}/ until Ctrl-C")
        if by_ftp is not None:
            from mailward.publish import ftp

            port = servers.enter_context(ftp.serving(folder, by_ftp, gate))
            out.print(f"and at ftp://{_shown(by_ftp.host)}:{port}/")
        await stop.wait()


def _ftp_settings(listen: str, passive: str | None, address: str | None) -> "FtpSettings":
    from mailward.publish.ftp import FtpSettings

    host, port = _address("--ftp", listen)
    if passive is None:
        return FtpSettings(host, port, masquerade_address=address)
    first, _, last = passive.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise UsageError(f"--ftp-passive {passive}: write FIRST-LAST, e.g. 50000-50100")
    return FtpSettings(host, port, range(int(first), int(last) + 1), address)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _address(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{option} {text}: write HOST:PORT, e.g. 127.0.0.1:8080 or [::1]:8080")
    return host.strip("[]"), int(port)
