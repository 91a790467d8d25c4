"""Between sets and engines: what is made once in a child process, and what each worker loads.

``<prepared>/<engine>-<fingerprint>/`` holds one engine's files, ``made.json`` (``earlier``) and
``preparation.json``, which is written last.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mailward.errors import FormatError
from mailward.scan import earlier, excluded
from mailward.scan.engine import Detector, Engine, Hit, Preparation, ScanTimeoutError, Source
from mailward.scan.part import Part
from mailward.scan.verdict import Risk

_SUMMARY = "preparation.json"
_PREPARATION = TypeAdapter(Preparation)


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
    sources: Sequence[Source], engines: Iterable[Engine], into: Path, before: Path | None = None
) -> list[EnginePreparation]:
    """Prepare ``sources`` for every engine, below the folder ``into``.

    ``before``: what an earlier set was prepared to; what did not change since is taken from there,
    as far as it is sound. Raises FormatError when a whole shard is bad, OSError when the disk
    fails.
    """
    done = []
    switched_off = excluded.read(sources)
    for engine in engines:
        folder = into / folder_name(engine)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        used = [s for s in sources if s.kind in engine.kinds]
        made = _made(engine, used, folder, before)
        preparation = replace(made, excluded=excluded.of_engine(switched_off, engine.name))
        ms = (time.perf_counter() - began) * 1000
        (folder / _SUMMARY).write_text(json.dumps(asdict(preparation)), encoding="utf-8")
        done.append(EnginePreparation(engine.name, engine.fingerprint(), preparation, ms))
    return done


def _made(
    engine: Engine, sources: Sequence[Source], into: Path, before: Path | None
) -> Preparation:
    given = earlier.inputs(sources)
    folder = before / folder_name(engine) if before is not None else None
    if folder is not None and not earlier.is_ours(folder):
        folder = None
    if before is not None and folder is not None:
        with suppress(FormatError):
            preparation = read_preparation(before, engine)
            if earlier.take(folder, given, into):
                return preparation
    preparation = engine.prepare(sources, into, folder)
    earlier.note(into, given)
    return preparation


def missing(prepared: Path, engines: Iterable[Engine]) -> list[Engine]:
    """The engines that have no finished files of their present fingerprint below ``prepared``."""
    return [e for e in engines if not (prepared / folder_name(e) / _SUMMARY).is_file()]


def read_preparation(prepared: Path, engine: Engine) -> Preparation:
    """What ``prepare`` noted for an engine. Raises FormatError if it is not there or damaged."""
    path = prepared / folder_name(engine) / _SUMMARY
    try:
        return _PREPARATION.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as e:
        raise FormatError(
            f"prepared files of {engine.name} are missing or damaged: {path}: {e}"
        ) from e


class LoadedSet:
    """A definition set in one worker, ready to scan parts. Two may exist during a hot swap."""

    def __init__(
        self,
        version: str,
        detectors: Sequence[tuple[str, Detector]],
        excluded: Mapping[str, frozenset[str]],
    ) -> None:
        self.version = version
        self._detectors = tuple(detectors)
        self._excluded = excluded

    @classmethod
    def load(cls, version: str, prepared: Path, engines: Iterable[Engine]) -> "LoadedSet":
        """Load every engine's prepared files. Raises FormatError if any is missing or damaged."""
        detectors: list[tuple[str, Detector]] = []
        switched_off: dict[str, frozenset[str]] = {}
        try:
            for engine in engines:
                preparation = read_preparation(prepared, engine)
                switched_off[engine.name] = frozenset(preparation.excluded)
                detectors.append((engine.name, engine.load(prepared / folder_name(engine))))
        except BaseException:
            for _, detector in detectors:
                detector.close()
            raise
        return cls(version, detectors, switched_off)

    def scan(self, part: Part, timeout_s: float) -> Iterator[Risk]:
        """Everything found in ``part``; each engine has ``timeout_s``.

        Raises ScanTimeoutError at the end, after what the other engines found.
        """
        return (
            Risk(
                name=hit.name,
                engine=engine,
                part=part.path,
                set=self.version,
                suspicious=hit.suspicious,
                severity=hit.severity,
                description=hit.description,
                signatures=tuple(f"{engine}:{signature}" for signature in hit.signatures),
            )
            for engine, found in self._hits(part, timeout_s)
            if (hit := excluded.without(found, self._excluded[engine])) is not None
        )

    def names(self, part: Part, timeout_s: float) -> set[str]:
        """The names of all risks in ``part``, the excluded too: whether engines work at all."""
        return {hit.name for _, hit in self._hits(part, timeout_s)}

    def _hits(self, part: Part, timeout_s: float) -> Iterator[tuple[str, Hit]]:
        late: ScanTimeoutError | None = None
        for engine, detector in self._detectors:
            try:
                found = detector.scan(part, timeout_s)
            except ScanTimeoutError as e:
                late, found = e, e.found
            for hit in found:
                yield engine, hit
        if late is not None:
            raise late

    def close(self) -> None:
        """Let go of everything. May be repeated."""
        for _, detector in self._detectors:
            detector.close()
