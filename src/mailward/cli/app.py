"""The root command: global options, the groups, and errors turned into exit codes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mailward import __version__, logs
from mailward.cli import (
    config,
    definitions,
    events,
    false_positive,
    policy,
    quarantine,
    repo,
    rescan,
    scan,
    service,
    status,
    update,
)
from mailward.cli import license as license_group
from mailward.cli import products as product_group
from mailward.errors import MailwardError
from mailward.settings.service import LogLevel, LogSettings

app = typer.Typer(
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
    # Of a command only what goes wrong is logged; what keeps running says more (`mailward run`).
    logs.configure(LogSettings(level=LogLevel.WARNING))


app.command("run")(service.run)
app.command("demo")(service.demo)
app.command("scan")(scan.scan)
app.command("update")(update.update)
app.command("status")(status.status)
app.command("events")(events.events)
app.add_typer(definitions.app, name="definitions")
app.add_typer(license_group.app, name="license")
app.add_typer(product_group.app, name="products")
app.add_typer(repo.app, name="repo")
quarantine.app.command("rescan")(rescan.rescan)
quarantine.app.command("false-positive")(false_positive.false_positive)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(policy.app, name="policy")
app.add_typer(config.app, name="config")


def main() -> None:
    """The console script. Ends the process with the exit code that the error tree names."""
    try:
        app()
    except MailwardError as error:
        print(f"mailward: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
