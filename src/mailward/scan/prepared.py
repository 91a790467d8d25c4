"""Between sets and engines: what is made once in a child process, and what each worker loads.

``<prepared>/<engine>-<fingerprint>/`` holds one engine's files and ``preparation.json``, which is
written last.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mailward.errors import FormatError
from mailward.scan.engine import Detector, Engine, Preparation, Refused, Source
from mailward.scan.part import Part
from mailward.scan.verdict import Risk

_SUMMARY = "preparation.json"


def folder_name(engine: Engine) -> str:
    """The folder of an engine's prepared files: made anew when the fingerprint changes."""
    return f"{engine.name}-{engine.fingerprint()}"


@dataclass(frozen=True, slots=True)
class EnginePreparation:
    """One engine's preparation and how long it took."""

    engine: str
    fingerprint: str
    preparation: Preparation
    prepare_ms: float


def prepare(
    sources: Sequence[Source], engines: Iterable[Engine], into: Path
) -> list[EnginePreparation]:
    """Prepare ``sources`` for every engine, below the folder ``into``.

    Raises FormatError when a whole shard is bad, OSError when the disk fails.
    """
    done = []
    for engine in engines:
        folder = into / folder_name(engine)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        preparation = engine.prepare([s for s in sources if s.kind in engine.kinds], folder)
        ms = (time.perf_counter() - began) * 1000
        (folder / _SUMMARY).write_text(json.dumps(asdict(preparation)), encoding="utf-8")
        done.append(EnginePreparation(engine.name, engine.fingerprint(), preparation, ms))
    return done


def missing(prepared: Path, engines: Iterable[Engine]) -> list[Engine]:
    """The engines that have no finished files of their present fingerprint below ``prepared``."""
    return [e for e in engines if not (prepared / folder_name(e) / _SUMMARY).is_file()]


def read_preparation(prepared: Path, engine: Engine) -> Preparation:
    """What ``prepare`` noted for an engine. Raises FormatError if it is not there or damaged."""
    path = prepared / folder_name(engine) / _SUMMARY
    try:
        plain = json.loads(path.read_bytes())
        return Preparation(
            plain["signatures"], tuple(Refused(**r) for r in plain["refused"]), plain["unnamed"]
        )
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise FormatError(
            f"prepared files of {engine.name} are missing or damaged: {path}: {e}"
        ) from e


class LoadedSet:
    """A definition set in one worker, ready to scan parts. Two may exist during a hot swap."""

    def __init__(self, version: str, detectors: Sequence[tuple[str, Detector]]) -> None:
        self.version = version
        self._detectors = tuple(detectors)

    @classmethod
    def load(cls, version: str, prepared: Path, engines: Iterable[Engine]) -> "LoadedSet":
        """Load every engine's prepared files. Raises FormatError if any is missing or damaged."""
        detectors: list[tuple[str, Detector]] = []
        try:
            for engine in engines:
                read_preparation(prepared, engine)
                detectors.append((engine.name, engine.load(prepared / folder_name(engine))))
        except BaseException:
            for _, detector in detectors:
                detector.close()
            raise
        return cls(version, detectors)

    def scan(self, part: Part, timeout_s: float) -> list[Risk]:
        """Everything found in ``part``. Raises ScanTimeoutError (each engine has ``timeout_s``)."""
        return [
            Risk(
                name=hit.name,
                engine=engine,
                part=part.path,
                set=self.version,
                suspicious=hit.suspicious,
                severity=hit.severity,
                description=hit.description,
            )
            for engine, detector in self._detectors
            for hit in detector.scan(part, timeout_s)
        ]

    def close(self) -> None:
        """Let go of everything. May be repeated."""
        for _, detector in self._detectors:
            detector.close()
