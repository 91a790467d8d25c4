"""Prove a set in a child process: prepare it with the real engines, load it, find its probes, scan
known-good mail, end (S2).

The child has limits, no network, and writes nothing but the prepared files. The agent's trial and
the publisher's gates both start here. The child gets its job as JSON on standard input and answers
with JSON on standard output. What it prepared stays below ``into``, ready to be used.
"""

import base64
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mailward.definitions.model import NO_SIGNATURES, EngineTrial, RefusedSignature, ShardKind
from mailward.errors import FormatError, StoreError, TemporaryError, TrialError
from mailward.scan import known_good as built_in
from mailward.scan.engine import Source
from mailward.scan.engines import all_engines
from mailward.scan.part import Part, Role
from mailward.scan.prepared import EnginePreparation, LoadedSet, prepare
from mailward.scan.sandbox import Confinement, confine, end_with
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings

_NAMED_MAX = 1000
"""Refused signatures and false positives that are named; the rest are counted."""

BAD_SHARE_MAX = 0.01
"""S3: more bad signatures than this condemn a set (a single one never does)."""

_MODULE = "mailward.scan.proof"
"""Of the child: this file."""

_OPEN_FILES_MAX = 256
_FILE_BYTES_LEAST = 1024 * 1024 * 1024
_FILE_FACTOR = 8
"""To the set: prepared files may be larger than the shards they are made of."""
_ANSWER_MAX_BYTES = 64 * 1024 * 1024
_PROBE_TIMEOUT_S = 20.0
_NICE = 10
"""A tenth of a processor that mail keeps busy: 11 s of preparing then take two minutes of the ten
that a trial has. At 19 it would be a sixtieth, and a busy server would get no definitions."""

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT})
"""Errors that are the computer's and not the set's: no room, a broken disk, a file taken away."""
_STOPPED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""How a service manager ends what belongs to a service, the children too."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a child process found out about a set."""

    engines: tuple[EngineTrial, ...]
    unused_signatures: int
    """Lines in shards that no engine of this release reads."""
    probes_found: int
    probes_missing: tuple[str, ...]
    false_positives: tuple[str, ...]
    """``risk in file`` for each hit in known-good mail, the first thousand."""
    known_good_scanned: int
    duration_ms: float
    at_fault: tuple[str, ...] = ()
    """The signatures behind the false positives, as they are excluded (``scan.excluded``)."""
    probes_excluded: tuple[str, ...] = ()
    """Risks that probes found and that are excluded: their signatures work, and say nothing."""
    confinement: Confinement | None = None
    """What kept the child from doing harm."""

    def problems(self) -> tuple[str, ...]:
        """Why a set with this proof must not be used; empty if it may be."""
        found = []
        for engine in self.engines:
            total = engine.signatures + engine.refused_count
            if engine.refused_count > max(1, total * BAD_SHARE_MAX):  # S3
                first = engine.refused[0] if engine.refused else None
                found.append(
                    f"{engine.refused_count} of {total} signatures of {engine.engine} are bad"
                    + (f", e.g. {first.signature} ({first.reason})" if first else "")
                )
        found += [f"probe not found: {name}" for name in self.probes_missing]
        found += [f"false positive: {hit}" for hit in self.false_positives]
        return tuple(found)


def prove(
    sources: Sequence[Source],
    into: Path,
    *,
    known_good: Sequence[Path] = (),
    before: Path | None = None,
    timeout_s: float,
    memory_bytes: int,
) -> Proof:
    """Prove the set made of ``sources``; prepared files are left below the empty folder ``into``.

    ``known_good``: files or folders of the administrator's or publisher's own, beside the built-in
    messages. ``before``: what an earlier set was prepared to, which spares much of the work.
    ``memory_bytes``: of private memory of the child. Raises TrialError when the child crashes,
    hangs, goes over a limit, or finds a whole shard bad; StoreError or TemporaryError when it could
    not be done, which says nothing about the set.
    """
    job = {
        "sources": [[s.name, s.kind.value, str(s.path.absolute())] for s in sources],
        "into": str(into.absolute()),
        "known_good": [str(path.absolute()) for path in known_good],
        "before": str(before.absolute()) if before is not None else None,
        "memory_bytes": memory_bytes,
        "timeout_s": timeout_s,
    }
    answer = run_child(_MODULE, job, timeout_s)
    try:
        return TypeAdapter(Proof).validate_json(json.dumps(answer))
    except ValidationError as e:
        raise TrialError(f"the trial's child process gave a strange answer: {e}") from e


def run_child(module: str, job: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Hand ``job`` to a child that runs ``module``; what it answers. Raises as ``prove``."""
    job = job | {"parent": os.getpid()}
    child = subprocess.Popen(  # noqa: S603 (modules of ours)
        # -P: the current folder is no place to import from.
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(json.dumps(job).encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired as e:
        raise TrialError(
            f"the trial took longer than {timeout_s:g} s (update.trial_timeout_s)"
        ) from e
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
    if -child.returncode in _STOPPED:
        raise TemporaryError("the trial was stopped from outside; it is done again")
    if child.returncode != 0:
        raise TrialError(f"the trial's child process {_death(child.returncode, err)}")
    if len(out) > _ANSWER_MAX_BYTES:
        raise TrialError(f"the trial's child process answered with {len(out)} bytes")
    try:
        answer = json.loads(out)
    except ValueError as e:
        raise TrialError("the trial's child process gave no answer that can be read") from e
    if not isinstance(answer, dict):
        raise TrialError("the trial's child process gave no answer that can be read")
    if "disk" in answer:
        raise StoreError(f"the trial cannot be done: {answer['disk']}")
    if "bad" in answer:
        raise TrialError(f"the set cannot be used: {answer['bad']}")
    return answer


def _death(returncode: int, err: bytes) -> str:
    lines = err.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1][:300]}" if lines else ""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (time limit)" if name == "SIGXCPU" else ""
        return f"was ended by {name}{hint}{last}"
    return f"failed with exit code {returncode}{last}"


def _child_main() -> None:
    job = read_job()
    began = time.perf_counter()
    sources = [Source(name, ShardKind(kind), Path(path)) for name, kind, path in job["sources"]]
    into = Path(job["into"])
    into.mkdir(parents=True, exist_ok=True)
    limit(job["memory_bytes"], job["timeout_s"], _file_bytes_max(sources))
    confinement = confine([into])
    try:
        before = Path(job["before"]) if job["before"] is not None else None
        answer = _prove(sources, into, [Path(p) for p in job["known_good"]], before)
    except FormatError as e:
        answer = {"bad": str(e)}
    except OSError as e:
        if e.errno not in _DISK:
            raise
        answer = {"disk": str(e)}
    else:
        answer["duration_ms"] = (time.perf_counter() - began) * 1000
        answer["confinement"] = asdict(confinement)
    json.dump(answer, sys.stdout)


def read_job() -> dict[str, Any]:
    """What ``run_child`` handed over. This process ends with the one that did: nobody else would
    end it, or wait for its answer."""
    job: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    if not end_with(job["parent"]):
        sys.exit("nobody waits for this trial any more")
    _step_back()
    return job


def _step_back() -> None:
    """Leave the processor to whoever scans mail; what nobody wants is still ours."""
    os.nice(_NICE)
    # A session of its own may be a group of its own for the scheduler, which then shares among
    # groups first, and looks at this number instead (sched(7), autogroup).
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))


def limit(memory_bytes: int, timeout_s: float, file_bytes: int) -> None:
    """Bound this process for good: private memory, computing time, and each file that it writes."""
    cpu_s = int(timeout_s) * (os.cpu_count() or 1) + 1
    # At the second number it would be killed without a word; at the first the signal says why.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    # Private writable memory. The address space is no measure: YARA-X reserves 8 GB that it never
    # touches, and mapped hash tables are shared.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES_MAX, _OPEN_FILES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _file_bytes_max(sources: Sequence[Source]) -> int:
    read = sum(source.path.stat().st_size for source in sources)
    return max(_FILE_BYTES_LEAST, _FILE_FACTOR * read)


def _prove(
    sources: Sequence[Source], into: Path, known_good: Sequence[Path], before: Path | None
) -> dict[str, Any]:
    engines = all_engines()
    preparations = prepare(sources, engines, into, before)
    loaded, load_ms = _load(into)
    found, missing, switched_off = _find_probes(loaded, sources)
    scanned, false_positives, at_fault = _scan_known_good(loaded, known_good)
    loaded.close()
    read = frozenset[ShardKind]().union(*(engine.kinds for engine in engines))
    return {
        "engines": [_engine_trial(p, load_ms).model_dump(mode="json") for p in preparations],
        "unused_signatures": sum(
            _count_lines(s.path) for s in sources if s.kind not in read | NO_SIGNATURES
        ),
        "probes_found": found,
        "probes_missing": missing,
        "probes_excluded": switched_off,
        "known_good_scanned": scanned,
        "false_positives": false_positives[:_NAMED_MAX],
        "at_fault": sorted(at_fault)[:_NAMED_MAX],
    }


def _load(prepared: Path) -> tuple[LoadedSet, dict[str, float]]:
    """All engines as a worker loads them, after each alone to see how long it takes."""
    load_ms = {}
    for engine in all_engines():
        began = time.perf_counter()
        LoadedSet.load("trial", prepared, [engine]).close()
        load_ms[engine.name] = (time.perf_counter() - began) * 1000
    return LoadedSet.load("trial", prepared, all_engines()), load_ms


def _find_probes(loaded: LoadedSet, sources: Sequence[Source]) -> tuple[int, list[str], list[str]]:
    found, missing, switched_off = 0, list[str](), list[str]()
    for source in sources:
        if source.kind is not ShardKind.PROBES:
            continue
        for name, expect, content in read_probes(source):
            part = Part(name, content, Role.ATTACHMENT, name=name)
            if expect in loaded.names(part, _PROBE_TIMEOUT_S):
                found += 1
                if expect not in {risk.name for risk in loaded.scan(part, _PROBE_TIMEOUT_S)}:
                    switched_off.append(expect)
            else:
                missing.append(f"{expect} in {name}")
    return found, missing, switched_off


def read_probes(source: Source) -> Iterator[tuple[str, str, bytes]]:
    """Name, expected risk and content of each probe in a shard. Raises FormatError."""
    for number, line in enumerate(source.path.read_bytes().splitlines(), 1):
        try:
            probe = json.loads(line)
            yield str(probe["name"]), str(probe["expect"]), base64.b64decode(probe["content"])
        except (ValueError, KeyError, TypeError) as e:
            raise FormatError(f"probes {source.name}, line {number}: not a probe: {e}") from e


def _scan_known_good(loaded: LoadedSet, places: Sequence[Path]) -> tuple[int, list[str], set[str]]:
    scanner = Scanner(loaded, ScanSettings())
    scanned, hits, at_fault = 0, list[str](), set[str]()
    for name, role, data in known_good_messages(places):
        verdict = scanner.scan(data, role=role, name=name)
        scanned += 1
        hits += [f"{risk.name} in {name}" for risk in verdict.risks]
        at_fault.update(signature for risk in verdict.risks for signature in risk.signatures)
    return scanned, hits, at_fault


def known_good_messages(places: Sequence[Path]) -> Iterator[tuple[str, Role, bytes]]:
    """Name, role and content: the built-in messages, then the files in ``places``.

    Files that are too large to be mail, that may not be read, or that are taken away meanwhile, as
    in a mailbox that is in use, are left out.
    """
    for name, message in built_in.messages():
        yield f"built-in message '{name}'", Role.MESSAGE, message
    largest = ScanSettings().max_message_bytes
    for place in places:
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            with suppress(FileNotFoundError, PermissionError):
                if file.is_file() and file.stat().st_size <= largest:
                    yield str(file), Role.FILE, file.read_bytes()


def _engine_trial(p: EnginePreparation, load_ms: dict[str, float]) -> EngineTrial:
    refused = p.preparation.refused
    return EngineTrial(
        engine=p.engine,
        fingerprint=p.fingerprint,
        signatures=p.preparation.signatures,
        refused_count=p.preparation.refused_count,
        refused=tuple(
            RefusedSignature(
                signature=r.signature[:300],
                shard=r.shard[:300],
                line=r.line,
                reason=r.reason[:1000],
            )
            for r in refused[:_NAMED_MAX]
        ),
        kinds=p.preparation.kinds,
        unsupported=p.preparation.unsupported,
        prepare_ms=round(p.prepare_ms, 3),
        load_ms=round(load_ms[p.engine], 3),
    )


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


if __name__ == "__main__":
    _child_main()
