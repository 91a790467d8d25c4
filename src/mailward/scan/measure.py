"""What a set costs a worker: a fresh child loads its prepared files and scans known-good mail.

Part of a trial: what the first child prepared must load in another process, too.
"""

import json
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mailward.definitions.model import Measured
from mailward.errors import FormatError, TrialError
from mailward.scan.engines import all_engines
from mailward.scan.part import Role
from mailward.scan.prepared import LoadedSet
from mailward.scan.proof import known_good_messages, limit, read_job, run_child
from mailward.scan.sandbox import confine
from mailward.scan.scanner import Scanner
from mailward.settings.scan import ScanSettings

_MODULE = "mailward.scan.measure"
"""Of the child: this file."""

_ROUNDS = 3
"""The quickest counts: whatever else the computer does only adds to it."""
_MESSAGES_MAX = 100
_MESSAGE_MAX_BYTES = 1024 * 1024


def measure(
    prepared: Path, *, known_good: Sequence[Path] = (), timeout_s: float, memory_bytes: int
) -> Measured:
    """Load the prepared files below ``prepared``, as a worker does. Raises TrialError."""
    job = {
        "prepared": str(prepared.absolute()),
        "known_good": [str(path.absolute()) for path in known_good],
        "memory_bytes": memory_bytes,
        "timeout_s": timeout_s,
    }
    answer = run_child(_MODULE, job, timeout_s)
    try:
        return TypeAdapter(Measured).validate_json(json.dumps(answer))
    except ValidationError as e:
        raise TrialError(f"the trial's child process gave a strange answer: {e}") from e


def _child_main() -> None:
    job = read_job()
    limit(job["memory_bytes"], job["timeout_s"], 0)
    confine()
    try:
        answer = _measure(Path(job["prepared"]), [Path(place) for place in job["known_good"]])
    except FormatError as e:
        answer = {"bad": str(e)}
    json.dump(answer, sys.stdout)


def _measure(prepared: Path, places: Sequence[Path]) -> dict[str, Any]:
    fitting = (m for m in known_good_messages(places) if len(m[2]) <= _MESSAGE_MAX_BYTES)
    messages = list(islice(fitting, _MESSAGES_MAX))
    memory_before = _private_bytes()
    began = time.perf_counter()
    loaded = LoadedSet.load("trial", prepared, all_engines())
    load_ms = (time.perf_counter() - began) * 1000
    scanner = Scanner(loaded, ScanSettings())
    cpu_s = min(_round(scanner, messages) for _ in range(_ROUNDS))
    memory_bytes = max(0, _private_bytes() - memory_before)
    loaded.close()
    return {
        "load_ms": round(load_ms, 3),
        "memory_bytes": memory_bytes,
        "message_ms": round(cpu_s * 1000 / len(messages), 3),
    }


def _round(scanner: Scanner, messages: Sequence[tuple[str, Role, bytes]]) -> float:
    """Seconds of processor time for all messages.

    By the thread's clock: the one of a process with a limit on processor time moves in ticks.
    """
    began = time.thread_time()
    for name, role, data in messages:
        scanner.scan(data, role=role, name=name)
    return time.thread_time() - began


def _private_bytes() -> int:
    """Memory that another process does not share."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    _child_main()
