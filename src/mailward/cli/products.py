"""`mailward products`: who shares the definitions."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mailward import main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, when
from mailward.definitions.model import ShardKind
from mailward.definitions.products import SIGNALS, TAKES, Product, ProductKind, ProductState
from mailward.definitions.sharing import Sharing, drop_exports_of
from mailward.errors import UsageError

app = typer.Typer(no_args_is_help=True)

_CLAMD_CONFIGURATIONS = (Path("/etc/clamav/clamd.conf"), Path("/etc/clamd.d/scan.conf"))
_DIRECTIVE = re.compile(
    r"^\s*(LocalSocket|TCPSocket|TCPAddr|DatabaseDirectory)\s+(\S+)", re.MULTILINE
)


@app.callback()
def products() -> None:
    """Other scanners on this computer that use the same definitions."""


@app.command("list")
def list_products(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """Show who shares the store, and which set each has.

    Exit code 1: one of them does not have the active set. Example: `mailward products list --json`
    """
    found = gather(Sharing(main.store(settings(ctx))))
    if as_json:
        print_json(found)
    elif not found:
        out.print("Nobody else shares the store. See: mailward products add --help")
    else:
        print_table(
            ["PRODUCT", "KIND", "STATE", "SET", "SINCE", "LOOKS IN", "PROBLEM"],
            [
                [
                    each["name"],
                    each["kind"],
                    each["state"],
                    each["version"] or "-",
                    when(each["since"]),
                    each["folder"] or "the store",
                    each["problem"]
                    or (f"{len(each['left_out'])} remarks" if each["left_out"] else "-"),
                ]
                for each in found
            ],
        )
    if any(each["problem"] for each in found):
        raise typer.Exit(1)


def gather(sharing: Sharing, *, asking: bool = True) -> list[dict[str, Any]]:
    """What `products list --json` prints. ``asking``: those that can be, what they really use."""
    return [
        _plain(sharing, product, sharing.products.state(product), asking)
        for product in sharing.products.all()
    ]


@app.command("add")
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9, - and _")],
    kind: Annotated[ProductKind, typer.Option("--kind", help="What it is.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Where it looks: a link that we move. Default: in the store."
        ),
    ] = None,
    takes: Annotated[
        list[ShardKind] | None,
        typer.Option("--take", help="Only shards of this kind. May be repeated."),
    ] = None,
    socket: Annotated[
        str,
        typer.Option("--socket", help="clamd's: path or HOST:PORT; default: as its settings say."),
    ] = "",
    pid_file: Annotated[
        Path | None, typer.Option("--pid-file", help="Whose process gets a signal afterwards.")
    ] = None,
    signal: Annotated[str, typer.Option("--signal", help=", ".join(SIGNALS))] = "HUP",
    command: Annotated[
        str, typer.Option("--command", help="Run afterwards: program and arguments.")
    ] = "",
) -> None:
    """Have another product use the definitions; it is given the active set at once.

    Examples: `mailward products add clamd --kind clamd`,
    `mailward products add files --kind yara --folder /srv/yara`
    """
    import shlex

    config = settings(ctx)
    main.require_updater(config)
    found = _clamd_settings() if kind is ProductKind.CLAMD else {}
    place = folder.absolute() if folder else None
    if kind is ProductKind.CLAMD:
        _require_not_freshclams(place)
    sharing = Sharing(main.store(config))
    product = Product(
        name=_checked_name(name),
        kind=kind,
        takes=tuple(takes) if takes else TAKES[kind],
        folder=str(place) if place else None,
        socket=(socket or found.get("socket", "")) if kind is ProductKind.CLAMD else "",
        pid_file=str(pid_file.absolute()) if pid_file else None,
        signal=_checked_signal(signal),
        command=tuple(shlex.split(command)),
        added_at=datetime.now(UTC),
    )
    sharing.products.add(product)
    out.print(f"Added {name}", markup=False)
    for line in _what_to_change(product, sharing, found):
        out.print(line, markup=False)
    state = sharing.bring_up(product)
    out.print(
        f"{name}: {state.standing}" + (f": {state.problem}" if state.problem else ""), markup=False
    )


@app.command("remove")
def remove(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="As in `list`.")]
) -> None:
    """Give a product nothing any more; its link and its files go.

    Example: `mailward products remove clamd`
    """
    config = settings(ctx)
    main.require_updater(config)
    store = main.store(config)
    sharing = Sharing(store)
    sharing.products.remove(sharing.products.get(name))
    drop_exports_of(store, name)
    out.print(f"Removed {name}", markup=False)


def _plain(sharing: Sharing, product: Product, state: ProductState, asking: bool) -> dict[str, Any]:
    is_reader = product.kind is ProductKind.MAILWARD
    return {
        "name": product.name,
        "kind": product.kind.value,
        "takes": [kind.value for kind in product.takes],
        "folder": None if is_reader else str(sharing.products.link(product)),
        "state": "reads the store" if is_reader else state.standing.value,
        "version": str(state.version) if state.version else None,
        "since": state.since,
        "uses": sharing.used(product) if asking else None,
        "problem": state.problem,
        "left_out": list(state.left_out),
    }


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
        raise UsageError(f"{name!r}: a product's name has a-z, 0-9, - and _, at most 40 of them")
    return name


def _checked_signal(signal: str) -> str:
    if signal not in SIGNALS:
        raise UsageError(f"--signal {signal}: one of {', '.join(SIGNALS)}")
    return signal


def _clamd_settings() -> dict[str, str]:
    """What a clamd on this computer says of itself, as far as it can be read."""
    for path in _CLAMD_CONFIGURATIONS:
        try:
            said = dict(_DIRECTIVE.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue
        found = {"file": str(path), "directory": said.get("DatabaseDirectory", "")}
        if "LocalSocket" in said:
            found["socket"] = said["LocalSocket"]
        elif "TCPSocket" in said:
            found["socket"] = f"{said.get('TCPAddr', '127.0.0.1')}:{said['TCPSocket']}"
        return found
    return {}


def _require_not_freshclams(place: Path | None) -> None:
    """Definitions that came by another way are not written over."""
    if place is None or not place.is_dir() or place.is_symlink():
        return
    theirs = sorted(
        p.name
        for p in place.iterdir()
        if p.suffix in (".cvd", ".cld", ".cud") or p.name == "freshclam.dat"
    )
    if theirs:
        raise UsageError(
            f"{place} holds definitions that freshclam keeps ({', '.join(theirs[:5])}), which are "
            "left alone. Name another place with --folder, or none, and have clamd look there: "
            "DatabaseDirectory in its settings. To go on with ClamAV's own definitions, have your "
            "publisher read them (a feed of the kind clamav); freshclam can then be stopped"
        )


def _what_to_change(product: Product, sharing: Sharing, found: dict[str, str]) -> list[str]:
    link = sharing.products.link(product)
    if product.kind is ProductKind.MAILWARD:
        return [
            f'Give it this in its settings: store.folder = "{link.parents[2]}", '
            'update.role = "reader"'
        ]
    if product.kind is not ProductKind.CLAMD:
        lines = [f"It finds them in {link}"]
        if product.kind is ProductKind.RSPAMD and not (product.command or product.pid_file):
            lines.append("Rspamd has to be told: add it with --command 'systemctl reload rspamd'")
        return lines
    file = found.get("file", "clamd's settings")
    lines = [f"Have it look there, and start it again: in {file}, DatabaseDirectory {link}"]
    theirs = Path(found.get("directory") or "/var/lib/clamav")
    if theirs != link and list(theirs.glob("*.c[vl]d")):
        lines.append(
            f"freshclam keeps {theirs}, which stays as it is: clamd does not read both, so stop "
            "freshclam and have your publisher read ClamAV's definitions (a feed of kind clamav)"
        )
    if not product.socket:
        lines.append("Its socket is not known (--socket): it is told nothing and cannot be asked")
    return lines
