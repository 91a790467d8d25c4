"""Typed settings: one TOML file and the environment, read once, frozen.

Every key is also an environment variable, ``MAILWARD_SECTION__KEY`` (``MAILWARD_SMTP__LISTEN``),
which wins over the file. ``docs/operations.md`` documents every key; a test compares.

The sections, with their limits, are in ``mailward.settings``.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mailward.errors import ConfigError
from mailward.settings.doors import ClamdSettings, HttpSettings, MilterSettings, SmtpSettings
from mailward.settings.notify import NotifySettings
from mailward.settings.protect import (
    DatabaseSettings,
    EventSettings,
    PolicySettings,
    QuarantineSettings,
    StampSettings,
)
from mailward.settings.scan import ScanSettings
from mailward.settings.service import AlertSettings, ConsoleSettings, LogSettings
from mailward.settings.update import StoreSettings, UpdateSettings


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
    notify: NotifySettings = NotifySettings()
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
