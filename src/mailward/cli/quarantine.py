"""`mailward quarantine`: look at held messages, let them out, or delete them."""

import asyncio
import socket
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mailward.cli.common import JsonOption, out, print_json, print_table, settings, size, when
from mailward.config import Config
from mailward.doors import headers
from mailward.doors.relay import Relay, deliver
from mailward.errors import UsageError
from mailward.protect.held import Envelope, Held
from mailward.protect.quarantine import Damaged, Quarantine

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that were held back. Example: `mailward quarantine list`",
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="As `quarantine list` shows it.")]
_Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="As `quarantine list` shows them.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List held messages, the newest first.

    Example: `mailward quarantine list --json`
    """
    entries = _quarantine(settings(ctx)).list()
    if as_json:
        print_json([_plain(entry) for entry in entries])
        return
    if not entries:
        out.print("Nothing is in quarantine.")
        return
    print_table(("id", "time", "from", "to", "verdict", "risk", "size"), [_row(e) for e in entries])


@app.command()
def show(
    ctx: typer.Context,
    id_: _Id,
    as_json: JsonOption = False,
    message: Annotated[
        bool, typer.Option("--message", help="Print the message itself, byte for byte.")
    ] = False,
) -> None:
    """Show one held message: who, what, why.

    Example: `mailward quarantine show 20261123T101112-1f0c9a3e --message > held.eml`
    """
    quarantine = _quarantine(settings(ctx))
    if message:
        sys.stdout.buffer.write(quarantine.message(id_))
        return
    held = quarantine.get(id_)
    if as_json:
        print_json(_plain(held))
        return
    print_table(
        ("", ""),
        [
            ("id", held.id),
            ("held", when(held.at)),
            ("because", held.decision.reason),
            ("from", _path(held.envelope.sender)),
            ("to", ", ".join(_path(r) for r in held.envelope.recipients)),
            ("size", size(held.size_bytes)),
            ("set", held.verdict.set or "-"),
            *(("risk", f"{risk.name} in {risk.part}") for risk in held.verdict.risks),
            *(("unopened", f"{u.reason.value}: {u.part}") for u in held.verdict.unopened),
        ],
    )


@app.command()
def release(
    ctx: typer.Context,
    ids: _Ids,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Send it here instead; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hand held messages to the mail server behind the gateway; each is deleted once it has it.

    Recipients that the server refuses are named, and the message is kept for them.

    Example: `mailward quarantine release 20261123T101112-1f0c9a3e --to admin@example.org`
    """
    config = settings(ctx)
    addresses = tuple(_address(address) for address in to or ())
    results: dict[str, Mapping[str, str]] = {}
    try:
        for id_ in ids:
            results[id_] = asyncio.run(_release(config, id_, addresses))
    finally:  # what was released is told, also when the next one fails
        if as_json:
            print_json([{"id": id_, "refused": dict(refused)} for id_, refused in results.items()])
        elif results:
            print_table(("id", "result"), _told(results))
    if any(results.values()):
        raise typer.Exit(1)


@app.command()
def delete(
    ctx: typer.Context,
    ids: _Ids,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete held messages for good.

    Example: `mailward quarantine delete 20261123T101112-1f0c9a3e --yes`
    """
    quarantine = _quarantine(settings(ctx))
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("deleting is for good: add --yes where nobody can be asked")
        typer.confirm(f"Delete {len(ids)} held message(s) for good?", abort=True)
    for id_ in ids:
        quarantine.delete(id_)
        out.print(f"{id_} deleted")


async def _release(config: Config, id_: str, to: tuple[str, ...]) -> Mapping[str, str]:
    smtp = config.smtp
    relay = Relay(smtp.next_hop, smtp.hostname or socket.getfqdn(), smtp.next_hop_timeout_s)

    async def send(envelope: Envelope, message: bytes) -> Mapping[str, str]:
        return await deliver(relay, envelope, headers.released(id_) + message)

    try:
        return await _quarantine(config).release(id_, send, to)
    finally:
        relay.close()


def _quarantine(config: Config) -> Quarantine:
    return Quarantine(config.quarantine_dir, config.quarantine)


def _told(results: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    rows = []
    for id_, refused in results.items():
        rows += [(id_, f"kept: refused for {_path(to)}: {why}") for to, why in refused.items()]
        rows += [] if refused else [(id_, "released")]
    return rows


def _address(text: str) -> str:
    path = text.removeprefix("<").removesuffix(">")
    if not path.isascii() or not path.isprintable() or set(path) & set('<> "') or not path:
        raise UsageError(f"--to {text!r} is not an address that can be sent to")
    return path


def _path(path: str) -> str:
    return path or "<>"


def _row(entry: Held | Damaged) -> tuple[str, ...]:
    if isinstance(entry, Damaged):
        return entry.id, "-", "-", "-", "damaged", entry.problem, "-"
    first, *others = [*entry.envelope.recipients, ""]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return (
        entry.id,
        when(entry.at),
        _path(entry.envelope.sender),
        first + more,
        entry.verdict.kind.value,
        ", ".join(dict.fromkeys(risk.name for risk in entry.verdict.risks)) or "-",
        size(entry.size_bytes),
    )


def _plain(entry: Held | Damaged) -> dict[str, Any]:
    if isinstance(entry, Damaged):
        return {"id": entry.id, "damaged": entry.problem}
    return {
        "id": entry.id,
        "time": entry.at.isoformat(),
        "sender": entry.envelope.sender,
        "recipients": list(entry.envelope.recipients),
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "because": entry.decision.because.value,
        "reason": entry.decision.reason,
        **entry.verdict.to_plain(),
    }
