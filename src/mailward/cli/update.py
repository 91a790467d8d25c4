"""`mailward update`: now, on demand."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, settings, size
from mailward.definitions.model import Channel
from mailward.errors import UsageError
from mailward.update.agent import Outcome, Result, enabled_channels


def update(
    ctx: typer.Context,
    channel: Annotated[
        Channel | None, typer.Argument(help="Only this channel; default: every enabled one.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only look; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch, verify, prove and activate what is new.

    Exit code 0: up to date or updated (with --check: up to date); 1: --check found something new;
    3: could not find out now; 4: what is offered must not be used. The active set goes on scanning
    in every case.

    Example: `mailward update rapid`
    """
    config = settings(ctx)
    channels = [channel] if channel else list(enabled_channels(config.update))
    if not channels:
        raise UsageError(
            "no channel is enabled: set update.certified.enabled or name one: mailward update rapid"
        )
    outcomes = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        transient=True,
        console=out,
        disable=as_json or not out.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)
        agent = main.agent(
            config,
            lambda step, done, total: bar.update(
                task, description=step, completed=done, total=total or None
            ),
        )
        for one in channels:
            outcome = agent.refresh(one, check_only=check)
            outcomes.append(outcome)
            if not as_json:
                bar.console.print(_sentence(outcome))
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    if check and any(outcome.result is Result.AVAILABLE for outcome in outcomes):
        raise typer.Exit(1)


def _sentence(outcome: Outcome) -> str:
    active = f"active set {outcome.active}" if outcome.active else "no active set yet"
    cost = f"{size(outcome.bytes_received)} in {outcome.requests} requests, {outcome.ms:.0f} ms"
    return f"{outcome.channel}: {outcome.result} ({outcome.reason}); {active}; {cost}"
