"""`mailward scan --explain`: the tree of parts of a file, as a worker saw it."""

import contextlib
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from mailward import main
from mailward.cli.common import out, printable, size
from mailward.config import Config
from mailward.definitions.sets import StoredSet
from mailward.errors import ScannerDownError, StoreError
from mailward.scan.engine import Source
from mailward.scan.explain import Explanation, Seen
from mailward.scan.pool import ALL_ENGINES
from mailward.scan.scanner import too_large
from mailward.scan.verdict import Reason, Unopened, Verdict, VerdictKind
from mailward.scan.worker_parent import WorkerParent
from mailward.scan.worker_process import WorkerLostError, WorkerProcess


async def explain(config: Config, path: Path, content: bytes | int) -> Explanation:
    """What a worker saw in one file. ``content``: or its size, if that is too large.

    Hostile content is opened in a confined worker, never here. Raises StoreError, FormatError,
    ScannerDownError.
    """
    active = main.store(config).active()
    if active is None:
        raise StoreError("no definitions are active on this computer: run `mailward update` first")
    if isinstance(content, int):
        return Explanation((), Verdict(unopened=(too_large(content, config.scan),)))
    async with contextlib.AsyncExitStack() as stack:
        try:
            parent = await stack.enter_async_context(WorkerParent(config.scan, ALL_ENGINES))
            worker = await _ready(active, parent, stack)
        except (OSError, WorkerLostError) as e:
            raise ScannerDownError(f"no worker can be started: {e}") from e
        try:
            return await worker.explain(content, path.name)
        except WorkerLostError as e:
            reason = Reason.TIME if e.late else Reason.CRASH
            why = Unopened("message", reason, f"the worker that scanned it {e}")
            return Explanation((), Verdict(unopened=(why,)))


async def _ready(
    active: StoredSet, parent: WorkerParent, stack: contextlib.AsyncExitStack
) -> WorkerProcess:
    """A worker with the set loaded; prepared anew if the engines are newer than the set's trial."""
    worker = await _worker(parent, stack)
    if not await worker.load(str(active.version), active.prepared):
        return worker
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mailward-prepared-"))
    preparer = await _worker(parent, stack)
    sources = [Source(s.name, s.kind, path) for s, path in active.shard_paths()]
    await preparer.prepare(sources, Path(folder))
    await worker.load(str(active.version), Path(folder))
    return worker


async def _worker(parent: WorkerParent, stack: contextlib.AsyncExitStack) -> WorkerProcess:
    worker = await WorkerProcess.start(parent)
    stack.push_async_callback(worker.close)
    return worker


def show(path: Path, explanation: Explanation, *, as_json: bool) -> None:
    """Print it: a tree for people, one JSON object for programs."""
    plain = explanation.to_plain()
    if as_json:
        tree = {"path": str(path), **plain["verdict"], "tree": plain["parts"]}
        sys.stdout.write(json.dumps(tree) + "\n")
        return
    out.print(f"{printable(str(path))}: {explanation.verdict.kind}", markup=False)
    below: dict[str, list[str]] = defaultdict(list)
    known = {part.path for part in explanation.parts}
    for risk in explanation.verdict.risks:
        kind = VerdictKind.SUSPICIOUS if risk.suspicious else VerdictKind.INFECTED
        below[_nearest(risk.part, known)].append(f"{kind}: {risk.name} ({risk.engine})")
    for ambiguity in explanation.verdict.ambiguities:
        told = f"more than one reading: {ambiguity.doubt}, {ambiguity.detail}"
        below[_nearest(ambiguity.part, known)].append(told)
    for own in explanation.verdict.own_passwords:
        below[_nearest(own.part, known)].append("opened with a password that the message gives")
    for shut in explanation.verdict.unopened:
        at = _nearest(shut.part, known)
        which = "" if shut.part == at else f"{shut.part[len(at) :].lstrip('/')}: "
        below[at].append(f"{VerdictKind.UNSCANNABLE}: {which}{shut.reason}, {shut.detail}")
    for part in explanation.parts:
        _show_part(part, below[part.path])
    for line in below[""]:
        out.print(f"  {line}", markup=False)


def _show_part(part: Seen, findings: list[str]) -> None:
    indent = "  " * (part.depth + 1)
    declared = f", declared as {printable(part.content_type)}" if part.content_type else ""
    out.print(f"{indent}{part.path}: {part.kind}, {size(part.size)}{declared}", markup=False)
    hashes = f"md5 {part.md5}  sha1 {part.sha1}  sha256 {part.sha256}"
    for line in (hashes, *findings):
        out.print(f"{indent}    {line}", markup=False)


def _nearest(path: str, known: set[str]) -> str:
    """The part that something belongs to; empty if there is none."""
    while path and path not in known:
        path = path.rpartition("/")[0]
    return path
