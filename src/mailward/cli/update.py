"""`mailward update`: now, on demand."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from mailward import main
from mailward.cli import running
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, size, when
from mailward.cli.patience import patiently
from mailward.config import Config
from mailward.definitions.history import Event
from mailward.definitions.model import Channel
from mailward.errors import LicenseError, UsageError
from mailward.update import agent as agents
from mailward.update.agent import Outcome, Result, enabled_channels

_LINE_EVERY_S = 5.0
"""Between two lines about a long step, where there is no terminal."""


class What(StrEnum):
    """What `mailward update` can be asked for."""

    CERTIFIED = "certified"
    RAPID = "rapid"
    HISTORY = "history"


def update(
    ctx: typer.Context,
    what: Annotated[
        What | None,
        typer.Argument(
            help="Only this channel (default: every enabled one), or `history`: what happened."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only look; change nothing.")] = False,
    from_folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="A copy of the repository, on a stick for example, in place of its address.",
        ),
    ] = None,
    number: Annotated[
        int, typer.Option("-n", min=1, help="With `history`: how many events, the last ones.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """Fetch, verify, prove and activate what is new.

    Exit code 0: up to date or updated (with --check: up to date); 1: --check found something new;
    3: could not find out now; 4: what is offered must not be used. The active set goes on scanning
    in every case. While somebody else writes the store (the running service, say), it waits for a
    minute at most, and then ends with 3.

    `mailward update history` shows every check, download, trial, activation and refusal.

    Examples: `mailward update rapid`, `mailward update --from /media/stick/repository`
    """
    config = settings(ctx)
    if what is What.HISTORY:
        _history(main.store(config).history(number), as_json=as_json)
        return
    main.require_updater(config)
    channel = Channel(what.value) if what else None
    if from_folder is not None:
        config = _reading(config, from_folder)
    channels = [channel] if channel else list(enabled_channels(config.update))
    if not channels:
        raise UsageError(
            "no channel is enabled: set update.certified.enabled or name one: mailward update rapid"
        )
    outcomes = []
    with _told(quiet=as_json) as (progress, say):
        agent = main.agent(config, progress)
        for one in channels:
            refresh = partial(agent.refresh, one, check_only=check)
            outcomes.append(patiently(refresh, say))
            say(_sentence(outcomes[-1]))
            done = outcomes[-1]
            if done.result in (Result.ACTIVATED, Result.FELL_BACK) and done.active and not as_json:
                say(f"{one}: {running.wait_until_in_use(config, done.active)}")  # S9
    for product, problem in ({} if check else main.share(config)).items():
        if not as_json:
            out.print(f"product {product}: {problem}", markup=False)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    unlicensed = [o for o in outcomes if o.result is Result.UNLICENSED]
    if unlicensed:
        raise LicenseError("; ".join(f"{o.channel}: {o.reason}" for o in unlicensed))
    if check and any(outcome.result is Result.AVAILABLE for outcome in outcomes):
        raise typer.Exit(1)


@contextmanager
def _told(*, quiet: bool) -> Iterator[tuple[agents.Progress, Callable[[str], None]]]:
    """How the steps are told, and how lines are: a bar on a terminal, plain lines elsewhere."""
    if quiet:
        yield lambda step, done, total: None, lambda line: None
    elif out.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
            transient=True,
            console=out,
        ) as bar:
            task = bar.add_task("", total=None)
            yield (
                lambda step, done, total: bar.update(
                    task, description=step, completed=done, total=total or None
                ),
                lambda line: bar.console.print(line, markup=False),
            )
    else:
        yield _Lines().tell, lambda line: out.print(line, markup=False)


class _Lines:
    """Progress as lines: each step once, a long one every few seconds with bytes and rate."""

    def __init__(self) -> None:
        self._step, self._done = "", 0
        self._began = self._said_at = 0.0

    def tell(self, step: str, done: int, total: int) -> None:
        """One line, if there is something to say."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._began = step, now
        elif self._done == done or (now - self._said_at < _LINE_EVERY_S and done < total):
            return
        self._said_at, self._done = now, done
        if not total:
            out.print(step, markup=False)
            return
        rate = done / max(now - self._began, 0.001)
        out.print(f"{step}: {size(done)} of {size(total)}, {size(round(rate))}/s", markup=False)


def _history(events: list[Event], *, as_json: bool) -> None:
    if as_json:
        for e in events:
            plain = {"at": e.at, "event": e.event, "version": e.version, "reason": e.reason}
            more = {key: value for key, value in e.details.items() if key != "pointer"}
            print(json.dumps(plain | more, default=str, ensure_ascii=False))
        return
    if not events:
        out.print("Nothing has happened yet. To begin: mailward update")
        return
    print_table(
        ("when", "event", "channel", "set", "result and reason", "bytes", "ms"),
        [
            (
                when(e.at),
                e.event,
                str(e.details.get("channel", "-")),
                str(e.version or e.details.get("offered") or "-"),
                ": ".join(t for t in (str(e.details.get("result", "")), e.reason) if t) or "-",
                size(e.details["bytes"]) if isinstance(e.details.get("bytes"), int) else "-",
                f"{e.details['ms']:.0f}" if isinstance(e.details.get("ms"), float) else "-",
            )
            for e in events
        ],
    )


def _reading(config: Config, folder: Path) -> Config:
    """The same trust, another place."""
    if not (folder / "metadata").is_dir():
        raise UsageError(f"--from {folder}: holds no repository (no folder metadata in it)")
    update = config.update.model_copy(
        update={"repository": folder.resolve().as_uri(), "mirrors": ()}
    )
    return config.model_copy(update={"update": update})


def _sentence(outcome: Outcome) -> str:
    active = f"active set {outcome.active}" if outcome.active else "no active set yet"
    cost = f"{size(outcome.bytes_received)} in {outcome.requests} requests, {outcome.ms:.0f} ms"
    return f"{outcome.channel}: {outcome.result} ({outcome.reason}); {active}; {cost}"
