"""Fuzzing all parsers in turn: the next slice of time is for whom the last one was worth most.

What came of it is in ``rotation.json`` of the folder, so that a later one goes on where it ended.
"""

import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

GRACE_S = 120
"""Beyond its slice, until a process is ended: reading what there is counts too."""
_POLL_S = 0.2

_PROGRESS = re.compile(
    rb"^#(\d+)\s+(\w+)\s+(?:cov: (\d+) ft: (\d+) )?corp: (\d+)/\S+", re.MULTILINE
)
"""Without coverage if no code was reached that it sees."""


@dataclass
class Course:
    """How the fuzzing of one parser went so far."""

    seconds: float = 0
    slices: int = 0
    runs: int = 0
    edges: int = 0
    """Of the code, that the inputs reach (libFuzzer's ``cov``)."""
    features: int = 0
    """Edges, and how often each is passed (libFuzzer's ``ft``)."""
    inputs: int = 0
    new_edges: int = 0
    """That the last slice added."""
    new_features: int = 0
    still_s: float = 0
    """Since an edge was added."""

    def add(self, seconds: float, log: bytes) -> None:
        """A slice more, of which libFuzzer wrote ``log``."""
        self.slices += 1
        self.seconds += seconds
        self.new_edges = self.new_features = 0
        lines = [line.groups() for line in _PROGRESS.finditer(log)]
        if lines:
            begun = next((line for line in lines if line[1] == b"INITED"), lines[0])
            runs, _, edges, features, inputs = lines[-1]
            self.edges, self.features, self.inputs = (
                int(edges or 0),
                int(features or 0),
                int(inputs),
            )
            self.new_edges = self.edges - int(begun[2] or 0)
            self.new_features = self.features - int(begun[3] or 0)
            self.runs += int(runs)
        self.still_s = 0 if self.new_edges else self.still_s + seconds


class Rotation:
    """All courses, and the folder that holds them."""

    def __init__(self, folder: Path, still_s: float) -> None:
        self.folder = folder
        self._still_s = still_s
        (folder / "found").mkdir(parents=True, exist_ok=True)
        self._path = folder / "rotation.json"
        told = json.loads(self._path.read_text()) if self._path.exists() else {}
        self.courses = {name: Course(**course) for name, course in told.items()}

    def save(self) -> None:
        """So that a later one goes on here."""
        new = self._path.with_suffix(".new")
        courses = {name: asdict(course) for name, course in self.courses.items()}
        new.write_text(json.dumps(courses, indent=1))
        new.replace(self._path)

    def next(self, targets: Iterable[str]) -> str | None:
        """Untried ones in their order, then who gained most; nobody who stands still or failed."""
        waiting: list[tuple[int, int, float, str]] = []
        for name in targets:
            if self.found(name):  # until it is mended and this is removed, time would be lost
                continue
            if name not in self.courses:
                return name
            course = self.courses[name]
            if course.still_s < self._still_s:
                waiting.append((course.new_edges, course.new_features, -course.seconds, name))
        return max(waiting)[-1] if waiting else None

    def keeping(self, target: str, parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
        """Writes what made it fail: libFuzzer does so for timeouts, and not for exceptions."""

        def parse_and_keep(data: bytes) -> None:
            try:
                parse(data)
            except BaseException:
                name = f"{target}-crash-{hashlib.sha256(data).hexdigest()}"
                (self.folder / "found" / name).write_bytes(data)
                raise

        return parse_and_keep

    def found(self, target: str) -> list[Path]:
        """The inputs that made it fail."""
        kinds = ("crash", "timeout", "oom")
        folder = self.folder / "found"
        return [path for kind in kinds for path in folder.glob(f"{target}-{kind}-*")]

    def table(self) -> str:
        """For people."""
        columns = "parser", "minutes", "runs", "a second", "edges", "still for minutes", "found"
        lines = [columns, ("---",) * len(columns)]
        for name, course in sorted(self.courses.items()):
            each_s = course.runs / max(course.seconds, 1)
            minutes, still = f"{course.seconds / 60:.1f}", f"{course.still_s / 60:.1f}"
            line = (name, minutes, f"{course.runs:,}", f"{each_s:,.0f}", f"{course.edges:,}")
            lines.append((*line, still, str(len(self.found(name)))))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run(
    rotation: Rotation,
    targets: list[str],
    hours: float,
    slice_s: float,
    fuzz: Callable[[str], None],
) -> None:
    """Until the time is over, or nobody gains any more. ``fuzz``: a name; ends the process."""
    ends = time.monotonic() + hours * 3600
    while time.monotonic() < ends and (target := rotation.next(targets)) is not None:
        log = rotation.folder / f"{target}.log"
        began = time.monotonic()
        _apart(fuzz, target, log, slice_s + GRACE_S)
        course = rotation.courses.setdefault(target, Course())
        course.add(time.monotonic() - began, log.read_bytes())
        rotation.save()
        print(
            f"{time.strftime('%H:%M:%S')} {target}: {course.edges} edges (+{course.new_edges}), "
            f"{course.features} features (+{course.new_features}), {course.runs} runs in "
            f"{course.seconds:.0f} s" + "".join(f"; {path}" for path in rotation.found(target)),
            flush=True,
        )


def _apart(fuzz: Callable[[str], None], target: str, log: Path, timeout_s: float) -> None:
    """In a process of its own: importing with coverage is done once, a crash costs a slice."""
    child = os.fork()
    if child == 0:
        try:
            with log.open("wb") as into:
                os.dup2(into.fileno(), 1)
                os.dup2(into.fileno(), 2)
            fuzz(target)
        finally:
            os._exit(1)
    ends = time.monotonic() + timeout_s
    try:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > ends:
                raise TimeoutError(f"{target} did not end in time; its output is in {log}")
            time.sleep(_POLL_S)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
