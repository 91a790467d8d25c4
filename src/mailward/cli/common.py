"""What every command shares: the configuration, and how things are printed."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mailward import config

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_PIPE_COLUMNS = 160
"""Tables in logs and pipes: wide enough for a sentence, narrow enough to read."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
"""Standard output for people: colour only on a terminal, no wrapping in pipes."""


_UNITS = ("KiB", "MiB", "GiB", "TiB")


def settings(ctx: typer.Context) -> config.Config:
    """The configuration, read on first use so that --help works without one. Raises ConfigError."""
    root = ctx.find_root()
    if not isinstance(root.obj, config.Config):
        root.obj = settings_anew(ctx)
    return root.obj


def settings_anew(ctx: typer.Context) -> config.Config:
    """The configuration as it is now. Raises ConfigError."""
    named: Path | None = ctx.find_root().params.get("config_file")
    return config.load(named)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table; cells are shown as they are, without markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    out.print(table)


def printable(text: str) -> str:
    """What comes from outside, safe for a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def size(count: int) -> str:
    """Bytes for people: ``912 B``, ``1.5 MiB``."""
    if count < 1024:
        return f"{count} B"
    exponent = min((count.bit_length() - 1) // 10, len(_UNITS))
    return f"{count / 1024**exponent:.1f} {_UNITS[exponent - 1]}"


def when(moment: datetime | None) -> str:
    """A time for people, in the computer's zone and naming it; a dash for none."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if moment else "-"


def _plain(text: str) -> str:
    """Names out of mail and feeds may hold terminal control characters: never print them raw."""
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return printable.replace("[", r"\[")
