"""TLS at the gateway: our certificate, read again when renewed, and what we ask of the next hop.

TLS 1.2 at least (RFC 8996), the system's OpenSSL decides the rest.
"""

import asyncio
import ssl
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from mailward.errors import ConfigError
from mailward.settings.doors import HopTls, SmtpSettings

log = structlog.get_logger(__name__)

HANDSHAKE_S = 30.0
_LOOK_S = 1.0
"""Between looks at the files: a renewal is in force within that, and costs two stats a second."""


class Certificate:
    """A certificate and its key. Raises ConfigError when they cannot be used at the start."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._paths = (certificate, key or certificate)
        self._context = _server_context(*self._paths)
        self._stamp = self._stamped()
        self._looked = time.monotonic()

    def context(self) -> ssl.SSLContext:
        """For the next handshake. A renewal that cannot be used is logged; the old one stays."""
        if time.monotonic() - self._looked >= _LOOK_S:
            self._looked = time.monotonic()
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._context = _server_context(*self._paths)
                    log.info("certificate read again", certificate=str(self._paths[0]))
                except ConfigError as e:
                    log.error("the certificate cannot be used; the old one stays", why=str(e))
        return self._context

    def _stamped(self) -> tuple[int, ...]:
        stamps = []
        for path in self._paths:
            try:
                found = path.stat()
                stamps += [found.st_mtime_ns, found.st_ino, found.st_size]
            except OSError:
                stamps.append(0)
        return tuple(stamps)


async def start(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    context: ssl.SSLContext,
    *,
    host: str | None = None,
    timeout_s: float = HANDSHAKE_S,
) -> None:
    """The handshake on a connection that is in use. ``host``: who the other side should be.

    Nothing may wait between the word that TLS begins and this, or the first bytes of the handshake
    would be taken for lines. Raises OSError, as what the handshake raises is one.
    """
    await writer.start_tls(context, server_hostname=host, ssl_handshake_timeout=timeout_s)
    reader._transport = writer.transport  # type: ignore[attr-defined]  # noqa: SLF001 (3.11 forgets it)


def unread(reader: asyncio.StreamReader) -> bool:
    """Whether more came than was asked for: what somebody in between put behind a command."""
    return bool(reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 (there is no other way)


@dataclass(frozen=True, slots=True)
class HopSecurity:
    """What we ask of the connection to the next hop."""

    level: HopTls = HopTls.NONE
    context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, settings: SmtpSettings) -> "HopSecurity":
        """As configured. Raises ConfigError."""
        level = settings.next_hop_tls
        if level is HopTls.NONE:
            return cls()
        try:
            context = ssl.create_default_context(cafile=settings.next_hop_ca_file)
        except (OSError, ssl.SSLError) as e:
            raise ConfigError(f"smtp.next_hop_ca_file: {settings.next_hop_ca_file}: {e}") from e
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if level is not HopTls.VERIFY:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return cls(level, context)


PLAIN = HopSecurity()


def certificate(settings: SmtpSettings) -> Certificate | None:
    """Ours; None: STARTTLS is not offered. Raises ConfigError."""
    if settings.tls_certificate is not None:
        return Certificate(settings.tls_certificate, settings.tls_key)
    if settings.tls_required:
        raise ConfigError("smtp.tls_required needs smtp.tls_certificate")
    return None


def _server_context(chain: Path, key: Path) -> ssl.SSLContext:
    try:
        if stat.S_IMODE(key.stat().st_mode) & 0o007:  # S15; a group for certificates is usual
            raise ConfigError(f"smtp.tls_key: everybody can read {key}: chmod o= it")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        # A password cannot be asked for in a service.
        context.load_cert_chain(chain, key, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as e:
        raise ConfigError(f"smtp.tls_certificate {chain} with smtp.tls_key {key}: {e}") from e
    return context
