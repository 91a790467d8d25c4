"""The root command: global options, the groups, and errors turned into exit codes."""

import importlib
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mailward import __version__
from mailward.errors import MailwardError

_COMMANDS = {
    "run": ("run", "service"),
    "demo": ("demo", "service"),
    "scan": ("scan", "scan"),
    "update": ("update", "update"),
    "status": ("status", "status"),
    "events": ("events", "events"),
    "definitions": ("app", "definitions"),
    "license": ("app", "license"),
    "products": ("app", "products"),
    "repo": ("app", "repo"),
    "quarantine": ("app", "quarantine", "rescan", "false_positive"),
    "policy": ("app", "policy"),
    "config": ("app", "config"),
}
"""Of each command or group: what it is called in the first of these modules; the others add to it.

They are imported when they are asked for: all of them take most of a second.
"""


@cache
def _load(name: str) -> Any:
    attribute, *modules = _COMMANDS[name]
    imported = [importlib.import_module(f"mailward.cli.{module}") for module in modules]
    command, alone = getattr(imported[0], attribute), typer.Typer(rich_markup_mode="markdown")
    if isinstance(command, typer.Typer):
        alone.add_typer(command, name=name)
    else:
        alone.command(name)(command)
        alone.callback()(lambda: None)  # or it would be no group
    return typer.main.get_group(alone).commands[name]


class _Commands(TyperGroup):
    """The commands of the table."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(_COMMANDS)  # type: ignore[assignment]  # its names are asked for

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """See Group.get_command."""
        return _load(cmd_name) if cmd_name in _COMMANDS else None


app = typer.Typer(
    cls=_Commands,
    name="mailward",
    help="Guards mail servers with definitions that keep themselves current.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mailward {__version__}")
        raise typer.Exit


@app.callback()
def root(
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration file (TOML).", envvar="MAILWARD_CONFIG"),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Guards mail servers with definitions that keep themselves current.

    Start with `mailward demo` to see it work on this computer.
    """
    from mailward import logs
    from mailward.settings.service import LogLevel, LogSettings

    # Of a command only what goes wrong is logged; what keeps running says more (`mailward run`).
    logs.configure(LogSettings(level=LogLevel.WARNING))


def main() -> None:
    """The console script. Ends the process with the exit code that the error tree names."""
    try:
        app()
    except MailwardError as error:
        print(f"mailward: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
