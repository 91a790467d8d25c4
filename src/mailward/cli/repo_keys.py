"""`mailward repo keys`: who may sign what."""

import sys
from collections.abc import Sequence
from getpass import getpass
from pathlib import Path
from typing import Annotated

import typer

from mailward.cli.common import JsonOption, out, print_json, print_table
from mailward.errors import UsageError
from mailward.publish import publisher_config, rotation
from mailward.publish.keys import read_public
from mailward.publish.passphrases import Secrets
from mailward.publish.repository import Publisher
from mailward.publish.rotation import Rotation
from mailward.publish.status import RoleStatus, status

app = typer.Typer(no_args_is_help=True)

RepoOption = Annotated[Path, typer.Option("--repo", metavar="DIR", help="The publisher's folder.")]
KeysOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--keys", metavar="DIR", help="Where more private keys are: a stick, say. May be repeated."
    ),
]
EncryptOption = Annotated[
    bool, typer.Option("--encrypt", help="The new private key with a passphrase.")
]


@app.callback()
def keys() -> None:
    """Show who may sign what; replace keys, and trust lost ones no more."""


@app.command("show")
def show(repo: RepoOption, json: JsonOption = False) -> None:
    """Every role with its keys and where they are. Never a secret.

    Example: `mailward repo keys show --repo DIR`
    """
    roles = status(Publisher(repo).home).roles
    if json:
        print_json([_plain(role) for role in roles])
        return
    print_table(
        ["ROLE", "MUST SIGN", "KEY", "SCHEME", "WHERE"],
        [
            [
                role.role,
                f"{role.threshold} of {len(role.keys)}",
                key.keyid[:16],
                key.scheme,
                key.place or "elsewhere",
            ]
            for role in roles
            for key in role.keys
        ],
    )


@app.command("rotate")
def rotate(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, rapid, …")],
    repo: RepoOption,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEYID", help="Only this one of the role's."),
    ] = None,
    keys: KeysOption = None,
    encrypt: EncryptOption = False,
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="The new key is in a token or cloud service: hsm:2?label=…"),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", metavar="FILE", help="Its public half (PEM), with --uri."),
    ] = None,
) -> None:
    """Replace a role's keys. Agents follow, also those that were away for several of these.

    Example: `mailward repo keys rotate timestamp --repo DIR --keys /media/root-key`
    """
    if (uri is None) != (public_key is None):
        raise UsageError("--uri and --public-key go together")
    token = None if uri is None or public_key is None else (uri, read_public(public_key))
    done = rotation.rotate(
        publisher(repo, keys or (), new_passphrase=encrypt),
        role,
        key,
        encrypted=encrypt,
        token=token,
    )
    _print_done(done)


@app.command("revoke")
def revoke(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, rapid, …")],
    keyid: Annotated[str, typer.Argument(metavar="KEYID", help="As `keys show` names it.")],
    repo: RepoOption,
    keys: KeysOption = None,
    encrypt: EncryptOption = False,
) -> None:
    """Trust a key no more; a new one takes its place if too few would be left to sign.

    Example: `mailward repo keys revoke rapid 3f2a9c01d4e5b677 --repo DIR --keys /media/targets-key`
    """
    with_keys = publisher(repo, keys or (), new_passphrase=encrypt)
    _print_done(rotation.revoke(with_keys, role, keyid, encrypted=encrypt))


def publisher(repo: Path, keys: Sequence[Path] = (), *, new_passphrase: bool = False) -> Publisher:
    """The publisher with its keys, also those in folders that publisher.toml names.

    Who sits at a terminal is asked for passphrases and PINs.
    """
    for folder in keys:
        if not folder.is_dir():
            raise UsageError(f"--keys {folder}: there is no such folder")
    ask = (_ask_twice if new_passphrase else getpass) if sys.stdin.isatty() else None
    return Publisher(
        repo, secrets=Secrets(ask), more_keys=(*keys, *publisher_config.find(repo).keys)
    )


def _ask_twice(prompt: str) -> str:
    secret = getpass(prompt)
    if getpass(f"again, {prompt}") != secret:
        raise UsageError("these were not the same: nothing changed")
    return secret


def _print_done(done: Rotation) -> None:
    for key in done.gone:
        out.print(f"{done.role}: {key.keyid[:16]} is trusted no more, its file here is gone")
    for key in done.new:
        out.print(f"{done.role}: {key.keyid[:16]} is trusted from now on")
    if done.role in ("root", "targets") and done.new:
        out.print("Move the new private keys to places that are offline.")


def _plain(role: RoleStatus) -> dict[str, object]:
    return {
        "role": role.role,
        "threshold": role.threshold,
        "keys": [
            {"keyid": key.keyid, "scheme": key.scheme, "place": key.place} for key in role.keys
        ],
    }
