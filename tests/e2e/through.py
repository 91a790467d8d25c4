"""Real mail through Mailward as it is installed, and an account of what became of each message."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiosmtplib

from mailward import main, testing
from mailward.config import Config
from mailward.definitions.model import Channel, Level
from mailward.protect.quarantine import Quarantine
from mailward.publish import quality
from mailward.publish.build import build
from mailward.publish.feeds import parse_specs
from mailward.publish.repository import Publisher
from mailward.settings.doors import SmtpSettings
from mailward.settings.update import ChannelSettings, UpdateSettings
from tests.e2e.postfix import DOMAIN, Postfix

_LINE_END = re.compile(rb"\r\n|\r|\n")
_ORIGINAL_TO = re.compile(rb"^X-Original-To: m([0-9]+)@", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Account:
    """What the senders heard, and where the messages were found."""

    sent: int
    seconds: float
    answers: Counter[int]
    """Replies to the messages, by code; 250 for those held as well."""
    quarantined: int
    delivered: int
    changed: tuple[int, ...]
    """Numbers of messages whose body is not byte for byte what was sent."""
    astray: tuple[int, ...]
    """Numbers of messages that are not where their answer says, or there twice."""

    @property
    def rejected(self) -> int:
        """Messages that were refused for good."""
        return sum(count for code, count in self.answers.items() if code >= 500)


def corpus(data: Path, every: int = 1) -> list[bytes]:
    """Messages of the SpamAssassin corpus as a client would send them: CRLF, no mbox line."""
    paths = sorted((data / "mail/spamassassin").rglob("*.txt"))[::every]
    return [as_sent(path.read_bytes()) for path in paths]


def as_sent(message: bytes) -> bytes:
    """With CRLF at the end of every line, the last one too, and without the mbox line."""
    message = _LINE_END.sub(b"\r\n", message)
    if message.startswith(b"From "):
        message = message.partition(b"\r\n")[2]
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def samples() -> list[bytes]:
    """Messages that the starter definitions know."""
    return [as_sent(sample.message) for sample in testing.samples()]


def protected(folder: Path, next_hop: str) -> Config:
    """A configuration whose store has the starter definitions, published and fetched for real."""
    publisher = Publisher(folder / "publisher")
    root = publisher.init()
    built = build(publisher.home, parse_specs(["starter"]))
    if not quality.check(publisher.home, built.version, Level.BASIC).passed:
        raise ValueError("the starter definitions do not pass their own tests")
    publisher.publish(built.version)
    config = Config().model_copy(
        update={
            "state_dir": folder / "state",
            "update": UpdateSettings(
                repository=(folder / "publisher/public").as_uri(),
                root=root,
                rapid=ChannelSettings(enabled=True),
            ),
            "smtp": SmtpSettings(listen="127.0.0.1:0", next_hop=next_hop),
        }
    )
    main.agent(config).refresh(Channel.RAPID)
    return config


async def send_all(port: int, messages: Sequence[bytes], clients: int) -> list[int]:
    """Offer message ``i`` to ``m<i>`` at the protected domain; the reply codes, in order."""
    codes = [0] * len(messages)
    waiting = list(range(len(messages)))[::-1]

    async def client() -> None:
        smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, timeout=120)
        async with smtp:
            while waiting:
                number = waiting.pop()
                try:
                    await smtp.mail("sender@example.org")
                    await smtp.rcpt(f"m{number}@{DOMAIN}")
                    codes[number] = (await smtp.data(messages[number])).code
                except aiosmtplib.SMTPResponseException as e:
                    codes[number] = e.code
                    await smtp.rset()

    await asyncio.gather(*(client() for _ in range(clients)))
    return codes


async def through_gateway(config: Config, messages: Sequence[bytes], clients: int) -> list[int]:
    """``send_all`` to a gateway with workers, as `mailward run` has them."""
    async with main.Service(config) as service:
        return await send_all(service.gateway.port, messages, clients)


def account(config: Config, postfix: Postfix, messages: Sequence[bytes], clients: int) -> Account:
    """Send everything, then look for each message wherever it may be."""
    began = time.perf_counter()
    codes = asyncio.run(through_gateway(config, messages, clients))
    seconds = time.perf_counter() - began
    held = _held(main.quarantine(config))
    accepted = {i for i, code in enumerate(codes) if code == 250}
    found = [_number_and_body(mail) for mail in postfix.delivered(len(accepted - set(held)))]
    delivered = Counter(number for number, _ in found)
    bodies = [(number, body.replace(b"\n", b"\r\n")) for number, body in found]
    bodies += [(number, _body(message)) for number, message in held.items()]
    where = delivered + Counter(held.keys())
    return Account(
        sent=len(messages),
        seconds=seconds,
        answers=Counter(codes),
        quarantined=len(held),
        delivered=delivered.total(),
        changed=tuple(sorted(n for n, body in bodies if body != _body(messages[n]))),
        astray=tuple(i for i in range(len(messages)) if where[i] != (i in accepted)),
    )


def _held(quarantine: Quarantine) -> dict[int, bytes]:
    held = {}
    for entry in quarantine.list():
        (recipient,) = quarantine.get(entry.id).envelope.recipients
        held[int(recipient[1:].partition("@")[0])] = quarantine.message(entry.id)
    return held


def _number_and_body(mail: bytes) -> tuple[int, bytes]:
    header, _, body = mail.partition(b"\n\n")
    match = _ORIGINAL_TO.search(header)
    if match is None or b"\nX-Mailward-Verdict: " not in header:
        raise ValueError(f"a message in the mailbox did not come from the gateway: {header!r}")
    return int(match[1]), body


def _body(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]
