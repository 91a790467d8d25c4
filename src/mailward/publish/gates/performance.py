"""Scanning time and memory against the set before, measured in turns in one run.

Each set is loaded in a child process of its own. They scan the same files alternately, so that
whatever else the computer does hits both; what counts is the median of the ratios of processor
time.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mailward.definitions.model import Gate
from mailward.errors import PublishError
from mailward.publish.gates.base import Limits, NotRun, Progress, Subject, gate
from mailward.publish.gates.measure import Measured, Probe, corpus

NAME = "performance"

ROUNDS = 7

NEGLIGIBLE_MS = 0.5
"""Of processor time a file. Below it no ratio matters: a server would not notice."""

NEGLIGIBLE_BYTES = 32 << 20
"""Of memory a worker; likewise."""


def performance(
    subject: Subject,
    before: Subject | None,
    known_good: Sequence[Path],
    limits: Limits,
    progress: Progress,
) -> Gate | NotRun:
    """Measure, and compare with ``before``. Raises OSError."""
    files = corpus(known_good)
    subjects = [subject] if before is None else [before, subject]
    rounds = []
    try:
        with Probe([each.prepared for each in subjects], files) as probe:
            for number in range(ROUNDS):
                progress(NAME, number, ROUNDS)
                rounds.append(probe.round())
    except PublishError as e:
        return gate(NAME, False, str(e))
    new = [each[-1] for each in rounds]
    if before is None:
        return NotRun(NAME, f"no set before to compare with; {_figures(new)}")
    return judge([each[0] for each in rounds], new, limits, f"set {before.manifest.version}")


def judge(old: Sequence[Measured], new: Sequence[Measured], limits: Limits, before: str) -> Gate:
    """What figures of both sets, taken in turns, mean. ``before``: what to call the old one."""
    time_ratio = median(n.cpu_s / o.cpu_s for o, n in zip(old, new, strict=True))
    memory_ratio = new[-1].memory_bytes / max(old[-1].memory_bytes, 1)
    culprits = []
    if time_ratio > limits.time_ratio and _ms(new) > NEGLIGIBLE_MS:
        slowest = max(zip(new[-1].files_s, old[-1].files_s, new[-1].names, strict=True))
        culprits.append(
            f"scanning takes {time_ratio:.2f} times as long, {limits.time_ratio:g} allowed;"
            f" the slowest file is {slowest[2]}: {slowest[0] * 1000:.1f} ms,"
            f" {slowest[1] * 1000:.1f} ms before"
        )
    if memory_ratio > limits.memory_ratio and new[-1].memory_bytes > NEGLIGIBLE_BYTES:
        culprits.append(
            f"a worker needs {memory_ratio:.2f} times the memory, {limits.memory_ratio:g} allowed"
        )
    detail = (
        f"time {time_ratio:.2f} and memory {memory_ratio:.2f} times that of {before};"
        f" {_figures(new)}"
    )
    return gate(NAME, not culprits, detail, culprits)


def _ms(measured: Sequence[Measured]) -> float:
    """Of processor time a file."""
    return median(each.cpu_s / len(each.names) for each in measured) * 1000


def _figures(new: Sequence[Measured]) -> str:
    return (
        f"{_ms(new):.2f} ms of processor time a file ({len(new[-1].names)} files),"
        f" {new[-1].memory_bytes / (1 << 20):.1f} MiB a worker"
    )
