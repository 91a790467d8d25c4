"""Where definitions come from, and how many are kept."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from mailward import schedule
from mailward.settings.base import MIB, Hours, Minutes, Positive, Seconds, Section, checked


class ChannelSettings(Section):
    """One channel, with the defaults of rapid."""

    enabled: bool = Field(False, description="take sets from this channel")
    schedule: str = Field("hourly", description="when to look for new ones")
    stale_after_h: Hours = Field(
        6.0, description="without a check that succeeded, after which status and the log raise it"
    )

    @field_validator("schedule")
    @classmethod
    def _is_schedule(cls, text: str) -> str:
        return checked(text, schedule.parse)


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


class UpdateSettings(Section):
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
        return checked(name, schedule.zone)


class StoreSettings(Section):
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
