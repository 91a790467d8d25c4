"""`mailward repo`: what a publisher does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mailward import logs
from mailward.cli import repo_check, repo_keys, repo_serve
from mailward.cli.common import JsonOption, out, print_json, print_table, size, when
from mailward.cli.repo_keys import KeysOption, RepoOption, publisher
from mailward.cli.repo_status import print_status
from mailward.definitions.model import Channel, Current, Version
from mailward.errors import UsageError
from mailward.publish import publisher_config
from mailward.publish.build import FeedReport, build
from mailward.publish.feeds import LeftOut, read_spec, remembered
from mailward.publish.repository import Publisher
from mailward.publish.status import status
from mailward.settings.service import LogLevel, LogSettings

_SHOWN_MAX = 20
"""Culprits and things left out that are listed for people; --json has them all."""

app = typer.Typer(no_args_is_help=True)
app.add_typer(repo_keys.app, name="keys")
app.command("check")(repo_check.check_command)
app.command("watch")(repo_serve.watch_command)
app.command("serve")(repo_serve.serve_command)

VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A built set, e.g. 20261123.007.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Without a passing report; recorded for all to see.")
]
ForceReasonOption = Annotated[str, typer.Option("--reason", help="Why, with --force.")]
RolloutOption = Annotated[
    float | None,
    typer.Option(
        "--rollout",
        metavar="HOURS",
        help="Over how many hours agents take it, instead of all at once; 0 ends a roll-out.",
    ),
]


@app.callback()
def repo() -> None:
    """Publish definitions: build, check, sign, offer, withdraw."""
    logs.configure(
        LogSettings(level=LogLevel.WARNING)
    )  # what went well the commands say themselves


@app.command("init")
def init_command(
    repo: RepoOption,
    root_keys: Annotated[int, typer.Option("--root-keys", metavar="N", help="Of root.")] = 1,
    root_threshold: Annotated[
        int, typer.Option("--root-threshold", metavar="M", help="How many of them must sign.")
    ] = 1,
    targets_keys: Annotated[
        int, typer.Option("--targets-keys", metavar="N", help="Of targets.")
    ] = 1,
    targets_threshold: Annotated[
        int, typer.Option("--targets-threshold", metavar="M", help="How many of them must sign.")
    ] = 1,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Private keys with a passphrase.")
    ] = False,
) -> None:
    """Make keys and an empty repository.

    Example: `mailward repo init --repo /srv/definitions --root-keys 3 --root-threshold 2`
    """
    root = publisher(repo, new_passphrase=encrypt).init(
        key_counts={"root": root_keys, "targets": targets_keys},
        thresholds={"root": root_threshold, "targets": targets_threshold},
        encrypted=encrypt,
    )
    out.print(f"Repository made in {repo}. Hand this file to administrators, by a way they trust:")
    out.print(f"  {root}")
    out.print(f"Move root-*.pem and targets-*.pem in {repo / 'keys'} to places that are offline.")


@app.command("build")
def build_command(
    repo: RepoOption,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            "--feed",
            metavar="SPEC",
            help="starter, or KIND[:NAME]=PLACE: kind clamav, hashes or yara; a file, a folder or"
            " an https:// address. May be repeated. Otherwise those of DIR/publisher.toml.",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept", metavar="NAME", help="Take this feed as it is now, however much it shrank."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the next set from feeds, unless nothing changed. It prints the version.

    A feed that fails keeps its last good content, and is named.
    Example: `mailward repo build --repo DIR --feed starter --feed hashes=lists/`
    """
    home = Publisher(repo).home
    config = publisher_config.find(repo)
    specs = [read_spec(text) for text in feed] if feed else config.feed_specs
    if not specs:
        raise UsageError(f"no feeds: name them with --feed, or in {repo / 'publisher.toml'}")
    built = build(home, remembered(home, specs, config.fetching, accept or ()))
    manifest = built.manifest
    if json:
        print_json(
            {
                "version": str(built.version),
                "new": built.new,
                "signatures": manifest.signatures,
                "size_bytes": manifest.size_bytes,
                "shards": [shard.model_dump(mode="json") for shard in manifest.shards],
                "patches": [patch.model_dump(mode="json") for patch in manifest.patches],
                "left_out_count": built.left_out_count,
                "left_out": [{"where": p.where, "reason": p.reason} for p in built.left_out],
                "feeds": [
                    {
                        "name": report.name,
                        "signatures": report.signatures,
                        "versions": dict(report.versions),
                        "kept": report.kept,
                        "remarks": report.remarks,
                    }
                    for report in built.feeds
                ],
            }
        )
        return
    print_table(
        ["SHARD", "KIND", "SIGNATURES", "SIZE", "COMPRESSED"],
        [
            [s.name, s.kind, str(s.signatures), size(s.size_bytes), size(s.object_bytes)]
            for s in manifest.shards
        ],
    )
    _print_left_out(built.left_out, built.left_out_count)
    _print_feeds(built.feeds)
    if built.new:
        out.print(f"{built.version}: {manifest.signatures} signatures, not published yet")
    else:
        out.print(f"{built.version}: nothing changed since it was built")


@app.command("publish")
def publish_command(
    repo: RepoOption,
    version: VersionArgument,
    force: ForceOption = False,
    reason: ForceReasonOption = "",
    rollout: RolloutOption = None,
) -> None:
    """Offer a set that passed the basic tests in the rapid channel.

    Example: `mailward repo publish 20261123.007 --repo DIR`
    """
    offer = publisher(repo).publish(
        Version.parse(version),
        _forced(force, reason),
        _rollout(repo, Channel.RAPID, rollout),
        _license_required(repo, Channel.RAPID),
    )
    _print_offer(offer)


@app.command("promote")
def promote_command(
    repo: RepoOption,
    version: VersionArgument,
    force: ForceOption = False,
    reason: ForceReasonOption = "",
    rollout: RolloutOption = None,
) -> None:
    """Offer a set that passed the stringent tests in the certified channel.

    Example: `mailward repo promote 20261123.007 --repo DIR --rollout 12`
    """
    offer = publisher(repo).promote(
        Version.parse(version),
        _forced(force, reason),
        _rollout(repo, Channel.CERTIFIED, rollout),
        _license_required(repo, Channel.CERTIFIED),
    )
    _print_offer(offer)


@app.command("withdraw")
def withdraw_command(
    repo: RepoOption,
    version: VersionArgument,
    reason: Annotated[str, typer.Option("--reason", help="For administrators to read.")],
    channel: Annotated[
        Channel | None, typer.Option("--channel", help="Only from this one.")
    ] = None,
) -> None:
    """Say that a set must not be used: agents fall back to the one offered before.

    Example: `mailward repo withdraw 20261123.007 --reason "hits invoices" --repo DIR`
    """
    offers = publisher(repo).withdraw(Version.parse(version), reason, channel)
    for name, offer in offers.items():
        instead = f"offers {offer.version} now" if offer.version else "offers nothing now"
        out.print(f"{version} is withdrawn from {name}, which {instead}")


@app.command("refresh")
def refresh_command(repo: RepoOption, keys: KeysOption = None) -> None:
    """Sign the timestamp anew: agents believe it for a day. Run it several times a day.

    With it every other role that is due, as far as its keys are here.
    Example: `mailward repo refresh --repo DIR`
    """
    until = publisher(repo, keys or ()).refresh_timestamp()
    out.print(f"the timestamp holds until {when(until)}")


@app.command("status")
def status_command(repo: RepoOption, json: JsonOption = False) -> None:
    """What is offered, what was built, how long the signatures hold, and how `watch` fares.

    Exit 1 when something expires soon or failed. Example: `mailward repo status --repo DIR --json`
    """
    found = status(Publisher(repo).home)
    if json:
        print_json(found.to_plain())
    else:
        print_status(found)
    if found.problems():
        raise typer.Exit(1)


def _rollout(repo: Path, channel: Channel, hours: float | None) -> float | None:
    """What was asked for, or else what publisher.toml has for the channel."""
    if hours is not None:
        return hours
    channels = publisher_config.find(repo).channels
    policy = channels.rapid if channel is Channel.RAPID else channels.certified
    return policy.rollout_hours or None


def _license_required(repo: Path, channel: Channel) -> bool:
    channels = publisher_config.find(repo).channels
    policy = channels.rapid if channel is Channel.RAPID else channels.certified
    return policy.license_required


def _print_offer(offer: Current) -> None:
    over = f", rolled out over {offer.rollout.hours:g} hours" if offer.rollout else ""
    out.print(f"{offer.version} is offered in {offer.channel}{over}")


def _forced(force: bool, reason: str) -> str | None:
    if reason and not force:
        raise UsageError("--reason goes with --force")
    return reason if force else None


def _print_feeds(feeds: Sequence[FeedReport]) -> None:
    said = [(report.name, remark) for report in feeds for remark in report.remarks]
    if said:
        print_table(["FEED", "REMARK"], said[:_SHOWN_MAX])
    refused = [(r.name, str(r.signatures), r.kept) for r in feeds if r.kept]
    if refused:
        print_table(["REFUSED FEED", "SIGNATURES KEPT", "WHY ITS LAST GOOD CONTENT STAYS"], refused)


def _print_left_out(named: tuple[LeftOut, ...], count: int) -> None:
    if not count:
        return
    out.print(f"Left out: {count} files or lines, the first of them")
    print_table(["WHERE", "WHY"], [[piece.where, piece.reason] for piece in named[:_SHOWN_MAX]])
