"""Logs, alerts, and the console."""

from enum import StrEnum
from pathlib import Path

from pydantic import Field

from mailward.settings.base import Hours, Section
from mailward.settings.doors import Address


class AlertSettings(Section):
    """Who is told that something is wrong, beside the log and `mailward status`."""

    addresses: Path | None = Field(
        None,
        description="file with one Apprise address a line (mailto://, ntfy://, json:// and many "
        "others), for its owner only; not set: nobody is told",
    )
    remind_after_h: Hours = Field(
        6.0, description="hours after which an alert that is not over is raised again"
    )


class ConsoleSettings(Section):
    """What `mailward run` tells programs about itself, over HTTP."""

    enabled: bool = Field(True, description="answer `/healthz` and `/metrics`")
    listen: Address = Field(
        "127.0.0.1:2580",
        description="address and port; there is no login, so keep it on this computer or a network "
        "that you trust",
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


class LogSettings(Section):
    """Structured logs on standard error."""

    level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")
    format: LogFormat = Field(
        LogFormat.AUTO, description="console, json, or auto: console on a terminal, json elsewhere"
    )
