"""`mailward definitions doubts`: signatures whose detections are held until judged (S14)."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, when


def doubts(
    ctx: typer.Context,
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="NAME", help="It is right: refuse what it finds.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show what suddenly hits much of the mail and is only found by new definitions.

    What these find is held in quarantine, also where the policy would refuse it. If a signature is
    wrong, switch it off with `mailward definitions ignore NAME`, and let out what it caught with
    `mailward quarantine release --signature NAME`.

    Example: `mailward definitions doubts --confirm Win.Trojan.Agent-1`
    """
    book, now = main.doubt_book(settings(ctx)), datetime.now(UTC)
    if confirm:
        book.confirm(confirm, now)
        out.print(
            f"{confirm} is confirmed: what it finds is treated as the policy says", markup=False
        )
        return
    page = book.read()
    doubted = [page.doubts[name] for name in sorted(page.doubted(now))]
    if as_json:
        print_json(
            [
                {"name": d.name, "set": d.set, "since": d.since, "hits": d.hits, "of": d.of}
                for d in doubted
            ]
        )
    elif not doubted:
        out.print("Nothing is doubted.")
    else:
        print_table(
            ("signature", "set", "since", "had hit"),
            [(d.name, d.set, when(d.since), f"{d.hits} of {d.of} messages") for d in doubted],
        )
