"""`mailward events`: what happened to messages."""

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_table, settings, when
from mailward.errors import UsageError

_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

SinceOption = Annotated[
    str,
    typer.Option(
        "--since", metavar="TIME", help="30min, 2h, 7d, or a date such as 2026-11-23T10:00."
    ),
]


def events(
    ctx: typer.Context,
    text: Annotated[
        str, typer.Argument(help="In an address, an id, a risk or a rule; empty: anything.")
    ] = "",
    since: SinceOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The newest so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """What happened to messages, the newest first. With --json, one JSON object a line.

    Example: `mailward events ann@example.org --since 2d`
    """
    found = main.event_rows(settings(ctx)).search(text=text, since=moment(since), limit=limit)
    if as_json:
        for event in found:
            sys.stdout.write(json.dumps(event, default=_plain) + "\n")
        return
    if not found:
        out.print("Nothing of that kind is on record.")
        return
    print_table(
        ("time", "door", "event", "from", "to", "verdict", "risk", "action", "answer"),
        [_row(event) for event in found],
    )


def moment(text: str) -> datetime | None:
    """What ``--since`` says. Raises UsageError."""
    if not text:
        return None
    for unit, length in _UNITS.items():
        count = text.removesuffix(unit)
        if count != text and count.isdigit() and len(count) < 7:
            return datetime.now(UTC) - int(count) * length
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as e:
        raise UsageError(f"--since {text!r}: write 30min, 2h, 7d, or 2026-11-23T10:00") from e


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    return (
        when(event["at"]),
        event["door"],
        event["event"],
        event["sender"] or "<>",
        ", ".join(event["recipients"]),
        event["verdict"] or "-",
        ", ".join(event["risks"]) or "-",
        ", ".join(event["action"]) or "-",
        event["answer"] or "-",
    )


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
