"""`mailward repo check`: the tests of a built set."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mailward.cli.common import JsonOption, out, print_json, print_table
from mailward.cli.repo_keys import RepoOption
from mailward.definitions.model import Level, QualityReport, Version
from mailward.publish import publisher_config
from mailward.publish.gates.base import Progress as Told
from mailward.publish.gates.means import Means
from mailward.publish.quality import Checked, check, check_excluding
from mailward.publish.repository import Publisher

_SHOWN_MAX = 20
"""Culprits of a gate that are listed for people; --json has them all."""

_LINE_EVERY_S = 5.0
"""Between two plain lines of progress about the same gate."""


def check_command(
    repo: RepoOption,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A built set, e.g. 20261123.007.")
    ],
    level: Annotated[Level, typer.Option("--level", help="How hard.")] = Level.BASIC,
    known_good: Annotated[
        list[Path] | None,
        typer.Option(
            "--known-good",
            metavar="PATH",
            help="Harmless files: nothing may be found in them. Stringent needs some.",
        ),
    ] = None,
    known_bad: Annotated[
        list[Path] | None,
        typer.Option(
            "--known-bad", metavar="PATH", help="Samples: what is found once must stay found."
        ),
    ] = None,
    exclude_failing: Annotated[
        bool,
        typer.Option(
            "--exclude-failing",
            help="Leave out what hits known-good files, and check the rebuilt set instead.",
        ),
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="HOST:PORT",
            help="A Dask scheduler whose workers scan; default: all cores here.",
        ),
    ] = None,
    max_time_ratio: Annotated[
        float | None,
        typer.Option("--max-time-ratio", min=0, help="Scanning time against the set before."),
    ] = None,
    max_memory_ratio: Annotated[
        float | None,
        typer.Option("--max-memory-ratio", min=0, help="Memory against the set before."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Test a built set with the real engines and keep the report. Exit 1 when a gate fails.

    What is not given is taken from publisher.toml. Ctrl-C stops it; asked again, it goes on.

    Example: `mailward repo check 20261123.007 --repo DIR --level stringent --known-good clean/`
    """
    configured = Means.configured(publisher_config.find(repo).gates)
    limits = configured.limits
    means = replace(
        configured,
        known_good=tuple(known_good) if known_good else configured.known_good,
        known_bad=tuple(known_bad) if known_bad else configured.known_bad,
        workers=workers,
        limits=replace(
            limits,
            time_ratio=limits.time_ratio if max_time_ratio is None else max_time_ratio,
            memory_ratio=limits.memory_ratio if max_memory_ratio is None else max_memory_ratio,
        ),
    )
    home, asked = Publisher(repo).home, Version.parse(version)
    with _progress(quiet=json) as told:
        means = replace(means, progress=told)
        if exclude_failing:
            checked = check_excluding(home, asked, level, means)
        else:
            checked = Checked(asked, check(home, asked, level, means))
    if json:
        print_json(_plain(checked))
    else:
        _print(checked, asked)
    if not checked.report.passed:
        raise typer.Exit(1)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Told]:
    """A bar on a terminal, lines now and then elsewhere."""
    if quiet:
        yield lambda step, done, total: None
    elif out.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            transient=True,
            console=out,
        ) as bar:
            task = bar.add_task("", total=None)
            yield lambda step, done, total: bar.update(
                task, description=step, completed=done, total=total or None
            )
    else:
        yield _Lines()


class _Lines:
    """Progress for logs: a line when something begins, and every few seconds."""

    def __init__(self) -> None:
        self._step = ""
        self._said_at = 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step == self._step and now - self._said_at < _LINE_EVERY_S:
            return
        self._step, self._said_at = step, now
        out.print(f"{step}: {done} of {total}" if total else step)


def _plain(checked: Checked) -> dict[str, object]:
    report = checked.report
    return report.model_dump(mode="json") | {
        "version": str(checked.version),
        "passed": report.passed,
        "excluded": list(checked.excluded),
    }


def _print(checked: Checked, asked: Version) -> None:
    if checked.excluded:
        print_table(
            ["EXCLUDED FROM NOW ON (excluded.txt)"],
            [[signature] for signature in checked.excluded[:_SHOWN_MAX]],
        )
        out.print(f"{asked} was rebuilt without them as {checked.version}")
    _print_report(str(checked.version), checked.report)


def _print_report(version: str, report: QualityReport) -> None:
    rows = [[g.name, "passed" if g.passed else "FAILED", g.detail] for g in report.gates]
    rows += [[name, "not run", why] for name, _, why in (n.partition(": ") for n in report.not_run)]
    print_table(["GATE", "RESULT", "DETAIL"], rows)
    for gate in report.gates:
        if gate.culprits:
            shown = gate.culprits[:_SHOWN_MAX]
            more = f" (the first {len(shown)})" if len(shown) < len(gate.culprits) else ""
            print_table([f"{gate.name.upper()}{more}"], [[culprit] for culprit in shown])
    verdict = "passed" if report.passed else "FAILED"
    out.print(f"{version} {verdict} the {report.level} tests")
