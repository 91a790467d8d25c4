"""`mailward config`: is the configuration right, and what is in force."""

import json
from typing import Annotated

import typer

from mailward.cli.common import JsonOption, out, print_json, settings

app = typer.Typer(no_args_is_help=True, help="The configuration.")


@app.command()
def check(ctx: typer.Context) -> None:
    """Read the configuration and say whether it can be used (exit code 2 if not).

    Example: `mailward --config mailward.toml config check`
    """
    settings(ctx)
    out.print("The configuration can be used.")


@app.command()
def show(
    ctx: typer.Context,
    as_json: JsonOption = False,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what differs from the defaults.")
    ] = False,
) -> None:
    """Every key in force, from file, environment and defaults.

    Example: `mailward config show --changed`
    """
    plain = settings(ctx).model_dump(mode="json", exclude_defaults=changed)
    if as_json:
        print_json(plain)
        return
    for section, value in plain.items():
        if not isinstance(value, dict):
            out.print(_line(section, value), markup=False)
    for section, value in plain.items():
        if isinstance(value, dict):
            out.print(f"\n[{section}]", markup=False)
            for key, setting in value.items():
                out.print(_line(key, setting), markup=False)


def _line(key: str, value: object) -> str:
    """A line of TOML; what is not set is shown as a comment."""
    return f"# {key} is not set" if value is None else f"{key} = {_toml(value)}"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_line(key, inner) for key, inner in value.items()) + "}"
    return json.dumps(value)
