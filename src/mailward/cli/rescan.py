"""`mailward quarantine rescan`: held messages under the definitions of now."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from mailward import main
from mailward.cli.common import JsonOption, print_json, print_table, settings
from mailward.cli.quarantine import Ids, Matching, app, chosen, let_out
from mailward.config import Config
from mailward.doors.told import Record, unrecorded
from mailward.errors import FormatError, UsageError
from mailward.protect.events import Event
from mailward.protect.mail import Mail
from mailward.protect.policy import decide
from mailward.rules import Action


@app.command("rescan")
def rescan(
    ctx: typer.Context,
    ids: Ids = None,
    matching: Matching = "",
    release: Annotated[
        bool, typer.Option("--release", help="Release what the policy would deliver now.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Scan held messages with the definitions of now, and say what the policy would do today.

    Without ids, everything that is held. Exit code 1: something was found again.

    Example: `mailward quarantine rescan --release`
    """
    config = settings(ctx)
    named = chosen(config, ids, matching) if ids or matching else main.quarantine(config).ids()
    with main.event_log(config) as log:
        results = asyncio.run(scan_again(config, named, release=release, record=log.record))
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        print_table(
            ("id", "verdict", "risk", "action", "result"),
            [(r.id, r.verdict, ", ".join(r.risks) or "-", r.action, r.result) for r in results],
        )
    if any(result.risks for result in results):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Rescanned:
    """One held message under the definitions of now."""

    id: str
    verdict: str
    risks: tuple[str, ...]
    action: str
    result: str


async def scan_again(
    config: Config, ids: Sequence[str], *, release: bool, record: Record = unrecorded
) -> list[Rescanned]:
    """Each of them; with ``release``, what the policy would deliver now is let out."""
    quarantine = main.quarantine(config)
    results = []
    async with main.pool(config) as pool:
        for id_ in ids:
            try:
                held, message = quarantine.get(id_), quarantine.message(id_)
            except (FormatError, UsageError) as e:
                results.append(Rescanned(id_, "damaged", (), "-", str(e)))
                continue
            verdict = await pool.scan(message)
            mail = Mail(held.envelope.sender, held.envelope.recipients, "", message)
            decision = decide(verdict, config.policy, mail)
            result = "kept"
            if release and decision.action in (Action.DELIVER, Action.TAG):
                refused = await let_out(config, id_)
                answer = "; ".join(refused.values())
                record(Event("released", "command", trace_id=id_, answer=answer))
                result = f"kept for some: {answer}" if refused else "released"
            names = tuple(dict.fromkeys(risk.name for risk in verdict.risks))
            results.append(Rescanned(id_, verdict.kind.value, names, decision.action.value, result))
    return results
