"""`mailward demo`: the whole flow on this computer, from a publisher to a message that is stopped.

A throwaway publisher builds, checks, signs and publishes the starter definitions; a local update
server carries them for those with a license, so an evaluation license is issued and installed; the
agent fetches, proves and activates them; the gateway takes sample mail and
a small sink plays the mail server behind it. Everything rests in one temporary folder.
"""

import asyncio
import errno
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiosmtplib
from aiosmtpd.smtp import SMTP, Envelope

from mailward import durable, main, testing
from mailward.config import Config
from mailward.definitions.model import Channel, Level, Version
from mailward.errors import PublishError
from mailward.protect.held import Held
from mailward.protect.quarantine import Damaged
from mailward.publish import licensing, quality, server
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.gate import Gate
from mailward.publish.home import Home
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.publish.usage import Usage
from mailward.scan.verdict import VerdictKind
from mailward.settings.doors import SmtpSettings
from mailward.settings.update import ChannelSettings, UpdateSettings
from mailward.testing import Sample
from mailward.update.agent import Outcome

LISTEN = "127.0.0.1"
PORT = 2525

_SENDER = "sender@example.org"
_RECIPIENT = "you@example.org"
_EVALUATION_DAYS = 90
_PROMOTED_BECAUSE = "demonstration: basic tests only, on definitions that ship with Mailward"

_EXPECTED = {
    VerdictKind.CLEAN: "delivered",
    VerdictKind.INFECTED: "rejected",
    VerdictKind.SUSPICIOUS: "quarantined",
    VerdictKind.UNSCANNABLE: "delivered, tagged",
}
"""What the policy without any configuration does."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """What happened to one sample."""

    sample: str
    fate: str
    why: str
    as_expected: bool


class Sink:
    """Plays the mail server: counts what it is given, and says so."""

    def __init__(self, say: Say) -> None:
        self.messages: list[bytes] = []
        self._say = say

    async def handle_DATA(self, _server: SMTP, _session: object, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        """aiosmtpd's hook for a finished message."""
        content = envelope.original_content or b""
        self.messages.append(content)
        verdict = next(
            (line for line in content.splitlines() if line.startswith(b"X-Mailward-Verdict:")), b""
        )
        self._say(f"  mail server: took {len(content)} bytes, {verdict.decode(errors='replace')}")
        return "250 2.0.0 taken by the demonstration's mail server"


class Demo:
    """The steps, each a method; ``run`` is the story."""

    def __init__(self, folder: Path, say: Say) -> None:
        self._folder = folder
        self._say = say
        self._sink = Sink(lambda line: None)

    async def run(self, told: Callable[[list[Row]], None], *, once: bool) -> bool:
        """Whether every sample fared as it should. Returns at Ctrl-C unless ``once``."""
        version, root = await asyncio.to_thread(self._publish)
        async with AsyncExitStack() as parts:
            address = await parts.enter_async_context(self._update_server())
            hop = await parts.enter_async_context(self._mail_server())
            config = self._configuration(address, root, hop)
            await asyncio.to_thread(self._license, config)
            for channel in Channel:
                await asyncio.to_thread(self._update, config, channel, version)
            service = await parts.enter_async_context(main.Service(config))
            rows = [await self._send(sample, service) for sample in testing.samples()]
            told(rows)
            if not once:
                self._invite(service.gateway.port)
                await main.until_told_to_stop()
        return all(row.as_expected for row in rows)

    def _publish(self) -> tuple[Version, Path]:
        """A publisher with keys of its own, and the starter definitions in both channels."""
        publisher = Publisher(self._folder / "publisher")
        root = publisher.init()
        built = build(publisher.home, parse_specs(["starter"]))
        self._say(f"publisher: built set {built.version}, {built.manifest.signatures} signatures")
        report = quality.check(publisher.home, built.version, Level.BASIC)
        if not report.passed:
            failed = [f"{g.name}: {g.detail}" for g in report.gates if not g.passed]
            raise PublishError(f"the starter definitions failed their tests: {'; '.join(failed)}")
        licensing.init(publisher, "Mailward demonstration", "definitions")
        publisher.publish(built.version, license_required=True)
        publisher.promote(built.version, forced=_PROMOTED_BECAUSE, license_required=True)
        self._say(
            f"publisher: {len(report.gates)} gates passed; signed into rapid and certified, for "
            "those with a license"
        )
        return built.version, root

    @asynccontextmanager
    async def _update_server(self) -> AsyncIterator[str]:
        home = Home(self._folder / "publisher")
        gate = Gate(home, Usage(home.license_usage))
        async with server.serving(home.public, LISTEN, 0, gate=gate) as port:
            address = f"http://{LISTEN}:{port}"
            self._say(f"update server: {address}")
            yield address

    @asynccontextmanager
    async def _mail_server(self) -> AsyncIterator[int]:
        self._sink = Sink(self._say)
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: SMTP(self._sink, hostname="sink.example.org", enable_SMTPUTF8=True), LISTEN, 0
        )
        with closing(listening):
            yield listening.sockets[0].getsockname()[1]

    def _configuration(self, address: str, root: Path, hop: int) -> Config:
        # Copied onto the defaults: nothing of the administrator's own configuration is touched.
        return Config().model_copy(
            update={
                "state_dir": self._folder / "state",
                "update": UpdateSettings(
                    repository=address, root=root, rapid=ChannelSettings(enabled=True)
                ),
                "smtp": SmtpSettings(
                    listen=f"{LISTEN}:{_free_port(PORT)}",
                    next_hop=f"{LISTEN}:{hop}",
                    hostname="mailward.example.org",
                ),
            }
        )

    def _license(self, config: Config) -> None:
        """An update is refused in words; then the publisher's evaluation license is installed."""
        refused = main.agent(config).refresh(Channel.CERTIFIED)
        self._say(f"agent: {refused.channel}: {refused.result} ({refused.reason})")
        now = datetime.now(UTC)
        order = Order("you, for evaluation", now.date() + timedelta(days=_EVALUATION_DAYS))
        publisher = Publisher(self._folder / "publisher")
        ((terms, token),) = licensing.issue_all(publisher, [order], now)
        file = self._folder / f"{terms.jti}.mwlic"
        durable.write_atomic(file, token.encode(), 0o600)  # S15
        known, _ = main.agent(config).known_of_licenses(list(Channel))
        main.licenses(config).install(file, list(Channel), known, now)
        for each in main.licenses(config).entitlements(list(Channel), now):
            self._say(f"license: {each.sentence}")

    def _update(self, config: Config, channel: Channel, version: Version) -> Outcome:
        outcome = main.agent(config).refresh(channel)
        self._say(
            f"agent: {channel}: {outcome.result} ({outcome.reason}), "
            f"{outcome.bytes_received} bytes in {outcome.requests} requests"
        )
        if outcome.active != version:
            raise PublishError(f"the agent did not activate {version}: {outcome.reason}")
        return outcome

    async def _send(self, sample: Sample, service: main.Service) -> Row:
        """One sample through the gateway: what became of it, and why."""
        delivered_before = len(self._sink.messages)
        held_before = len(service.quarantine.list())
        refusal = ""
        async with aiosmtplib.SMTP(hostname=LISTEN, port=service.gateway.port) as client:
            try:
                await client.sendmail(_SENDER, [_RECIPIENT], sample.message)
            except aiosmtplib.SMTPResponseException as e:
                refusal = f"{e.code} {e.message}"
        delivered = self._sink.messages[delivered_before:]
        held = service.quarantine.list()
        held = held[: len(held) - held_before]
        if refusal and not delivered and not held:
            fate, why = "rejected", refusal
        elif held and not delivered:
            fate, why = "quarantined", _held_because(held[0])
        elif delivered and not held:
            tagged = b"\nX-Mailward-Tag:" in delivered[0]
            fate, why = "delivered, tagged" if tagged else "delivered", _header(delivered[0])
        else:
            fate, why = "lost or doubled", refusal
        return Row(sample.name, fate, why, fate == _EXPECTED[sample.expected])

    def _invite(self, port: int) -> None:
        self._say(
            f"\nThe gateway goes on taking mail at {LISTEN}:{port}. Send a message of your own:\n\n"
            f"  curl smtp://{LISTEN}:{port} --mail-from {_SENDER} --mail-rcpt {_RECIPIENT} "
            "--upload-file message.eml\n\n"
            f"or  swaks --server {LISTEN}:{port} --from {_SENDER} --to {_RECIPIENT} "
            "--attach @file.zip\n\nCtrl-C ends it, and nothing remains."
        )


async def run(say: Say, told: Callable[[list[Row]], None], *, once: bool) -> bool:
    """The demonstration in a temporary folder. Whether every sample fared as it should."""
    with tempfile.TemporaryDirectory(prefix="mailward-demo-") as folder:
        return await Demo(Path(folder), say).run(told, once=once)


def _held_because(entry: Held | Damaged) -> str:
    return entry.decision.reason if isinstance(entry, Held) else "its entry is damaged"


def _header(message: bytes) -> str:
    """What the gateway's own headers say of a delivered message."""
    head = message.partition(b"\r\n\r\n")[0].decode(errors="replace")
    said = dict(
        line.split(": ", 1) for line in head.split("\r\n") if line.startswith("X-Mailward-")
    )
    details = said.get("X-Mailward-Unscannable") or said.get("X-Mailward-Risk")
    verdict = said.get("X-Mailward-Verdict", "no verdict")
    return f"{verdict}: {details}" if details else verdict


def _free_port(wanted: int) -> int:
    """``wanted``, or 0 (any) if somebody has it already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LISTEN, wanted))
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            return 0
    return wanted
