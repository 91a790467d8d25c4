"""`mailward quarantine false-positive`: what was held by a false signature, in one step."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings
from mailward.cli.quarantine import Ids, app
from mailward.cli.rescan import scan_again
from mailward.config import Config
from mailward.definitions.ignored import entry_of
from mailward.errors import UsageError
from mailward.protect.events import Event
from mailward.protect.held import Held


@app.command("false-positive")
def false_positive(
    ctx: typer.Context,
    ids: Ids = None,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept with what is ignored, and in the events.")
    ] = "false positive",
    every: Annotated[
        bool,
        typer.Option("--every", help="Also release everything else that only these caught."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say that what was found in held messages is none: ignore it from now on, and let them out.

    The signatures go to this computer's ignore list (`mailward definitions ignore`), for every
    product on the store. Then the messages are scanned again without them, and released if the
    policy would deliver them; what is held for another reason stays. Exit code 1: one stays.

    Example: `mailward quarantine false-positive 20261123T101112-1f0c9a3e --reason "our invoices"`
    """
    config = settings(ctx)
    main.require_updater(config)
    quarantine = main.quarantine(config)
    if not ids:
        raise UsageError("name ids; see `mailward quarantine list`")
    chosen = [quarantine.get(id_) for id_ in dict.fromkeys(ids)]
    entries = _entries(chosen)
    named = [held.id for held in chosen] + (_others(config, chosen) if every else [])
    with main.store(config).writer("quarantine false-positive") as writer:
        for entry in entries:
            writer.ignore(entry, reason)
    for product, problem in main.share(config).items():
        out.print(f"product {product}: {problem}", markup=False)
    with main.event_log(config) as log:
        for held in chosen:
            names = tuple(dict.fromkeys(risk.name for risk in held.verdict.risks))
            log.record(
                Event("false-positive", "command", trace_id=held.id, risks=names, answer=reason)
            )
        results = asyncio.run(scan_again(config, named, release=True, record=log.record))
    if as_json:
        print_json({"ignored": entries, "messages": [asdict(result) for result in results]})
    else:
        print_table(("ignored", "why"), [(entry, reason) for entry in entries])
        print_table(
            ("id", "verdict", "risk", "action", "result"),
            [(r.id, r.verdict, ", ".join(r.risks) or "-", r.action, r.result) for r in results],
        )
    if any(result.result != "released" for result in results):
        raise typer.Exit(1)


def _entries(chosen: Sequence[Held]) -> list[str]:
    """What to ignore: the signatures themselves where the verdict has them, else the names.

    Raises UsageError if nothing was found in one of them.
    """
    found: dict[str, None] = {}
    for held in chosen:
        if not held.verdict.risks:
            raise UsageError(
                f"nothing was found in {held.id}, it was held because {held.decision.reason}: "
                "`mailward quarantine release` lets it out"
            )
        for risk in held.verdict.risks:
            found |= dict.fromkeys(entry_of(text) for text in risk.signatures or (risk.name,))
    return list(found)


def _others(config: Config, chosen: Sequence[Held]) -> list[str]:
    names = {risk.name for held in chosen for risk in held.verdict.risks}
    known = {held.id for held in chosen}
    others = (e for e in main.quarantine(config).list() if isinstance(e, Held))
    return [
        entry.id
        for entry in others
        if entry.id not in known
        and entry.verdict.risks
        and {risk.name for risk in entry.verdict.risks} <= names
    ]
