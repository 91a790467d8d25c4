"""What an engine made of a set, by kind; and `mailward definitions explain NAME`: in words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mailward import main
from mailward.cli import folder_definitions
from mailward.cli.common import out, print_table, settings
from mailward.definitions.model import EngineTrial, ShardKind, Version
from mailward.definitions.store import StoredSet
from mailward.errors import UsageError
from mailward.scan.engine import Source
from mailward.scan.signatures import digests, reading
from mailward.scan.signatures.errors import MalformedError, UnsupportedError
from mailward.scan.signatures.reading import Line, Tally
from mailward.scan.signatures.wording import describe

_SHOWN_MAX = 20


def explain(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="As a verdict gives it.")],
    version: Annotated[
        str | None, typer.Option("--set", metavar="VERSION", help="Not the active one.")
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option(
            "--definitions", metavar="FOLDER", help="Of plain signature files, as `scan` takes it."
        ),
    ] = None,
) -> None:
    """Show what the ClamAV signatures of a name look for, in words.

    Example: `mailward definitions explain Win.Trojan.Example-1`
    """
    if version and definitions is not None:
        raise UsageError("--set and --definitions say two things: leave one of them out")
    config = settings(ctx)
    if definitions is not None:
        config = folder_definitions.configured(config, definitions)
    store = main.store(config)
    stored = store.get(Version.parse(version)) if version else store.active()
    if stored is None:
        raise UsageError("no set is active yet. To get one: mailward update")
    shown = 0
    for line in _named(stored, name.removesuffix(".UNOFFICIAL")):
        shown += 1
        if shown > _SHOWN_MAX:
            out.print("… and more of that name")
            break
        for row in _meaning(line):
            out.print(row, markup=False, highlight=False, soft_wrap=True)
    if not shown:
        where = definitions or f"set {stored.version}"
        raise UsageError(f"no ClamAV signature of {where} is called {name}")


def print_kinds(engine: EngineTrial) -> None:
    """How many signatures of each kind are active, and how many cannot be used, by reason."""
    if not engine.kinds and not engine.unsupported:
        return
    out.print()
    print_table(
        (f"{engine.engine}", "signatures"),
        [(f".{kind}", f"{count:,}") for kind, count in engine.kinds.items()]
        + [(f"not used: {why}", f"{count:,}") for why, count in engine.unsupported.items()],
    )


def _named(stored: StoredSet, name: str) -> Iterator[Line]:
    sources = [
        Source(shard.name, shard.kind, path)
        for shard, path in stored.shard_paths()
        if shard.kind is ShardKind.CLAMAV
    ]
    for line in reading.lines(sources, Tally()):
        if name in line.text and reading.name_of(line) == name:
            yield line


def _meaning(line: Line) -> Iterator[str]:
    yield f"{reading.name_of(line)} ({line.shard}, line {line.number})"
    try:
        if line.suffix in reading.BODIES:
            yield from (f"  {row}" for row in describe(reading.BODIES[line.suffix](line.text)))
        elif line.suffix == ".cdb":
            yield f"  a rule on members of containers: {line.text}"
        else:
            of = digests.KINDS[line.suffix]
            digest, size, _ = digests.read(line.text, of)
            what = "a section of a PE file" if of is digests.Of.SECTION else "the whole file"
            limit = "of any size" if size == of.key(None) else f"of {size - of.value:,} bytes"
            harmless = ", in which nothing is to be found" * (of is digests.Of.FALSE_POSITIVE)
            yield f"  {what}, {limit}, with the digest {digest}{harmless}"
    except MalformedError as e:
        yield f"  malformed, and so left out: {e}"
    except UnsupportedError as e:
        yield f"  not used by this release: {e}"
