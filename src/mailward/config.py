"""Typed settings: one TOML file and the environment, read once, frozen.

Every key is also an environment variable, ``MAILWARD_SECTION__KEY`` (``MAILWARD_SMTP__LISTEN``),
which wins over the file. ``docs/operations.md`` documents every key; a test compares.

Limits live here too, each with its unit and the reason for its default.
"""

import os
import tomllib
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from mailward import schedule
from mailward.errors import ConfigError
from mailward.rules import Action, Networks, Rule, WhenDown, networks

MIB = 1024 * 1024


def _needs_no_more(action: Action) -> Action:
    if action is Action.REDIRECT:
        raise ValueError("redirect needs an address: write a rule")
    return action


Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Minutes = Annotated[float, Field(gt=0, le=1_440)]
Hours = Annotated[float, Field(gt=0, le=8_760)]
VerdictAction = Annotated[Action, AfterValidator(_needs_no_more)]
Address = Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\s]+):[0-9]{1,5}$")]
Listen = Annotated[str, Field(pattern=r"^(/.{1,106}|(\[[0-9a-fA-F:.]+\]|[^:/\s]+):[0-9]{1,5})$")]
"""Address and port, or the path of a Unix socket (``sun_path`` has room for 107 bytes)."""

SocketMode = Annotated[str, Field(pattern=r"^[0-7]{3}$")]
ClamdName = Annotated[str, Field(pattern=r"^[!-9;-~]{1,200}$")]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _checked(text: str, parse: Callable[[str], object]) -> str:
    try:
        parse(text)
    except ConfigError as e:
        raise ValueError(str(e)) from e
    return text


class ScanSettings(_Section):
    """Workers and limits of a scan. What goes over a limit is unscannable, never clean (S11)."""

    workers: Positive = Field(
        default_factory=lambda: os.cpu_count() or 2,
        description="worker processes; scanning is computing, so one a core",
    )
    message_timeout_s: Seconds = Field(
        60.0, description="for one message; a worker that takes longer is ended (S13)"
    )
    part_timeout_s: Seconds = Field(
        20.0, description="for one engine on one part; one pathological YARA rule takes about that"
    )
    max_message_bytes: Positive = Field(
        150 * MIB, description="larger than what large providers accept (Exchange Online: 150 MB)"
    )
    max_part_bytes: Positive = Field(
        100 * MIB, description="of one part once unpacked; bounds a worker's memory"
    )
    max_total_bytes: Positive = Field(
        400 * MIB,
        description="of all parts of a message once unpacked; ClamAV's MaxScanSize default",
    )
    max_parts: Positive = Field(10_000, description="of a message; ClamAV's MaxFiles default")
    max_depth: Positive = Field(
        17, description="containers and messages inside each other; ClamAV's MaxRecursion default"
    )
    max_ratio: Positive = Field(
        250,
        description="unpacked to packed size of a member above 10 MiB; honest text stays below 100",
    )


class HopTls(StrEnum):
    """What is asked of the connection to the next hop; Postfix's words for it."""

    NONE = "none"
    MAY = "may"
    """TLS if it is offered."""
    ENCRYPT = "encrypt"
    """TLS or 451."""
    VERIFY = "verify"
    """TLS with a certificate for the host in ``smtp.next_hop``, or 451."""


class SmtpSettings(_Section):
    """The SMTP gateway: takes a message, scans it, hands it on, passes the answer back."""

    enabled: bool = Field(True, description="open the SMTP gateway with `mailward run`")
    listen: Address = Field("127.0.0.1:2525", description="address and port to take mail on")
    reuse_port: bool = Field(
        False, description="let several processes listen there (`mailward run --only doors`)"
    )
    next_hop: Address = Field(
        "127.0.0.1:10026", description="mail server that scanned mail is handed to"
    )
    next_hop_fallback: tuple[Address, ...] = Field(
        (), description="servers that take its place when it does not answer, tried in this order"
    )
    hostname: str = Field("", description="name in greetings; empty: this computer's")
    proxies: tuple[str, ...] = Field(
        (),
        description="networks of load balancers whose connections begin with the PROXY protocol "
        "(version 1 or 2), which says who the client is",
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

    @field_validator("proxies")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        networks(texts)
        return texts

    @cached_property
    def proxy_networks(self) -> Networks:
        """``proxies``, parsed."""
        return networks(self.proxies)


class ClamdUnscannable(_Section):
    """What clamd's clients hear of what could not be looked into, by reason (S11).

    A name to be FOUND; ``ERROR``: a failure, so that mail is tried again; ``OK``: clean.
    """

    encrypted: ClamdName = Field("Heuristics.Encrypted.Zip", description="it has a password")
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


class ClamdSettings(_Section):
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
    doubted: Literal["ERROR", "FOUND"] = Field(
        "ERROR",
        description="what is answered to what only a doubted signature finds (S14): ERROR, so that "
        "mail is tried again until somebody has judged it, or FOUND",
    )
    unscannable: ClamdUnscannable = ClamdUnscannable()


class MilterSettings(_Section):
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


class PolicySettings(_Section):
    """Verdict to action. A message with several verdicts gets the harshest of their actions."""

    infected: VerdictAction = Field(
        Action.REJECT, description="a signature says that it is malware"
    )
    suspicious: VerdictAction = Field(
        Action.QUARANTINE, description="a signature says that it looks like an attack"
    )
    unscannable: VerdictAction = Field(
        Action.TAG, description="something could not be looked into: encrypted, malformed, a limit"
    )
    clean: VerdictAction = Field(Action.DELIVER, description="nothing was found")
    scanner_down: WhenDown = Field(
        WhenDown.TEMPFAIL,
        description="no worker can scan: tempfail (451), deliver (tagged), or quarantine",
    )
    rules: tuple[Rule, ...] = Field(
        (), description="asked before the table above, from top to bottom; the first that fits wins"
    )
    internal: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="networks whose mail is outbound, for `direction`"
    )
    authserv_id: str = Field(
        "", description="whose Authentication-Results fields are believed, for `authentication`"
    )

    @field_validator("internal")
    @classmethod
    def _are_networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        networks(texts)
        return texts

    @property
    def changes_mail(self) -> bool:
        """Whether it may touch more than header fields: recipients, or the body."""
        table = (self.infected, self.suspicious, self.unscannable, self.clean)
        return bool(self.rules) or Action.STRIP in table

    @cached_property
    def internal_networks(self) -> Networks:
        """``internal``, parsed."""
        return networks(self.internal)


class ChannelSettings(_Section):
    """One channel, with the defaults of rapid."""

    enabled: bool = Field(False, description="take sets from this channel")
    schedule: str = Field("hourly", description="when to look for new ones")
    stale_after_h: Hours = Field(
        6.0, description="without a check that succeeded, after which status and the log raise it"
    )

    @field_validator("schedule")
    @classmethod
    def _is_schedule(cls, text: str) -> str:
        return _checked(text, schedule.parse)


class CertifiedSettings(ChannelSettings):
    """The certified channel: on, daily."""

    enabled: bool = Field(True, description="take sets from this channel")
    schedule: str = Field("daily", description="when to look for new ones")
    stale_after_h: Hours = Field(
        72.0, description="without a check that succeeded, after which status and the log raise it"
    )


class Role(StrEnum):
    """What an instance is to the store that it uses."""

    UPDATER = "updater"
    """Fetches, activates, rolls back, prunes, and brings the other products up to date."""
    READER = "reader"
    """Only uses what is there."""


class UpdateSettings(_Section):
    """Where definitions come from."""

    role: Role = Field(
        Role.UPDATER,
        description="of several instances on one store one is `updater`, the others are `reader`",
    )
    repository: str = Field(
        "",
        description="address of the repository: https://, http://, ftps://, ftp:// or file://; "
        "empty: none",
    )
    mirrors: tuple[str, ...] = Field(
        (), description="further addresses of the same repository, tried in this order"
    )
    root: Path | None = Field(
        None, description="the publisher's root.json as handed over, the start of all trust"
    )
    certified: CertifiedSettings = CertifiedSettings()
    rapid: ChannelSettings = ChannelSettings()
    timezone: str = Field(
        "", description="of times in schedules, e.g. Europe/Vienna; empty: this computer's"
    )
    proxy: str = Field(
        "",
        description="for https:// and http://, e.g. http://proxy.example:3128; empty: as "
        "https_proxy, http_proxy and no_proxy in the environment say",
    )
    proxy_login: Path | None = Field(
        None, description="file with one line user:password for the proxy, for its owner only"
    )
    ca_file: Path | None = Field(
        None, description="certificates (PEM) to trust in place of the system's, for TLS"
    )
    client_cert: Path | None = Field(
        None, description="certificate (PEM) to show to servers that ask for one"
    )
    client_key: Path | None = Field(
        None, description="its private key (PEM, no password); not set: in the same file"
    )
    ftp_login: Path | None = Field(
        None, description="file with one line user:password for FTP; not set: anonymous"
    )
    ftp_passive: bool = Field(
        True, description="we open FTP's data connections; false (active): the server does"
    )
    license_in_clear: bool = Field(
        False,
        description="show the license also to servers without TLS (http://, ftp://), where others "
        "on the network can read it",
    )
    timeout_s: Seconds = Field(30.0, description="for a connection and for each read from it")
    total_timeout_s: Seconds = Field(1800.0, description="for one file, start to end")
    min_bytes_per_s: Positive = Field(
        1024, description="a download slower than this over 30 s is given up (slow retrieval)"
    )
    max_set_bytes: Positive = Field(
        8 * 1024 * MIB, description="contents of a set together; larger ones are refused"
    )
    known_good: Path | None = Field(
        None,
        description="folder of your own good mail, a message a file; a set that finds anything in "
        "it fails its trial",
    )
    watch_min: Minutes = Field(
        10.0,
        description="minutes after an activation in which a set that crashes, hangs or slows down "
        "workers is left for the one before; longer on a quiet server, until 200 messages were "
        "scanned",
    )
    trial_timeout_s: Seconds = Field(
        600.0, description="for preparing and probing a set in its child process"
    )
    trial_memory_bytes: Positive = Field(
        4096 * MIB, description="private memory of the trial's child process"
    )

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        return _checked(name, schedule.zone)


class StoreSettings(_Section):
    """How much the definition store keeps. The active set and the two before it stay (S6)."""

    folder: Path | None = Field(
        None,
        description="where definitions rest; not set: `definitions` in state_dir. Instances "
        "that share a store name the same folder",
    )
    keep_sets: Positive = Field(5, description="whole sets at rest, the active one included")
    max_bytes: Positive = Field(
        20 * 1024 * MIB, description="of the store; older sets go first, never the protected three"
    )
    min_free_bytes: Positive = Field(
        512 * MIB, description="to leave free on the disk; an update that would not is refused"
    )


class QuarantineSettings(_Section):
    """Where held messages rest."""

    max_bytes: Positive = Field(10 * 1024 * MIB, description="of all held messages")
    max_messages: Positive = Field(100_000, description="held at once")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        30.0, description="after that a held message is removed"
    )
    keep_at_least_h: Annotated[float, Field(ge=0, le=8_760)] = Field(
        24.0,
        description="when it is full the oldest make room, but none younger than that: then what "
        "is to be held is answered with 451",
    )
    key_file: Path | None = Field(
        None,
        description="32 random bytes, for their owner only: messages are encrypted at rest with it",
    )


class StampSettings(_Section):
    """Between Mailwards that mail passes one after the other: what one has scanned, the next need
    not.
    """

    key_file: Path | None = Field(
        None,
        description="32 random bytes, the same on all of them, for their owner only; not set: no "
        "stamp is made or believed",
    )


class DatabaseSettings(_Section):
    """Where events and the quarantine's index are searched."""

    url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://user:password@host/name where servers share one; empty: SQLite "
        "in state_dir. Give it in the environment (MAILWARD_DATABASE__URL) if it has a password",
    )


class EventSettings(_Section):
    """What happened to messages, as JSON lines in `state_dir`/events and in the database."""

    database: bool = Field(True, description="in the database too, for `mailward events`")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(90.0, description="in the database")
    max_bytes: Positive = Field(
        256 * MIB, description="of the file of JSON lines; then it becomes the older of two"
    )


class AlertSettings(_Section):
    """Who is told that something is wrong, beside the log and `mailward status`."""

    addresses: Path | None = Field(
        None,
        description="file with one Apprise address a line (mailto://, ntfy://, json:// and many "
        "others), for its owner only; not set: nobody is told",
    )
    remind_after_h: Hours = Field(
        6.0, description="hours after which an alert that is not over is raised again"
    )


class ConsoleSettings(_Section):
    """What `mailward run` tells programs about itself, over HTTP."""

    enabled: bool = Field(True, description="answer `/healthz` and `/metrics`")
    listen: Address = Field(
        "127.0.0.1:2580",
        description="address and port; there is no login, so keep it on this computer or a network "
        "that you trust",
    )


class HttpSettings(_Section):
    """`POST /v1/scan` on the console's address: a message or file in, its verdict out."""

    enabled: bool = Field(False, description="answer `POST /v1/scan` at `console.listen`")
    tokens: Path | None = Field(
        None, description="file with one token a line, for its owner only; who asks shows one"
    )
    max_bytes: Positive = Field(100 * MIB, description="of what is to be scanned")
    max_concurrent: Positive = Field(
        8, description="scans at once; further ones get 503 and come again"
    )


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    """Console on a terminal, JSON elsewhere."""
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """Least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(_Section):
    """Structured logs on standard error."""

    level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")
    format: LogFormat = Field(
        LogFormat.AUTO, description="console, json, or auto: console on a terminal, json elsewhere"
    )


def _default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/mailward")
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local/state") / "mailward"


class Config(BaseSettings):
    """All settings. Made by ``load``."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="MAILWARD_", env_nested_delimiter="__"
    )

    state_dir: Path = Field(
        default_factory=_default_state_dir,
        description="definitions, quarantine and everything else that lasts",
    )
    update: UpdateSettings = UpdateSettings()
    store: StoreSettings = StoreSettings()
    scan: ScanSettings = Field(default_factory=ScanSettings)
    smtp: SmtpSettings = SmtpSettings()
    clamd: ClamdSettings = ClamdSettings()
    milter: MilterSettings = MilterSettings()
    policy: PolicySettings = PolicySettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    stamp: StampSettings = StampSettings()
    database: DatabaseSettings = DatabaseSettings()
    events: EventSettings = EventSettings()
    alerts: AlertSettings = AlertSettings()
    console: ConsoleSettings = ConsoleSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over file: ``load`` hands the file's content in as initial values."""
        return env_settings, init_settings

    @property
    def definitions_dir(self) -> Path:
        """The definition store's folder."""
        return self.store.folder or self.state_dir / "definitions"

    @property
    def quarantine_dir(self) -> Path:
        """The quarantine's folder."""
        return self.state_dir / "quarantine"

    @property
    def events_dir(self) -> Path:
        """Where events are written as JSON lines."""
        return self.state_dir / "events"

    @property
    def license_dir(self) -> Path:
        """Where licenses rest."""
        return self.state_dir / "license"

    @property
    def trust_dir(self) -> Path:
        """Where the agent keeps the repository's signed metadata."""
        return self.state_dir / "update"


def search_path() -> tuple[Path, ...]:
    """Where a configuration file is looked for when none is named, in this order."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    user = (Path(base) if base else Path.home() / ".config") / "mailward/mailward.toml"
    return (Path("/etc/mailward/mailward.toml"), user)


def load(path: Path | None = None, **overrides: Any) -> Config:
    """Read the configuration. Raises ConfigError, naming the file and the key.

    ``path``: the file named on the command line; otherwise ``$MAILWARD_CONFIG``, otherwise the
    first of ``search_path`` that exists, otherwise defaults. A file that is named must exist.
    """
    named = path or (
        Path(os.environ["MAILWARD_CONFIG"]) if os.environ.get("MAILWARD_CONFIG") else None
    )
    chosen = named or next((p for p in search_path() if p.is_file()), None)
    content: dict[str, Any] = {}
    if chosen is not None:
        try:
            content = tomllib.loads(chosen.read_text(encoding="utf-8"))
        except OSError as e:
            raise ConfigError(f"configuration file {chosen}: {e.strerror}") from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ConfigError(f"configuration file {chosen}: not valid TOML: {e}") from e
    try:
        return Config(**(content | overrides))
    except ValidationError as e:
        source = f"configuration file {chosen}" if chosen else "configuration (environment)"
        problems = "; ".join(
            f"{'.'.join(str(piece) for piece in err['loc'])}: {err['msg']}" for err in e.errors()
        )
        raise ConfigError(f"{source}: {problems}. See docs/operations.md for every key") from e
