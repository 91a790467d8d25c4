"""`mailward license`: what an administrator has, and what a publisher gives."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mailward import durable, main
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, when
from mailward.cli.repo_keys import KeysOption, RepoOption, publisher
from mailward.config import Config
from mailward.definitions.model import Channel
from mailward.errors import UsageError
from mailward.license import Entitlement, Licensing, Terms
from mailward.publish import licensing
from mailward.publish.licensing import Order
from mailward.publish.usage import Usage
from mailward.update.agent import enabled_channels

app = typer.Typer(no_args_is_help=True)

EncryptOption = Annotated[
    bool, typer.Option("--encrypt", help="The new private key with a passphrase.")
]


@app.callback()
def license_() -> None:
    """Show and install licenses; for publishers: issue, revoke, count them."""


# --- for administrators ---------------------------------------------------------------------------


@app.command("show")
def show(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """What this computer may fetch, until when, and what to do. Exit code 1: not what it takes.

    Example: `mailward license show --json`
    """
    found = gather(settings(ctx), datetime.now(UTC))
    if as_json:
        print_json(found)
    else:
        for each in found["by_channel"].values():
            out.print(f"{each['state'].upper()}: {each['sentence']}", markup=False)
        print_table(
            ["LICENSE", "FOR", "CHANNELS", "SERVERS", "FROM", "UNTIL"],
            [
                [
                    each["id"] or "-",
                    each["licensee"] or each["problem"],
                    " ".join(each["channels"]),
                    str(each["servers"] or "-"),
                    when(each["valid_from"]),
                    when(each["valid_until"]),
                ]
                for each in found["installed"]
            ],
        )
    if not found["allows"]:
        raise typer.Exit(1)


@app.command("install")
def install(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="As the publisher sent it: .mwlic")],
) -> None:
    """Check a license and add it to those installed; `undo` takes it back.

    Several count together: install a renewal as soon as you have it.
    Example: `mailward license install 20261123-5f0c1a2b.mwlic`
    """
    config = settings(ctx)
    channels = list(enabled_channels(config.update))
    licenses = main.licenses(config)
    known, remark = main.agent(config).known_of_licenses(channels)
    installed = licenses.install(file, channels, known, datetime.now(UTC))
    out.print(f"Installed license {installed.id}{remark}", markup=False)
    _say_state(config)


@app.command("undo")
def undo(ctx: typer.Context) -> None:
    """Go back to the licenses that were installed before the last change.

    Example: `mailward license undo`
    """
    config = settings(ctx)
    main.licenses(config).undo()
    out.print("Back to what was installed before")
    _say_state(config)


def _say_state(config: Config) -> None:
    now = datetime.now(UTC)
    for each in main.licenses(config).entitlements(list(enabled_channels(config.update)), now):
        out.print(f"{each.state.upper()}: {each.sentence}", markup=False)


def gather(config: Config, now: datetime) -> dict[str, Any]:
    """What `license show --json` prints, and `status --json` in short; nothing of it is secret."""
    licenses = main.licenses(config)
    known = licenses.known()
    channels = list(enabled_channels(config.update))
    found = licenses.entitlements(channels, now)
    return {
        "state": found[0].state.value if found else "not needed",
        "allows": all(each.allows for each in found),
        "expires_at": min((e.until for e in found if e.until), default=None),
        "channels": [str(e.channel) for e in found if e.allows],
        "by_channel": {str(e.channel): _plain(e) for e in found},
        "installed": [
            {
                "id": h.license.id if h.license else None,
                "licensee": h.license.terms.sub if h.license else None,
                "channels": list(h.license.terms.channels) if h.license else [],
                "servers": h.license.terms.servers if h.license else None,
                "valid_from": h.license.valid_from if h.license else None,
                "valid_until": h.license.valid_until if h.license else None,
                "problem": h.problem,
            }
            for h in licenses.held(known.licensing)
        ],
        "signed_at": known.signed_at,
    }


def _plain(each: Entitlement) -> dict[str, Any]:
    return {"state": each.state.value, "until": each.until, "sentence": each.sentence}


# --- for publishers -------------------------------------------------------------------------------


@app.command("init")
def init_command(
    repo: RepoOption,
    name: Annotated[
        str, typer.Option("--publisher", metavar="NAME", help="Who issues, as licensees know you.")
    ],
    product: Annotated[
        str, typer.Option("--product", metavar="NAME", help="What is licensed.")
    ] = "definitions",
    keys: KeysOption = None,
    encrypt: EncryptOption = False,
) -> None:
    """Make the key that signs licenses, and publish its public half. Needs the key of targets.

    Example: `mailward license init --repo DIR --publisher "Example Ltd"`
    """
    done = licensing.init(
        publisher(repo, keys or (), new_passphrase=encrypt), name, product, encrypted=encrypt
    )
    _print_keys(done)
    out.print("Channels ask for a license once publisher.toml has channels.NAME.license_required")


@app.command("issue")
def issue_command(
    repo: RepoOption,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Who it is for.")] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="YYYY-MM-DD", help="The last day, UTC.")
    ] = "",
    since: Annotated[
        str, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day; default: today.")
    ] = "",
    channels: Annotated[
        list[Channel] | None, typer.Option("--channel", help="May be repeated; default: both.")
    ] = None,
    servers: Annotated[int, typer.Option("--servers", min=1, help="How many may use it.")] = 1,
    license_id: Annotated[str, typer.Option("--id", help="Default: one is made.")] = "",
    warn_days: Annotated[int, typer.Option("--warn-days", help="Before its end.")] = 60,
    grace_days: Annotated[
        int, typer.Option("--grace-days", help="After its end updates go on for so long.")
    ] = 14,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", help="Many: columns to, until, and from, channels, servers, id, …"),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the .mwlic files go.")
    ] = Path(),
    keys: KeysOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a license, or many from CSV: all of them, or none. Files are for their owner only.

    Example: `mailward license issue --repo DIR --to "Example Hospital" --until 2027-11-30`
    """
    if (csv is None) == (not to):
        raise UsageError("say who it is for with --to and --until, or give many with --csv")
    if csv is not None:
        orders = licensing.read_orders(_read_csv(csv))
    else:
        orders = [
            Order(
                licensee=to,
                until=_day("--until", until),
                channels=tuple(channels or Channel),
                servers=servers,
                since=_day("--from", since) if since else None,
                id=license_id,
                warn_days=warn_days,
                grace_days=grace_days,
            )
        ]
    issued = licensing.issue_all(publisher(repo, keys or ()), orders, datetime.now(UTC))
    written = _write(folder, issued)
    if as_json:
        print_json([{**terms.model_dump(), "file": str(path)} for terms, path in written])
        return
    print_table(
        ["LICENSE", "FOR", "CHANNELS", "SERVERS", "FILE"],
        [[t.jti, t.sub, " ".join(t.channels), str(t.servers), str(path)] for t, path in written],
    )


@app.command("revoke")
def revoke_command(
    license_id: Annotated[str, typer.Argument(metavar="ID", help="Of the license.")],
    repo: RepoOption,
    reason: Annotated[str, typer.Option("--reason", help="For the licensee to read.")],
    keys: KeysOption = None,
) -> None:
    """Honour a license no more: agents and servers hear of it at once. Needs the key of targets.

    Example: `mailward license revoke 20261123-5f0c1a2b --reason "not paid" --repo DIR`
    """
    licensing.revoke(publisher(repo, keys or ()), license_id, reason)
    out.print(f"{license_id} is revoked", markup=False)


@app.command("rotate")
def rotate_command(
    repo: RepoOption,
    drop: Annotated[
        str | None,
        typer.Option("--drop", metavar="KEYID", help="Instead: trust this key no more."),
    ] = None,
    keys: KeysOption = None,
    encrypt: EncryptOption = False,
) -> None:
    """A new key signs licenses from now on; those of the old ones stay valid until it is dropped.

    Example: `mailward license rotate --repo DIR --keys /media/targets-key`
    """
    with_keys = publisher(repo, keys or (), new_passphrase=encrypt)
    if drop is not None:
        _print_keys(licensing.drop(with_keys, drop))
    else:
        _print_keys(licensing.rotate(with_keys, encrypted=encrypt))


@app.command("usage")
def usage_command(repo: RepoOption, as_json: JsonOption = False) -> None:
    """How many servers used each license in the last 30 days, as `repo serve` saw them.

    Exit code 1: one is used by more than it is for. Example: `mailward license usage --repo DIR`
    """
    home = publisher(repo).home
    home.require()
    uses = Usage(home.license_usage).uses(datetime.now(UTC))
    if as_json:
        print_json(
            [
                {
                    "id": u.license_id,
                    "licensee": u.licensee,
                    "servers": u.seen,
                    "allowed": u.allowed,
                }
                for u in uses
            ]
        )
    else:
        print_table(
            ["LICENSE", "FOR", "SERVERS", "ALLOWED", ""],
            [
                [u.license_id, u.licensee, str(u.seen), str(u.allowed), "OVER" if u.is_over else ""]
                for u in uses
            ],
        )
    if any(use.is_over for use in uses):
        raise typer.Exit(1)


def _print_keys(known: Licensing) -> None:
    for number, key in enumerate(reversed(known.keys)):
        what = "signs licenses" if number == 0 else "is trusted until it is dropped"
        out.print(f"license key {key.keyid[:16]} {what}")


def _write(folder: Path, issued: Sequence[tuple[Terms, str]]) -> list[tuple[Terms, Path]]:
    """No file is written over: it may be the only copy of somebody's license."""
    paths = [folder / f"{terms.jti}.mwlic" for terms, _ in issued]
    there = next((path for path in paths if path.exists()), None)
    if there is not None:
        raise UsageError(f"{there} is there already: nothing was written")
    try:
        durable.make_folder(folder.resolve())
        for path, (_, token) in zip(paths, issued, strict=True):
            durable.write_atomic(path, token.encode() + b"\n", 0o600)  # S15
    except OSError as e:
        raise UsageError(f"{folder}: {e.strerror}") from e
    return [(terms, path) for path, (terms, _) in zip(paths, issued, strict=True)]


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r}: write a day as 2027-11-30") from None


def _read_csv(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(licensing.CSV_MAX_BYTES + 1)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e
