"""What a check is made with: collections, workers, limits."""

from dataclasses import dataclass, field
from pathlib import Path

from mailward.errors import UsageError
from mailward.publish.gates.base import Limits, Progress
from mailward.publish.gates.files import below
from mailward.publish.publisher_config import GateSettings

BASIC_FILES_MAX = 500
"""Of the known-good collection in the basic tests, which must not take long."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a check is made with."""

    known_good: tuple[Path, ...] = ()
    """Files and folders in which nothing may be found."""
    known_bad: tuple[Path, ...] = ()
    """Files and folders with samples; those that are found must be found from then on."""
    workers: str | None = None
    """Address of a Dask scheduler; None: the cores of this computer."""
    limits: Limits = field(default_factory=Limits)
    progress: Progress = lambda step, done, total: None

    @classmethod
    def configured(cls, gates: GateSettings) -> "Means":
        """As ``publisher.toml`` has it."""
        limits = Limits(
            gates.min_share, gates.max_share, gates.max_time_ratio, gates.max_memory_ratio
        )
        return cls(known_good=gates.known_good, known_bad=gates.known_bad, limits=limits)

    def require_there(self) -> None:
        """Before hours of work. Raises UsageError if a file or folder is missing."""
        for place in (*self.known_good, *self.known_bad):
            if not place.exists():
                raise UsageError(f"{place}: there is no such file or folder")

    def some_known_good(self) -> list[Path]:
        """Of the known-good collection some files, always the same, at even distances."""
        files = below(self.known_good)
        step = max(1, -(-len(files) // BASIC_FILES_MAX))
        return files[::step]
