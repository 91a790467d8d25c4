"""`mailward scan`: files, messages, folders, standard input."""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from mailward import main
from mailward.cli import explain as explaining
from mailward.cli import folder_definitions
from mailward.cli.common import JsonOption, out, printable, settings
from mailward.config import Config
from mailward.errors import StoreError
from mailward.scan.part import Role
from mailward.scan.pool import ScanPool
from mailward.scan.scanner import too_large
from mailward.scan.verdict import Verdict, VerdictKind
from mailward.settings.scan import ScanSettings

_PROGRESS_AFTER_S = 2.0
_UNOPENED_SHOWN = 5
"""Of one file; an archive in an old format can have hundreds of them."""
_IN_FLIGHT_PER_WORKER = 2
"""One being scanned, one being read."""

_STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class _Outcome:
    path: Path
    verdict: Verdict | None = None
    error: str = ""
    """Why the file could not be read; then there is no verdict."""


@dataclass(slots=True)
class _Tally:
    """What all files came to."""

    kinds: Counter[VerdictKind] = field(default_factory=Counter)
    sets: set[str] = field(default_factory=set)
    unread: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add(self, outcome: _Outcome) -> None:
        if outcome.verdict is None:
            self.unread += 1
            return
        self.kinds[outcome.verdict.kind] += 1
        if outcome.verdict.set:
            self.sets.add(outcome.verdict.set)

    def sentence(self) -> str:
        counts = ", ".join(f"{self.kinds[kind]:,} {kind}" for kind in VerdictKind)
        total = self.kinds.total()
        return (
            f"{total:,} {'file' if total == 1 else 'files'} in {self.seconds:.1f} s: {counts}"
            + (f"; {self.unread} could not be read" if self.unread else "")
            + (f"; definitions {', '.join(sorted(self.sets))}" if self.sets else "")
        )


def scan(
    ctx: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(help="Files, folders (with everything below), or - for input.")
    ],
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show every part: type, size, hashes, what was found."),
    ] = False,
    definitions: Annotated[
        Path | None,
        typer.Option(help="A folder of ClamAV signatures and YARA rules, instead of the store."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Scan files, messages, mailboxes (mbox) and folders with the active definitions.

    What a file is, is told by its content. Exit code 1: a risk was found; 2: something could not
    be read. What could not be looked into (encrypted, malformed, over a limit) is listed as
    unscannable; what mail clients read in more than one way as ambiguous, which is no risk by
    itself. With --json, one JSON object a line.

    With --definitions, plain signature files are tried: prepared on first use, then cached.

    Example: `mailward scan --json message.eml ~/Maildir`
    """
    config = settings(ctx)
    if definitions is not None:
        config = folder_definitions.configured(config, definitions)
    if main.store(config).active() is None:
        raise StoreError("no definitions are active on this computer: run `mailward update` first")
    if explain:
        _explain_all(config, list(_files(paths)), as_json=as_json)
        return
    tally = asyncio.run(_scan_all(config, list(_files(paths)), as_json=as_json))
    if not as_json:
        out.print(tally.sentence(), markup=False)
    if tally.kinds[VerdictKind.INFECTED] or tally.kinds[VerdictKind.SUSPICIOUS]:
        raise typer.Exit(1)
    if tally.unread:
        raise typer.Exit(2)


def _explain_all(config: Config, files: Sequence[Path], *, as_json: bool) -> None:
    found = unread = False
    for path in files:
        try:
            content = _read(path, config.scan.max_message_bytes)
        except OSError as e:
            unread = True
            _report(_Outcome(path, error=e.strerror or str(e)), as_json=as_json)
            continue
        explanation = asyncio.run(explaining.explain(config, path, content))
        explaining.show(path, explanation, as_json=as_json)
        found = found or bool(explanation.verdict.risks)
    if found or unread:
        raise typer.Exit(1 if found else 2)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """What is named, and every regular file below what is a folder."""
    for path in paths:
        if path == _STDIN or not path.is_dir():
            yield path
        else:
            yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())


async def _scan_all(config: Config, files: Sequence[Path], *, as_json: bool) -> _Tally:
    workers = max(1, min(config.scan.workers, len(files)))
    limits = config.scan.model_copy(update={"workers": workers})
    tally = _Tally()
    with ExitStack() as shown:
        progress = _progress(len(files))
        async with ScanPool(main.store(config), limits) as pool:
            async for outcome in _outcomes(pool, files, limits):
                tally.add(outcome)
                _report(outcome, as_json=as_json)
                progress.advance(progress.task_ids[0])
                if tally.seconds > _PROGRESS_AFTER_S and out.is_terminal and not as_json:
                    progress.start()
                    shown.callback(progress.stop)
    return tally


async def _outcomes(
    pool: ScanPool, files: Sequence[Path], limits: ScanSettings
) -> AsyncIterator[_Outcome]:
    """In the order of ``files``, several at a time."""
    flying: deque[asyncio.Task[_Outcome]] = deque()
    try:
        for path in files:
            flying.append(asyncio.create_task(_scan_one(pool, path, limits)))
            if len(flying) >= limits.workers * _IN_FLIGHT_PER_WORKER:
                yield await flying.popleft()
        while flying:
            yield await flying.popleft()
    finally:
        for task in flying:
            task.cancel()


async def _scan_one(pool: ScanPool, path: Path, limits: ScanSettings) -> _Outcome:
    try:
        data = await asyncio.to_thread(_read, path, limits.max_message_bytes)
    except OSError as e:
        return _Outcome(path, error=e.strerror or str(e))
    if isinstance(data, int):
        return _Outcome(path, Verdict(unopened=(too_large(data, limits),)))
    return _Outcome(path, await pool.scan(data, role=Role.FILE, name=path.name))


def _read(path: Path, limit: int) -> bytes | int:
    """The content, or the size of what is too large to be read into memory."""
    if path == _STDIN:
        data = sys.stdin.buffer.read(limit + 1)
        return data if len(data) <= limit else len(data)
    with path.open("rb") as file:
        size = path.stat().st_size
        return size if size > limit else file.read(limit)


def _report(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(_plain(outcome)) + "\n")
        return
    path = printable(str(outcome.path))
    if outcome.verdict is None:
        print(f"mailward: {path}: {outcome.error}", file=sys.stderr)
        return
    for risk in outcome.verdict.risks:
        kind = VerdictKind.SUSPICIOUS if risk.suspicious else VerdictKind.INFECTED
        out.print(f"{path}: {kind}: {risk.name} in {risk.part} ({risk.engine})", markup=False)
    for own in outcome.verdict.own_passwords[:_UNOPENED_SHOWN]:
        why = f"{own.part}: opened with a password that the message gives"
        out.print(f"{path}: encrypted: {why}", markup=False)
    for ambiguity in outcome.verdict.ambiguities[:_UNOPENED_SHOWN]:
        why = f"{ambiguity.part}: {ambiguity.doubt}, {ambiguity.detail}"
        out.print(f"{path}: ambiguous: {why}", markup=False)
    unopened = outcome.verdict.unopened
    for shut in unopened[:_UNOPENED_SHOWN]:
        why = f"{shut.part}: {shut.reason}, {shut.detail}"
        out.print(f"{path}: {VerdictKind.UNSCANNABLE}: {why}", markup=False)
    if len(unopened) > _UNOPENED_SHOWN:
        more = f"{len(unopened) - _UNOPENED_SHOWN} more parts (--json lists them)"
        out.print(f"{path}: {VerdictKind.UNSCANNABLE}: {more}", markup=False)


def _plain(outcome: _Outcome) -> dict[str, Any]:
    if outcome.verdict is None:
        return {"path": str(outcome.path), "error": outcome.error}
    return {"path": str(outcome.path), **outcome.verdict.to_plain()}


def _progress(total: int) -> Progress:
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=out, transient=True)
    progress.add_task("", total=total)
    return progress
