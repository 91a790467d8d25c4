"""What comes from strangers beside the mail itself (clients, publishers, feeds), and from people.

Each may refuse its input by the errors that it documents, and by no other.
"""

import asyncio
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.proxy_protocol import get_proxy
from pydantic import BaseModel, TypeAdapter, ValidationError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from mailward.definitions import frames
from mailward.definitions.history import History
from mailward.definitions.ignored import entry_of
from mailward.definitions.model import Channel, Current, Manifest, Trial, Version
from mailward.definitions.pointer import Pointer
from mailward.doors import clamd_wire, commands, headers, milter_wire, strict_reader
from mailward.errors import FormatError, MailwardError, TrustError
from mailward.fetch import backoff
from mailward.license.published import LicenseKey, Licensing
from mailward.license.token import clean, verify
from mailward.protect.mail import Mail, mail_text
from mailward.publish.feeds.clamav import ClamavFeed
from mailward.publish.feeds.clamav_container import read_container
from mailward.publish.feeds.hashes import HashFeed
from mailward.publish.feeds.spec import read_spec
from mailward.publish.feeds.yara import YaraFeed
from mailward.rules import Patterns, Rule
from mailward.schedule import parse as parse_schedule
from mailward.settings.scan import ScanSettings
from mailward.update import trust

Parser = Callable[[bytes], object]


def _refused_by(*errors: type[Exception]) -> Callable[[Parser], Parser]:
    def allowed(parse: Parser) -> Parser:
        def allowing(data: bytes) -> None:
            try:
                parse(data)
            except errors:
                return

        return allowing

    return allowed


_refusable = _refused_by(MailwardError)


# --- doors ---


@_refused_by(milter_wire.ProtocolError)
def _milter(data: bytes) -> None:
    decoder = milter_wire.Decoder()
    for _ in decoder.receive(data):
        decoder.macro(b"i")


@_refused_by(milter_wire.ProtocolError)
def _milter_packets(data: bytes) -> None:
    """Lines as packets, so that their lengths are right."""
    decoder = milter_wire.Decoder()
    negotiated = b"O" + (6).to_bytes(4, "big") + b"\0\0\1\xff\0\x1f\xff\xff"
    for packet in (negotiated, *data.split(b"\n")):
        for _ in decoder.receive(len(packet).to_bytes(4, "big") + packet):
            decoder.macro(b"{client_addr}")


def _clamd(data: bytes) -> None:
    buffer = bytearray(data)
    while clamd_wire.next_command(buffer, eof=len(data) % 2 == 0) is not None:
        if len(buffer) >= clamd_wire.MAX_COMMAND:
            break


@_refused_by(commands.BadCommandError)
def _smtp_mail(data: bytes) -> None:
    commands.parse_mail(data.decode("utf-8", "surrogateescape")).parameters()


@_refused_by(commands.BadCommandError)
def _smtp_rcpt(data: bytes) -> None:
    commands.parse_rcpt(data.decode("utf-8", "surrogateescape"), smtputf8=len(data) % 2 == 0)


@_refused_by(strict_reader.BadLineError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
def _smtp_data(data: bytes) -> None:
    async def read() -> None:
        reader = strict_reader.StrictReader(limit=1024)
        reader.feed_data(data)
        reader.feed_eof()
        await reader.readuntil()
        taken = await reader.read_data(4096)
        strict_reader.smuggling_fault(taken.content)

    asyncio.run(read())


def _proxy(data: bytes) -> None:
    async def read() -> None:
        reader = strict_reader.StrictReader(limit=1024)
        reader.feed_data(data)
        reader.feed_eof()
        await get_proxy(reader)

    try:
        asyncio.run(read())
    except asyncio.IncompleteReadError:
        return


def _header_fields(data: bytes) -> None:
    head, rest = headers.split(data)
    assert head + rest == data
    cleaned = headers.without_ours(data)
    if b"\n" not in data.replace(b"\r\n", b""):  # other ends of lines are refused at the doors
        assert headers.without_ours(cleaned) == cleaned
    headers.hops(data)
    headers.with_subject(data, "[tag]")
    mail = Mail("a@example.org", (), "", data)
    mail.authentication("mx.example.org")
    mail_text(data, "subject")


# --- publishers ---

_NAMED = Licensing(
    publisher="p",
    product="mailward",
    keys=(LicenseKey(keyid="ab" * 32, public="ab" * 32),),
)


@_refusable
def _license(data: bytes) -> None:
    verify(clean(data), _NAMED)


def _metadata(kind: Callable[[bytes], object]) -> Parser:
    return _refusable(kind)


def _model(kind: type[BaseModel]) -> Parser:
    adapter = TypeAdapter(kind)

    @_refused_by(ValidationError)
    def parse(data: bytes) -> None:
        adapter.validate_json(data)

    return parse


@_refused_by(RepositoryError)
def _tuf(data: bytes) -> None:
    Metadata.from_bytes(data)


@_refused_by(TrustError)
def _object(data: bytes) -> None:
    for _ in frames.unpack_object(iter((data,)), 1 << 16, "fuzz"):
        pass


@_refused_by(TrustError)
def _patch(data: bytes) -> None:
    for _ in frames.unpack_patch(iter((data,)), data[:100], 1 << 16, "fuzz"):
        pass


# --- feeds, and what lies on the disk ---

_FOLDER = Path(tempfile.mkdtemp(prefix="mailward-fuzz-"))


def _file(read: Callable[[Path], object], *names: str) -> Parser:
    @_refusable
    def parse(data: bytes) -> None:
        path = _FOLDER / names[len(data) % len(names)]
        path.write_bytes(data)
        read(path)

    return parse


@_refused_by(FormatError, TrustError)
def _clamav_container(data: bytes) -> None:
    read_container(data, ".cud", "fuzz")


@_refused_by(FormatError, TrustError)
def _clamav_members(data: bytes) -> None:
    """With a header that is right."""
    read_container(
        b"ClamAV-VDB:07 Aug 2023 09-00 +0000:1:1:90:::me:1691398800".ljust(512) + data,
        ".cud",
        "fuzz",
    )


# --- what administrators write ---


@_refused_by(ValidationError)
def _rule(data: bytes) -> None:
    when = TypeAdapter(Rule).validate_json(data).when
    if when is not None:
        for patterns in (when.risks, when.file_names, when.senders):
            patterns.fit("a@example.org")


def _patterns(data: bytes) -> None:
    pattern, _, text = data.decode("latin-1").partition("\n")
    Patterns((pattern[:100],)).fit(text[:100])


@_refusable
def _schedule(data: bytes) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    parse_schedule(data.decode("latin-1")).next_after(now, 0.5, UTC)


PARSERS: dict[str, Parser] = {
    "milter": _milter,
    "milter-packets": _milter_packets,
    "clamd": _clamd,
    "smtp-mail": _smtp_mail,
    "smtp-rcpt": _smtp_rcpt,
    "smtp-data": _smtp_data,
    "proxy": _proxy,
    "header-fields": _header_fields,
    "license": _license,
    "manifest": _metadata(Manifest.from_json),
    "trial": _metadata(Trial.from_json),
    "current": _metadata(Current.from_json),
    "current-of-channel": _metadata(lambda raw: trust.read_current(raw, Channel.RAPID)),
    "pointer": _metadata(Pointer.from_json),
    "licensing": _metadata(Licensing.from_json),
    "tuf": _tuf,
    "object": _object,
    "patch": _patch,
    "version": _metadata(lambda raw: Version.parse(raw.decode("latin-1"))),
    "ignored": _metadata(lambda raw: entry_of(raw.decode("latin-1"))),
    "history": _file(lambda path: History(path).read(), "history.jsonl"),
    "retry-after": lambda data: backoff.retry_after_s(
        data.decode("latin-1"), datetime(2026, 1, 1, tzinfo=UTC)
    ),
    "feed-hashes": _file(lambda path: HashFeed("f", path).read(), "h.txt", "h.csv", "h.md"),
    "feed-yara": _file(lambda path: YaraFeed("f", path).read(), "y.yar"),
    "feed-clamav": _file(
        lambda path: ClamavFeed("f", path).read(), "c.ndb", "c.hdb", "c.ldb", "c.cud"
    ),
    "feed-spec": _metadata(lambda raw: read_spec(raw.decode("latin-1"))),
    "clamav-container": _clamav_container,
    "clamav-members": _clamav_members,
    "scan-settings": _model(ScanSettings),
    "rule": _rule,
    "patterns": _patterns,
    "schedule": _schedule,
}
