"""`mailward definitions`: the store as the administrator sees and steers it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, size, when
from mailward.cli.doubts import doubts
from mailward.cli.meaning import explain, print_kinds
from mailward.cli.patience import patiently
from mailward.definitions.ignored import IgnoreList, entry_of
from mailward.definitions.model import EngineTrial, Manifest, Measured, Trial, Version
from mailward.definitions.store import Pointer, Problem, State, Store, StoredSet
from mailward.errors import FormatError, UsageError
from mailward.update.repair import Repaired

app = typer.Typer(
    no_args_is_help=True,
    help="The definition sets on this computer. Example: `mailward definitions list`",
)

app.command()(doubts)
app.command()(explain)

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="As `list` shows it.")]
OptionalVersion = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="As `list` shows it.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Kept in the history.")]


@app.command("list")
def list_sets(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show the sets in the store, newest first.

    Example: `mailward definitions list --json`
    """
    sets = _store(ctx).sets()
    if as_json:
        print_json([_summary(stored) for stored in sets])
        return
    if not sets:
        out.print("There are no definitions yet. To get some: mailward update")
        return
    print_table(
        ("version", "channel", "state", "signatures", "size", "built", "activated"),
        [
            (
                str(stored.version),
                stored.manifest.channel.value,
                stored.state.value,
                f"{stored.manifest.signatures:,}",
                size(stored.manifest.size_bytes),
                when(stored.manifest.built_at),
                when(stored.activated_at),
            )
            for stored in sets
        ],
    )


@app.command()
def show(ctx: typer.Context, version: OptionalVersion = None, as_json: JsonOption = False) -> None:
    """Show what is in a set, how it was tested, and how its trial here went.

    Without VERSION: the active set.

    Example: `mailward definitions show 20261123.007`
    """
    stored = _chosen(_store(ctx), version)
    if as_json:
        print_json(
            _summary(stored)
            | {
                "manifest": stored.manifest.model_dump(mode="json"),
                "trial": stored.trial.model_dump(mode="json") if stored.trial else None,
            }
        )
        return
    _print_set(stored)
    _print_shards(stored.manifest)
    _print_report(stored.manifest)
    _print_trial(stored.trial)


@app.command()
def activate(
    ctx: typer.Context,
    version: VersionArgument,
    reason: ReasonOption = "asked for by the administrator",
) -> None:
    """Use this set from now on, also if it was refused. It must have passed its trial.

    While an update writes the store, this waits for a minute at most, as `rollback` does.

    Going to an older set, like `rollback`, refuses the newer ones that were active.

    Example: `mailward definitions activate 20261123.007 --reason "false alarm was fixed"`
    """
    main.require_updater(settings(ctx))
    store, chosen = _store(ctx), _version(version)

    def change() -> Pointer:
        with store.writer("definitions activate") as writer:
            return writer.activate(chosen, reason, by_administrator=True)

    pointer = patiently(change, _say)
    out.print(f"Active set: {pointer.version}")
    _share(ctx)


@app.command()
def rollback(
    ctx: typer.Context,
    version: OptionalVersion = None,
    reason: ReasonOption = "rolled back by the administrator",
) -> None:
    """Go back to an earlier set, by default the one before. What is left is not taken again.

    Example: `mailward definitions rollback --reason "finds invoices"`
    """
    store = _store(ctx)
    main.require_updater(settings(ctx))
    left, to = store.pointer(), _version(version) if version else None

    def change() -> Pointer:
        with store.writer("definitions rollback") as writer:
            return writer.rollback(to, reason)

    pointer = patiently(change, _say)
    out.print(f"Active set: {pointer.version}")
    if left is not None and left.version is not None:
        out.print(
            f"Set {left.version} is not taken again. To take it nevertheless: "
            f"mailward definitions activate {left.version}"
        )
    _share(ctx)


@app.command()
def verify(
    ctx: typer.Context,
    version: OptionalVersion = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Fetch what is damaged, make anew what was made here, mend the pointer.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of a set, or of all, and compare it with what was signed.

    Exit code 1: something is damaged, or still is; it is named. Scanning goes on meanwhile, with
    the newest whole set.

    Example: `mailward definitions verify --repair`
    """
    config = settings(ctx)
    store = _store(ctx)
    chosen = _version(version) if version else None
    if repair:
        main.require_updater(config)
    mending = main.repair(config)
    found = mending.problems(chosen)
    done = mending.run(chosen) if repair else None
    left = found if done is None else list(done.left)
    if as_json:
        print_json(_plain_problems(found) if done is None else _plain_repair(found, done))
    elif found:
        print_table(("set", "problem"), [(_text(p.version) or "-", p.detail) for p in found])
    if not as_json:
        _print_verified(store, chosen, found, done)
    if left:
        raise typer.Exit(1)


def _plain_problems(found: Sequence[Problem]) -> list[dict[str, str | None]]:
    return [{"version": _text(p.version), "detail": p.detail} for p in found]


def _plain_repair(found: Sequence[Problem], done: Repaired) -> dict[str, Any]:
    return {
        "problems": _plain_problems(found),
        "repaired": done.done,
        "hindered": done.hindered,
        "left": _plain_problems(done.left),
    }


def _print_verified(
    store: Store, chosen: Version | None, found: Sequence[Problem], done: Repaired | None
) -> None:
    if done is not None:
        for line in done.done:
            out.print(f"Repaired: {line}", markup=False)
        for line in done.hindered:
            out.print(f"Not done: {line}", markup=False)
        for problem in done.left:
            where = _text(problem.version) or "-"
            out.print(f"Still wrong: {where}: {problem.detail}", markup=False)
        if not done.left and found:
            out.print("Nothing is damaged any more")
    elif found:
        out.print("To mend it: mailward definitions verify --repair")
    if not found:
        checked = 1 if chosen else len(store.versions())
        out.print(f"{checked} {'set' if checked == 1 else 'sets'} verified: nothing is damaged")


@app.command()
def prune(ctx: typer.Context) -> None:
    """Remove sets over the limits (`store.keep_sets`, `store.max_bytes`), the oldest first.

    The active set and the two before it stay whatever the limits say.

    Example: `mailward definitions prune`
    """
    main.require_updater(settings(ctx))
    with _store(ctx).writer("definitions prune") as writer:
        gone = writer.prune()
    out.print("Removed: " + ", ".join(map(str, gone)) if gone else "Nothing to remove")


@app.command()
def ignore(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A risk, or ENGINE:SIGNATURE, as it was reported."),
    ] = None,
    reason: ReasonOption = "",
    remove: Annotated[bool, typer.Option("--remove", help="Heed it again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ignore a signature that is false, in every product on this store. Without NAME: the list.

    A running gateway follows within a second. Example: `mailward definitions ignore Broad.Rule`
    """
    config, store = settings(ctx), _store(ctx)
    ignored = IgnoreList(store.folder)
    if name is None:
        entries = ignored.read()
        if as_json:
            print_json(entries)
        elif entries:
            print_table(("ignored", "why"), [(k, why or "-") for k, why in entries.items()])
        else:
            out.print("Nothing is ignored here")
        return
    main.require_updater(config)
    entry = entry_of(name)
    with store.writer("definitions ignore") as writer:
        if remove:
            writer.heed(entry)
        else:
            writer.ignore(entry, reason)
    out.print(f"{entry} is heeded again" if remove else f"{entry} is ignored", markup=False)
    _share(ctx)


def _share(ctx: typer.Context) -> None:
    for product, problem in main.share(settings(ctx)).items():
        out.print(f"product {product}: {problem}", markup=False)


def _store(ctx: typer.Context) -> Store:
    config = settings(ctx)
    return Store(config.definitions_dir, config.store)


def _say(line: str) -> None:
    out.print(line, markup=False)


def _version(text: str) -> Version:
    try:
        return Version.parse(text)
    except FormatError as e:
        raise UsageError(str(e)) from e


def _chosen(store: Store, version: str | None) -> StoredSet:
    if version:
        return store.get(_version(version))
    stored = store.active()
    if stored is None:
        raise UsageError("no set is active yet. To get one: mailward update")
    return stored


def _text(version: Version | None) -> str | None:
    return str(version) if version is not None else None


def _summary(stored: StoredSet) -> dict[str, Any]:
    times = {
        "built_at": stored.manifest.built_at,
        "downloaded_at": stored.downloaded_at,
        "proved_at": stored.proved_at,
        "activated_at": stored.activated_at,
    }
    return {
        "version": str(stored.version),
        "channel": stored.manifest.channel.value,
        "state": stored.state.value,
        "signatures": stored.manifest.signatures,
        "size_bytes": stored.manifest.size_bytes,
        **{name: moment.isoformat() if moment else None for name, moment in times.items()},
        "refused": stored.refused,
    }


def _print_set(stored: StoredSet) -> None:
    manifest = stored.manifest
    rows = [
        ("channel", manifest.channel.value),
        ("state", stored.state.value),
        ("signatures", f"{manifest.signatures:,}"),
        ("size", size(manifest.size_bytes)),
        ("engine level", str(manifest.engine_level)),
        ("built", when(manifest.built_at)),
        ("downloaded", when(stored.downloaded_at)),
        ("proved", when(stored.proved_at)),
        ("activated", when(stored.activated_at)),
    ]
    if stored.refused is not None or stored.state is State.REFUSED:
        rows.append(("refused", stored.refused or "it failed its trial"))
    print_table(("set", str(stored.version)), rows)


def _print_shards(manifest: Manifest) -> None:
    out.print()
    print_table(
        ("shard", "kind", "signatures", "size", "SHA-256"),
        [
            (
                shard.name,
                shard.kind.value,
                f"{shard.signatures:,}",
                size(shard.size_bytes),
                shard.sha256,
            )
            for shard in manifest.shards
        ],
    )


def _print_report(manifest: Manifest) -> None:
    out.print()
    report = manifest.report
    if report is None:
        out.print("The publisher gave no quality report.")
        return
    passed = "passed" if report.passed else "did not pass"
    out.print(f"Tested by the publisher ({report.level}, {when(report.checked_at)}): {passed}")
    print_table(
        ("gate", "passed", "detail", "culprits"),
        [
            (gate.name, "yes" if gate.passed else "NO", gate.detail, ", ".join(gate.culprits))
            for gate in report.gates
        ],
    )
    if report.not_run:
        print_table(("not tested, because",), [(why,) for why in report.not_run])
    if report.forced is not None:
        print_table(("published nevertheless, because",), [(report.forced,)])


def _cost(whose: str, measured: Measured) -> str:
    return (
        f"{whose}: loaded in {measured.load_ms:.1f} ms, {size(measured.memory_bytes)}, "
        f"{measured.message_ms:.2f} ms a message"
    )


def _print_trial(trial: Trial | None) -> None:
    out.print()
    if trial is None:
        out.print("Not proved on this computer yet.")
        return
    out.print(
        f"Trial on this computer ({when(trial.at)}): {'passed' if trial.passed else 'FAILED'} in "
        f"{trial.duration_ms:.0f} ms; {trial.probes_found} probes found, "
        f"{trial.known_good_scanned} known-good messages scanned, "
        f"{trial.unused_signatures:,} signatures that no engine reads"
    )
    if trial.measured is not None:
        out.print(_cost("A worker with it", trial.measured))
    if trial.measured_before is not None:
        out.print(_cost("With the set before", trial.measured_before))
    if trial.problems:
        print_table(("problem",), [(problem,) for problem in trial.problems])
    print_table(
        ("engine", "signatures", "refused", "prepared in", "loaded in"),
        [
            (
                engine.engine,
                f"{engine.signatures:,}",
                f"{engine.refused_count:,}",
                f"{engine.prepare_ms:.0f} ms",
                f"{engine.load_ms:.1f} ms",
            )
            for engine in trial.engines
        ],
    )
    for engine in trial.engines:
        print_kinds(engine)
        _print_refused(engine)


def _print_refused(engine: EngineTrial) -> None:
    if not engine.refused:
        return
    out.print()
    print_table(
        (f"left out by {engine.engine}", "shard", "line", "reason"),
        [
            (refused.signature, refused.shard, str(refused.line or "-"), refused.reason)
            for refused in engine.refused
        ],
    )
    unnamed = engine.refused_count - len(engine.refused)
    if unnamed > 0:
        out.print(f"… and {unnamed:,} more")
