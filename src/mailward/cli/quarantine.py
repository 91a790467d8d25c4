"""`mailward quarantine`: look at held messages, let them out, or delete them."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, size, when
from mailward.cli.events import SinceOption, moment
from mailward.config import Config
from mailward.console import recipients
from mailward.doors import releasing
from mailward.errors import TemporaryError, UsageError
from mailward.protect.events import Event
from mailward.protect.held import Held
from mailward.protect.quarantine import Damaged, Quarantine

_SUBJECT_SHOWN = 60
"""Characters of a subject in a table."""

app = typer.Typer(
    no_args_is_help=True,
    help="Messages that were held back. Example: `mailward quarantine list`",
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="As `quarantine list` shows it.")]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]…", help="As `quarantine list` shows them.")
]
Matching = Annotated[
    str,
    typer.Option(
        "--matching",
        metavar="TEXT",
        help="All that have it in an address, the subject, an id, a risk or a rule.",
    ),
]


@app.command("list")
def list_(
    ctx: typer.Context,
    matching: Matching = "",
    since: SinceOption = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The newest so many.")] = 200,
    as_json: JsonOption = False,
) -> None:
    """List held messages, the newest first.

    Example: `mailward quarantine list --matching ann@example.org --since 7d`
    """
    config = settings(ctx)
    quarantine = main.quarantine(config)
    ids = _search(config, quarantine, matching, moment(since), limit)
    entries = [entry for id_ in ids if (entry := quarantine.look(id_)) is not None]
    if as_json:
        print_json([_plain(entry) for entry in entries])
        return
    if not entries:
        what = "Nothing is in quarantine."
        out.print("Nothing of that kind is in quarantine." if matching or since else what)
        return
    print_table(
        ("id", "time", "from", "to", "subject", "verdict", "risk", "size"),
        [_row(e) for e in entries],
    )
    if len(entries) == limit:
        out.print(f"The newest {limit}; --limit shows more.")


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
    quarantine = main.quarantine(settings(ctx))
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
            ("subject", held.subject or "-"),
            ("size", size(held.size_bytes)),
            ("set", held.verdict.set or "-"),
            *(("risk", f"{risk.name} in {risk.part}") for risk in held.verdict.risks),
            *(
                ("unopened", f"{u.reason.value}: {u.part}" + (f" ({u.detail})" if u.detail else ""))
                for u in held.verdict.unopened
            ),
        ],
    )


@app.command()
def release(
    ctx: typer.Context,
    ids: Ids = None,
    matching: Matching = "",
    signature: Annotated[
        str,
        typer.Option("--signature", metavar="NAME", help="All that only this signature caught."),
    ] = "",
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ADDRESS", help="Send it here instead; may be repeated."),
    ] = None,
    for_: Annotated[
        str,
        typer.Option(
            "--for",
            metavar="ADDRESS",
            help="To this one of its recipients; it stays held for the others.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Hand held messages to the mail server behind the gateway; each is deleted once it has it.

    Recipients that the server refuses are named, and the message is kept for them.

    Example: `mailward quarantine release --signature Win.Trojan.Agent-1`
    """
    config = settings(ctx)
    addresses = tuple(_address(address) for address in to or ())
    if for_ and addresses:
        raise UsageError("--to sends it to others, --for to one of its recipients: not both")
    results: dict[str, Mapping[str, str]] = {}
    try:
        with main.event_log(config) as log:
            for id_ in _caught_by(config, signature) or chosen(config, ids, matching):
                results[id_] = asyncio.run(let_out(config, id_, addresses, for_))
                answer = "; ".join(results[id_].values())
                log.record(
                    Event(
                        "released",
                        "command",
                        trace_id=id_,
                        recipients=(for_,) if for_ else addresses,
                        answer=answer,
                    )
                )
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
    ids: Ids = None,
    matching: Matching = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete held messages for good.

    Example: `mailward quarantine delete 20261123T101112-1f0c9a3e --yes`
    """
    config = settings(ctx)
    quarantine = main.quarantine(config)
    named = chosen(config, ids, matching)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("deleting is for good: add --yes where nobody can be asked")
        typer.confirm(f"Delete {len(named)} held message(s) for good?", abort=True)
    with main.event_log(config) as log:
        for id_ in named:
            quarantine.delete(id_)
            log.record(Event("deleted", "command", trace_id=id_))
            out.print(f"{id_} deleted")


@app.command()
def requests(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List what recipients have asked for, the oldest request first.

    `mailward quarantine release ID --for ADDRESS` grants one, `delete ID` ends it.

    Example: `mailward quarantine requests`
    """
    config = settings(ctx)
    quarantine = main.quarantine(config)
    rows = [
        (request, quarantine.look(request.id))
        for request in recipients.request_book(config, quarantine).open()
    ]
    if as_json:
        print_json(
            [
                {"id": r.id, "recipient": r.recipient, "asked": r.at.isoformat(), "held": _plain(e)}
                for r, e in rows
                if e is not None
            ]
        )
    elif not rows:
        out.print("Nobody has asked for anything that is held.")
    else:
        print_table(
            ("id", "asked", "recipient", "from", "subject", "verdict"),
            [
                (r.id, when(r.at), r.recipient, row[2], row[4], row[5])
                for r, e in rows
                if e is not None
                for row in (_row(e),)
            ],
        )


def _caught_by(config: Config, signature: str) -> list[str]:
    """What is held for this risk and no other. Raises UsageError if that is nothing."""
    if not signature:
        return []
    held = [entry for entry in main.quarantine(config).list() if isinstance(entry, Held)]
    ids = [e.id for e in held if {risk.name for risk in e.verdict.risks} == {signature}]
    if not ids:
        raise UsageError(f"nothing is held that only {signature} caught")
    return ids


def chosen(config: Config, ids: Sequence[str] | None, matching: str) -> Sequence[str]:
    """The ids that a command is about. Raises UsageError if it names none."""
    if bool(ids) == bool(matching):
        raise UsageError("name ids, or --matching TEXT; see `mailward quarantine list`")
    return ids or _search(config, main.quarantine(config), matching, None, None)


def _search(
    config: Config,
    quarantine: Quarantine,
    matching: str,
    since: datetime | None,
    limit: int | None,
) -> Sequence[str]:
    """Names, the newest first. Without a database everything can still be listed."""
    # Here, because SQLAlchemy would cost the other commands what they do not need.
    from mailward.protect import quarantine_index

    try:
        rows = quarantine_index.search(
            main.database(config), quarantine, main.node(), text=matching, since=since, limit=limit
        )
    except TemporaryError as e:
        if matching or since:
            raise
        print(f"mailward: listed without it: {e}", file=sys.stderr)
        return quarantine.ids()[::-1][:limit]
    return [row["id"] for row in rows]


async def let_out(
    config: Config, id_: str, to: tuple[str, ...] = (), only: str = ""
) -> Mapping[str, str]:
    """Release one message; who was refused. Raises as ``Quarantine.release``."""
    held, stamps = main.quarantine(config), main.stamps(config)
    return await releasing.let_out(held, config.smtp, stamps, id_, to, only)


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
        return entry.id, "-", "-", "-", "-", "damaged", entry.problem, "-"
    first, *others = [*entry.envelope.recipients, ""]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return (
        entry.id,
        when(entry.at),
        _path(entry.envelope.sender),
        first + more,
        entry.subject[:_SUBJECT_SHOWN] or "-",
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
        "subject": entry.subject,
        "message_id": entry.message_id,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "because": entry.decision.because.value,
        "reason": entry.decision.reason,
        "rule": entry.decision.rule or None,
        **entry.verdict.to_plain(),
    }
