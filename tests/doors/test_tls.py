"""TLS on both sides of the gateway: offered, required, renewed, attacked."""

import asyncio
import datetime
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mailward.doors import tls
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop, FakeScanner
from mailward.errors import ConfigError
from mailward.protect.quarantine import Quarantine
from mailward.settings.doors import SmtpSettings
from mailward.settings.protect import PolicySettings, QuarantineSettings

Open = Callable[..., Awaitable[Gateway]]


def certificate(path: Path, address: str = "127.0.0.1") -> Path:
    """A self-signed one with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    new = path.with_name(path.name + ".new")
    new.write_bytes(pem)
    new.chmod(0o600)
    new.rename(path)
    return path


def server_context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path / "gateway.pem")


@pytest.fixture
async def hop() -> AsyncIterator[FakeHop]:
    async with FakeHop() as hop:
        yield hop


@pytest.fixture
async def open_gateway(hop: FakeHop, tmp_path: Path) -> AsyncIterator[Open]:
    gateways: list[Gateway] = []

    async def open_(**settings: object) -> Gateway:
        gateway = Gateway(
            SmtpSettings.model_validate(
                {"listen": "127.0.0.1:0", "next_hop": hop.address, "hostname": "mx.example"}
                | settings
            ),
            PolicySettings(),
            FakeScanner(),
            Quarantine(tmp_path / "quarantine", QuarantineSettings()),
        )
        await gateway.start()
        gateways.append(gateway)
        return gateway

    yield open_
    for gateway in gateways:
        await gateway.stop(1.0)


class Client:
    """A plain SMTP client that can encrypt."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def greeted(cls, gateway: Gateway) -> "Client":
        client = cls(*await asyncio.open_connection("127.0.0.1", gateway.port))
        assert (await client.hear()).startswith("220 ")
        return client

    async def hear(self) -> str:
        """The last line of a reply, after all others."""
        said: list[str] = []
        while not said or said[-1][3:4] == "-":
            line = await asyncio.wait_for(self.reader.readline(), 20)
            said.append(line.decode())
            if not line:
                break
        return "".join(said)

    async def ask(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.hear()

    async def encrypt(self, ca: Path) -> None:
        context = ssl.create_default_context(cafile=ca)
        await self.writer.start_tls(context, server_hostname="127.0.0.1")
        self.reader._transport = self.writer.transport  # type: ignore[attr-defined]


async def test_mail_comes_in_encrypted_and_the_trace_says_so(
    open_gateway: Open, pem: Path, hop: FakeHop
) -> None:
    client = await Client.greeted(await open_gateway(tls_certificate=pem))
    assert "STARTTLS" in await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS")).startswith("220 2.0.0 ")
    await client.encrypt(pem)
    assert "STARTTLS" not in await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS")).startswith("503 5.5.1 ")
    assert (await client.ask("MAIL FROM:<a@example.org>")).startswith("250 ")
    assert (await client.ask("RCPT TO:<b@example.org>")).startswith("250 ")
    assert (await client.ask("DATA")).startswith("354 ")
    large = "x" * 70 + "\r\n"
    assert (await client.ask("Subject: hello\r\n\r\n" + large * 20_000 + ".")).startswith("250 ")
    client.writer.close()
    assert b"with ESMTPS id" in hop.messages[0].content
    assert len(hop.messages[0].content) > 20_000 * 72


async def test_what_was_said_in_the_clear_is_forgotten(open_gateway: Open, pem: Path) -> None:
    client = await Client.greeted(await open_gateway(tls_certificate=pem))
    await client.ask("EHLO client.example")
    await client.ask("MAIL FROM:<a@example.org>")
    await client.ask("STARTTLS")
    await client.encrypt(pem)
    assert (await client.ask("RCPT TO:<b@example.org>")).startswith("503 ")
    assert (await client.ask("MAIL FROM:<a@example.org>")).startswith("503 ")
    client.writer.close()


async def test_commands_put_behind_starttls_are_never_obeyed(
    open_gateway: Open, pem: Path, hop: FakeHop
) -> None:
    client = await Client.greeted(await open_gateway(tls_certificate=pem))
    await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS\r\nMAIL FROM:<evil@example.org>")).startswith("554 5.5.1 ")
    assert await client.hear() == ""
    assert not any("evil" in command for command in hop.commands)
    client.writer.close()


async def test_a_handshake_that_is_none_ends_the_session_and_no_other(
    open_gateway: Open, pem: Path
) -> None:
    gateway = await open_gateway(tls_certificate=pem)
    bad = await Client.greeted(gateway)
    await bad.ask("EHLO client.example")
    await bad.ask("STARTTLS")
    bad.writer.write(b"MAIL FROM:<a@example.org>\r\n" * 10)
    with pytest.raises((ConnectionError, AssertionError)):
        assert await asyncio.wait_for(bad.reader.read(), 20) == b"never"
    bad.writer.close()
    good = await Client.greeted(gateway)
    assert "STARTTLS" in await good.ask("EHLO client.example")
    good.writer.close()


async def test_without_a_certificate_nothing_is_offered(open_gateway: Open) -> None:
    client = await Client.greeted(await open_gateway())
    assert "STARTTLS" not in await client.ask("EHLO client.example")
    assert (await client.ask("STARTTLS")).startswith("502 5.5.1 ")
    client.writer.close()


async def test_tls_can_be_required(open_gateway: Open, pem: Path) -> None:
    client = await Client.greeted(await open_gateway(tls_certificate=pem, tls_required=True))
    await client.ask("EHLO client.example")
    assert (await client.ask("MAIL FROM:<a@example.org>")).startswith("530 5.7.0 ")
    await client.ask("STARTTLS")
    await client.encrypt(pem)
    await client.ask("EHLO client.example")
    assert (await client.ask("MAIL FROM:<a@example.org>")).startswith("250 ")
    client.writer.close()


async def test_a_renewed_certificate_is_used_at_once_and_a_broken_one_never(
    open_gateway: Open, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_LOOK_S", 0.0)
    gateway = await open_gateway(tls_certificate=pem)

    async def encrypted() -> None:
        client = await Client.greeted(gateway)
        await client.ask("EHLO client.example")
        await client.ask("STARTTLS")
        await client.encrypt(trusted)  # which fails with any other certificate
        client.writer.close()

    trusted = pem
    await encrypted()
    certificate(pem)
    await encrypted()
    trusted = pem.with_name("kept.pem")
    trusted.write_bytes(pem.read_bytes())
    pem.write_bytes(b"half a certificate")
    await encrypted()


def test_what_cannot_be_used_is_named_at_the_start(pem: Path, tmp_path: Path) -> None:
    def made(**settings: object) -> None:
        found = SmtpSettings.model_validate(settings)
        tls.certificate(found)
        tls.HopSecurity.of(found)

    with pytest.raises(ConfigError, match="No such file"):
        made(tls_certificate=tmp_path / "nothing.pem")
    with pytest.raises(ConfigError, match=r"needs smtp\.tls_certificate"):
        made(tls_required=True)
    with pytest.raises(ConfigError, match="next_hop_ca_file"):
        made(next_hop_tls="verify", next_hop_ca_file=tmp_path / "nothing.pem")
    os.chmod(pem, 0o604)
    with pytest.raises(ConfigError, match="everybody can read"):
        made(tls_certificate=pem)


async def sent(gateway: Gateway) -> str:
    """What became of one message, sent in the clear."""
    client = await Client.greeted(gateway)
    await client.ask("EHLO client.example")
    answer = await client.ask("MAIL FROM:<a@example.org>")
    if answer.startswith("250 "):
        await client.ask("RCPT TO:<b@example.org>")
        await client.ask("DATA")
        answer = await client.ask("Subject: hello\r\n\r\n" + "hello\r\n" * 50_000 + ".")
    client.writer.close()
    return answer


@pytest.mark.parametrize("level", ["may", "encrypt", "verify"])
async def test_mail_goes_to_the_next_hop_encrypted(
    level: str, open_gateway: Open, pem: Path, hop: FakeHop
) -> None:
    hop.tls = server_context(pem)
    gateway = await open_gateway(next_hop_tls=level, next_hop_ca_file=pem)
    assert (await sent(gateway)).startswith("250 ")
    assert (hop.encrypted, len(hop.messages)) == (1, 1)
    assert [command.split()[0] for command in hop.commands[:4]] == [
        "EHLO",
        "STARTTLS",
        "EHLO",
        "MAIL",
    ]


@pytest.mark.parametrize(("level", "code"), [("may", "250"), ("encrypt", "451"), ("verify", "451")])
async def test_a_next_hop_without_tls_gets_mail_only_if_that_may_be(
    level: str, code: str, open_gateway: Open, hop: FakeHop
) -> None:
    assert (await sent(await open_gateway(next_hop_tls=level)))[:3] == code
    assert len(hop.messages) == (code == "250")


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
async def test_a_next_hop_with_a_false_certificate_gets_no_mail_if_it_is_verified(
    address: str, open_gateway: Open, pem: Path, hop: FakeHop, tmp_path: Path
) -> None:
    other = certificate(tmp_path / "other.pem", address)
    hop.tls = server_context(other)
    trusted = pem if address == "127.0.0.1" else other  # another signer, or another name
    gateway = await open_gateway(next_hop_tls="verify", next_hop_ca_file=trusted)
    assert (await sent(gateway)).startswith("451 4.4.1 ")
    assert hop.messages == []
    relaxed = await open_gateway(next_hop_tls="encrypt")
    assert (await sent(relaxed)).startswith("250 ")
