"""`mailward repo`: what a publisher does."""

import asyncio
import signal
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mailward import logs
from mailward.cli.common import JsonOption, out, print_json, print_table, settings, size, when
from mailward.config import LogLevel, LogSettings
from mailward.definitions.model import Channel, Level, QualityReport, Version
from mailward.errors import UsageError
from mailward.publish import server
from mailward.publish.build import build
from mailward.publish.feeds import LeftOut, parse_specs
from mailward.publish.quality import check
from mailward.publish.repository import Publisher
from mailward.publish.status import Status, status

_SHOWN_MAX = 20
"""Culprits and things left out that are listed for people; --json has them all."""

app = typer.Typer(no_args_is_help=True)

RepoOption = Annotated[Path, typer.Option("--repo", metavar="DIR", help="The publisher's folder.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A built set, e.g. 20261123.007.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Without a passing report; recorded for all to see.")
]
ForceReasonOption = Annotated[str, typer.Option("--reason", help="Why, with --force.")]


@app.callback()
def repo() -> None:
    """Publish definitions: build, check, sign, offer, withdraw."""
    logs.configure(
        LogSettings(level=LogLevel.WARNING)
    )  # what went well the commands say themselves


@app.command("init")
def init_command(repo: RepoOption) -> None:
    """Make keys and an empty repository.

    Example: `mailward repo init --repo /srv/definitions`
    """
    root = Publisher(repo).init()
    out.print(f"Repository made in {repo}. Hand this file to administrators, by a way they trust:")
    out.print(f"  {root}")
    out.print(f"Move {repo / 'keys' / 'root.pem'} and targets.pem to a place that is offline.")


@app.command("build")
def build_command(
    repo: RepoOption,
    feed: Annotated[
        list[str],
        typer.Option(
            "--feed",
            metavar="SPEC",
            help="starter, or KIND[:NAME]=PATH with kind clamav, hashes or yara. May be repeated.",
        ),
    ],
    json: JsonOption = False,
) -> None:
    """Make the next set from feeds, unless nothing changed. It prints the version.

    Example: `mailward repo build --repo DIR --feed starter --feed hashes=lists/`
    """
    built = build(Publisher(repo).home, parse_specs(feed))
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
    if built.new:
        out.print(f"{built.version}: {manifest.signatures} signatures, not published yet")
    else:
        out.print(f"{built.version}: nothing changed since it was built")


@app.command("check")
def check_command(
    repo: RepoOption,
    version: VersionArgument,
    level: Annotated[Level, typer.Option("--level", help="How hard.")] = Level.BASIC,
    known_good: Annotated[
        list[Path] | None,
        typer.Option("--known-good", metavar="PATH", help="Nothing may be found in it."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Test a built set with the real engines and keep the report. Exit 1 when a gate fails.

    Example: `mailward repo check 20261123.007 --repo DIR`
    """
    for path in known_good or []:
        if not path.exists():
            raise UsageError(f"--known-good {path}: there is no such file or folder")
    report = check(Publisher(repo).home, Version.parse(version), level, known_good=known_good or [])
    if json:
        print_json(report.model_dump(mode="json") | {"version": version, "passed": report.passed})
    else:
        _print_report(version, report)
    if not report.passed:
        raise typer.Exit(1)


@app.command("publish")
def publish_command(
    repo: RepoOption,
    version: VersionArgument,
    force: ForceOption = False,
    reason: ForceReasonOption = "",
) -> None:
    """Offer a set that passed the basic tests in the rapid channel.

    Example: `mailward repo publish 20261123.007 --repo DIR`
    """
    offer = Publisher(repo).publish(Version.parse(version), _forced(force, reason))
    out.print(f"{offer.version} is offered in {offer.channel}")


@app.command("promote")
def promote_command(
    repo: RepoOption,
    version: VersionArgument,
    force: ForceOption = False,
    reason: ForceReasonOption = "",
) -> None:
    """Offer a set that passed the stringent tests in the certified channel.

    Example: `mailward repo promote 20261123.007 --repo DIR`
    """
    offer = Publisher(repo).promote(Version.parse(version), _forced(force, reason))
    out.print(f"{offer.version} is offered in {offer.channel}")


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
    offers = Publisher(repo).withdraw(Version.parse(version), reason, channel)
    for name, offer in offers.items():
        instead = f"offers {offer.version} now" if offer.version else "offers nothing now"
        out.print(f"{version} is withdrawn from {name}, which {instead}")


@app.command("refresh")
def refresh_command(repo: RepoOption) -> None:
    """Sign the timestamp anew: agents believe it for a day. Run it several times a day.

    Example: `mailward repo refresh --repo DIR`
    """
    out.print(f"the timestamp holds until {when(Publisher(repo).refresh_timestamp())}")


@app.command("status")
def status_command(repo: RepoOption, json: JsonOption = False) -> None:
    """What is offered, what was built, and how long the signatures hold.

    Exit 1 when a signature has expired. Example: `mailward repo status --repo DIR --json`
    """
    found = status(Publisher(repo).home)
    if json:
        print_json(found.to_plain())
    else:
        _print_status(found)
    if any(role.expired for role in found.roles):
        raise typer.Exit(1)


@app.command("serve")
def serve_command(
    ctx: typer.Context,
    repo: RepoOption,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Port 0 takes a free one.")
    ] = "127.0.0.1:8080",
) -> None:
    """Serve the public folder over HTTP until Ctrl-C; any other web server does as well.

    Example: `mailward repo serve --repo DIR --listen 127.0.0.1:8080`
    """
    logs.configure(settings(ctx).log)
    home = Publisher(repo).home
    home.require()
    host, port = _address(listen)
    asyncio.run(_serve(home.public, host, port))


async def _serve(folder: Path, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with server.serving(folder, host, port) as real_port:
        shown = f"[{host}]" if ":" in host else host
        out.print(f"Serving {folder} at http://{shown}:{real_port}/ until Ctrl-C")
        await stop.wait()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--listen {text}: write HOST:PORT, e.g. 127.0.0.1:8080 or [::1]:8080")
    return host.strip("[]"), int(port)


def _forced(force: bool, reason: str) -> str | None:
    if reason and not force:
        raise UsageError("--reason goes with --force")
    return reason if force else None


def _print_left_out(named: tuple[LeftOut, ...], count: int) -> None:
    if not count:
        return
    out.print(f"Left out: {count} files or lines, the first of them")
    print_table(["WHERE", "WHY"], [[piece.where, piece.reason] for piece in named[:_SHOWN_MAX]])


def _print_report(version: str, report: QualityReport) -> None:
    print_table(
        ["GATE", "RESULT", "DETAIL"],
        [[gate.name, "passed" if gate.passed else "FAILED", gate.detail] for gate in report.gates],
    )
    for gate in report.gates:
        if gate.culprits:
            shown = gate.culprits[:_SHOWN_MAX]
            more = f" (the first {len(shown)})" if len(shown) < len(gate.culprits) else ""
            print_table([f"{gate.name.upper()}{more}"], [[culprit] for culprit in shown])
    verdict = "passed" if report.passed else "FAILED"
    out.print(f"{version} {verdict} the {report.level} tests")


def _print_status(found: Status) -> None:
    print_table(
        ["CHANNEL", "VERSION", "SINCE", "SIGNATURES", "SIZE", "TESTED", "WITHDRAWN"],
        [
            [
                channel,
                str(state.offer.version or "-"),
                when(state.offer.published_at),
                str(state.manifest.signatures) if state.manifest else "-",
                size(state.manifest.size_bytes) if state.manifest else "-",
                _tested(state.manifest.report) if state.manifest else "-",
                str(len(state.offer.withdrawn)),
            ]
            for channel, state in found.channels.items()
        ],
    )
    out.print()
    print_table(
        ["ROLE", "NUMBER", "EXPIRES", "KEY"],
        [
            [role.role, str(role.number), _expiry(role.expires, role.expired), _here(role.key_here)]
            for role in found.roles
        ],
    )
    out.print()
    print_table(
        ["SET", "BUILT", "SIGNATURES", "SIZE", "PATCHES", "REPORTS"],
        [
            [
                str(each.manifest.version),
                when(each.manifest.built_at),
                str(each.manifest.signatures),
                size(each.manifest.size_bytes),
                str(len(each.manifest.patches)),
                ", ".join(_tested(report) for report in each.reports.values()) or "-",
            ]
            for each in reversed(found.sets[-_SHOWN_MAX:])
        ],
    )


def _tested(report: QualityReport | None) -> str:
    if report is None:
        return "-"
    if report.forced:
        return f"{report.level} forced: {report.forced}"
    return f"{report.level} {'passed' if report.passed else 'FAILED'}"


def _expiry(expires: datetime, expired: bool) -> str:
    return f"{when(expires)} EXPIRED" if expired else when(expires)


def _here(key_here: bool) -> str:
    return "here" if key_here else "elsewhere"
