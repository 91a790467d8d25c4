"""What the doors are told."""

from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from mailward.rules import Networks, networks
from mailward.settings.base import MIB, Positive, Seconds, Section
from mailward.settings.domains import Domain, domain_key

Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):[0-9]{1,5}$")]
Listen = Annotated[str, Field(pattern=r"^(/.{1,106}|(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5})$")]
"""Address and port, or the path of a Unix socket (``sun_path`` has room for 107 bytes)."""
Hop = Annotated[
    str, Field(pattern=r"^(lmtp:)?(/.{1,106}|(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5})$")
]
"""A mail server: address and port, or the path of a Unix socket; ``lmtp:`` in front: LMTP."""
SocketMode = Annotated[str, Field(pattern=r"^[0-7]{3}$")]
Doubted = Literal["ERROR", "FOUND"]
ClamdName = Annotated[str, Field(pattern=r"^[!-9;-~]{1,200}$")]


class HopTls(StrEnum):
    """What is asked of the connection to the next hop; Postfix's words for it."""

    NONE = "none"
    MAY = "may"
    """TLS if it is offered."""
    ENCRYPT = "encrypt"
    """TLS or 451."""
    VERIFY = "verify"
    """TLS with a certificate for the host in ``smtp.next_hop``, or 451."""


class Route(Section):
    """Recipients whose mail goes to other servers than ``smtp.next_hop``."""

    domains: Annotated[tuple[Domain, ...], Field(min_length=1)]
    next_hops: Annotated[tuple[Hop, ...], Field(min_length=1)]
    """The first that answers takes the session."""


class SmtpSettings(Section):
    """The SMTP gateway: takes a message, scans it, hands it on, passes the answer back."""

    enabled: bool = Field(True, description="open the SMTP gateway with `mailward run`")
    listen: Address = Field("127.0.0.1:2525", description="address and port to take mail on")
    reuse_port: bool = Field(
        False, description="let several processes listen there (`mailward run --only doors`)"
    )
    next_hop: Hop = Field(
        "127.0.0.1:10026",
        description="mail server that scanned mail is handed to: address and port or path of a "
        "Unix socket, with `lmtp:` in front if it speaks LMTP",
    )
    next_hop_fallback: tuple[Hop, ...] = Field(
        (), description="servers that take its place when it does not answer, tried in this order"
    )
    routes: tuple[Route, ...] = Field(
        (), description="other next hops for the recipients of some domains"
    )
    hostname: str = Field("", description="name in greetings; empty: this computer's")
    proxies: tuple[str, ...] = Field(
        (),
        description="networks of load balancers whose connections begin with the PROXY protocol "
        "(version 1 or 2), which says who the client is",
    )
    xclient: tuple[str, ...] = Field(
        (),
        description="networks of mail servers and test programs whose XCLIENT says who the client "
        "of a session is",
    )
    xforward: tuple[str, ...] = Field(
        (),
        description="networks of mail servers whose XFORWARD says who a message comes from",
    )
    tls_certificate: Path | None = Field(
        None, description="certificates (PEM), ours first: offers STARTTLS; read again when changed"
    )
    tls_key: Path | None = Field(
        None, description="its private key (PEM, no password); not set: in the same file"
    )
    tls_required: bool = Field(False, description="no mail from clients without TLS (530)")
    next_hop_tls: HopTls = Field(
        HopTls.NONE,
        description="to the next hop: none; may (if offered); encrypt (or 451); verify "
        "(with a certificate for its host, or 451)",
    )
    next_hop_ca_file: Path | None = Field(
        None, description="certificates (PEM) to trust in place of the system's, for verify"
    )
    max_message_bytes: Positive = Field(
        50 * MIB, description="announced as SIZE; larger messages are refused with 552"
    )
    max_recipients: Positive = Field(
        1000, description="for one message; RFC 5321 section 4.5.3.1.8 asks for at least 100"
    )
    max_connections: Positive = Field(
        200, description="at once; further ones get 421 and try again"
    )
    max_connections_per_client: Positive = Field(50, description="at once from one address")
    client_timeout_s: Seconds = Field(
        300.0, description="of silence from a client; RFC 5321 section 4.5.3.2.7"
    )
    next_hop_timeout_s: Seconds = Field(
        60.0, description="for each answer of the next hop; then 451 and the sender tries again"
    )

    @field_validator("routes")
    @classmethod
    def _are_told_apart(cls, routes: tuple[Route, ...]) -> tuple[Route, ...]:
        known: set[str] = set()
        for domain in (domain for route in routes for domain in route.domains):
            if (name := domain_key(domain)) in known:
                raise ValueError(f"{domain} is in two routes")
            known.add(name)
        return routes

    @field_validator("proxies", "xclient", "xforward")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        networks(texts)
        return texts

    @cached_property
    def proxy_networks(self) -> Networks:
        """``proxies``, parsed."""
        return networks(self.proxies)

    @cached_property
    def xclient_networks(self) -> Networks:
        """``xclient``, parsed."""
        return networks(self.xclient)

    @cached_property
    def xforward_networks(self) -> Networks:
        """``xforward``, parsed."""
        return networks(self.xforward)


class ClamdUnscannable(Section):
    """What clamd's clients hear of what could not be looked into, by reason (S11).

    A name to be FOUND; ``ERROR``: a failure, so that mail is tried again; ``OK``: clean.
    """

    encrypted: ClamdName = Field(
        "Heuristics.Encrypted.*",
        description="it has a password; `*` becomes Zip, RAR, 7Zip, EGG, PDF, Doc or Container",
    )
    malformed: ClamdName = Field(
        "Heuristics.Broken.Container", description="it is not what its format says"
    )
    unsupported: ClamdName = Field(
        "Heuristics.Unsupported.Container", description="a format that cannot be opened yet"
    )
    limit: ClamdName = Field(
        "Heuristics.Limits.Exceeded", description="it went over one of the limits in [scan]"
    )
    time: ClamdName = Field(
        "Heuristics.Limits.Exceeded.MaxScanTime", description="it took too long"
    )
    crash: ClamdName = Field(
        "Heuristics.Limits.Exceeded.Crash", description="it ended two workers (S13)"
    )


class ClamdSettings(Section):
    """The clamd protocol: for whatever speaks to ClamAV's daemon."""

    enabled: bool = Field(False, description="answer the clamd protocol with `mailward run`")
    listen: tuple[Listen, ...] = Field(
        ("/run/mailward/clamd.sock",),
        description="paths of Unix sockets, and addresses with port such as 127.0.0.1:3310",
    )
    reuse_port: bool = Field(
        False, description="let several processes listen there (`mailward run --only doors`)"
    )
    socket_mode: SocketMode = Field("660", description="of Unix sockets, octal")
    socket_group: str = Field("", description="of Unix sockets; empty: the one it runs with")
    max_stream_bytes: Positive = Field(
        100 * MIB, description="of what a client sends; clamd's StreamMaxLength default"
    )
    max_connections: Positive = Field(
        100, description="at once; further ones wait; clamd's MaxQueue default"
    )
    client_timeout_s: Seconds = Field(
        120.0, description="of silence from a client; clamd's ReadTimeout default"
    )
    paths: bool = Field(
        True, description="read files that clients on Unix sockets name (SCAN and the like)"
    )
    paths_over_tcp: bool = Field(
        False, description="the same for TCP, where nobody knows who asks: an oracle on any file"
    )
    shutdown: bool = Field(False, description="obey SHUTDOWN; whoever can connect can send it")
    doubted: Doubted = Field(
        "ERROR",
        description="what is answered to what only a doubted signature finds (S14): ERROR, so that "
        "mail is tried again until somebody has judged it, or FOUND",
    )
    unscannable: ClamdUnscannable = ClamdUnscannable()


class MilterSettings(Section):
    """The milter protocol: for Postfix and Sendmail, which hand mail in to be judged."""

    enabled: bool = Field(False, description="answer the milter protocol with `mailward run`")
    listen: tuple[Listen, ...] = Field(
        ("127.0.0.1:10025",),
        description="addresses with port, and paths of Unix sockets",
    )
    reuse_port: bool = Field(
        False, description="let several processes listen there (`mailward run --only doors`)"
    )
    socket_mode: SocketMode = Field("660", description="of Unix sockets, octal")
    socket_group: str = Field("", description="of Unix sockets; empty: the one it runs with")
    max_message_bytes: Positive = Field(
        50 * MIB,
        description="larger messages are refused with 552; the mail server has a limit too",
    )
    max_connections: Positive = Field(
        5000, description="at once; mail servers keep one for each client of theirs"
    )
    timeout_s: Seconds = Field(
        7210.0, description="of silence from the mail server; libmilter's default"
    )


class HttpSettings(Section):
    """`POST /v1/scan` on the console's address: a message or file in, its verdict out."""

    enabled: bool = Field(False, description="answer `POST /v1/scan` at `console.listen`")
    tokens: Path | None = Field(
        None, description="file with one token a line, for its owner only; who asks shows one"
    )
    max_bytes: Positive = Field(100 * MIB, description="of what is to be scanned")
    doubted: Doubted = Field(
        "ERROR",
        description="what is answered to what only a doubted signature finds (S14): ERROR (503, "
        "come again, until somebody has judged it), or FOUND",
    )
    max_concurrent: Positive = Field(
        8, description="scans at once; further ones get 503 and come again"
    )
