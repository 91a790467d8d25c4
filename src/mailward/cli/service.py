"""`mailward run` and `mailward demo`."""

import asyncio
import time
from typing import Annotated

import typer

from mailward import demo as demonstration
from mailward import logs, main
from mailward.cli.common import out, print_table, settings, settings_anew


def run(
    ctx: typer.Context,
    only: Annotated[
        main.Only | None, typer.Option("--only", help="Run just this part, without the doors.")
    ] = None,
) -> None:
    """Open every enabled door, update by schedule, and serve until SIGTERM or Ctrl-C.

    `--only update` keeps the definitions current and opens no door; `--only doors` opens doors and
    nothing else, as often as you like where `reuse_port` is set. SIGHUP puts changed doors and
    policy into force without dropping a session.

    Example: `mailward --config /etc/mailward/mailward.toml run`
    """
    config = settings(ctx)
    logs.configure(config.log)
    asyncio.run(main.run(config, only, reload=lambda: settings_anew(ctx)))


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the table.")] = False,
) -> None:
    """See it work: publisher, update, gateway and sample mail on this computer.

    Nothing outside of a temporary folder is touched. Exit code 0: everything went as it should.

    Example: `mailward demo --once`
    """
    began = time.monotonic()

    def told(rows: list[demonstration.Row]) -> None:
        out.print()
        print_table(
            ("sample", "what happened", "why", ""),
            [(r.sample, r.fate, r.why, "" if r.as_expected else "UNEXPECTED") for r in rows],
        )
        out.print(f"\n{len(rows)} messages; {time.monotonic() - began:.1f} s since the start.")

    as_expected = asyncio.run(
        demonstration.run(lambda line: out.print(line, markup=False), told, once=once)
    )
    if not as_expected:
        raise typer.Exit(1)
