"""The trial: a set is proved in a child process before it may be activated (S2, S3).

One child prepares and probes it; a second one loads what the first has left, as a worker does, and
measures it beside the set in use.
"""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import structlog

from mailward.definitions.model import Manifest, Measured, Shard, Trial
from mailward.errors import ConfigError, TrialError
from mailward.scan.engine import Source
from mailward.scan.measure import measure
from mailward.scan.proof import Proof, prove
from mailward.settings.update import UpdateSettings

log = structlog.get_logger(__name__)

_SLOWER_MAX = 3.0
"""Times as long as with the set in use: a server that was half idle would fall behind."""
_NEGLIGIBLE_MS = 5.0
"""Of processor time a message: below it no ratio matters."""


def run(
    manifest: Manifest,
    shards: list[tuple[Shard, Path]],
    prepared: Path,
    settings: UpdateSettings,
    before: Path | None = None,
) -> Trial:
    """Prove a set in the store; prepared files are left below the empty folder ``prepared``.

    ``before``: the prepared files of the set in use, to take over what did not change, and to
    compare with. A set that fails gives a trial that did not pass, not an error. Raises OSError
    when the disk fails, and ConfigError when ``update.known_good`` is not there: that is not the
    set's fault.
    """
    began = time.perf_counter()
    known_good = _known_good(settings)
    trial = Trial(version=manifest.version, passed=False, at=datetime.now(UTC))
    try:
        proof = _prove(shards, prepared, known_good, settings, before)
    except TrialError as e:
        return _end(trial, (str(e),), began)
    trial = trial.model_copy(update=_findings(proof))
    try:
        measured = _measure(prepared, known_good, settings)
    except TrialError as e:
        return _end(trial, (*proof.problems(), str(e)), began)
    measured_before = _measure_before(before, known_good, settings)
    trial = trial.model_copy(update={"measured": measured, "measured_before": measured_before})
    return _end(trial, (*proof.problems(), *slower(measured, measured_before)), began)


def slower(measured: Measured, before: Measured | None) -> tuple[str, ...]:
    """Why a set that costs this much is not used; empty if it may be."""
    if before is None or measured.message_ms <= _NEGLIGIBLE_MS:
        return ()
    if measured.message_ms <= _SLOWER_MAX * before.message_ms:
        return ()
    return (
        f"scanning takes {measured.message_ms:.1f} ms a message, {before.message_ms:.1f} ms with "
        f"the set in use; {_SLOWER_MAX:g} times as much is allowed",
    )


def _prove(
    shards: list[tuple[Shard, Path]],
    prepared: Path,
    known_good: list[Path],
    settings: UpdateSettings,
    before: Path | None,
) -> Proof:
    return prove(
        [Source(shard.name, shard.kind, path) for shard, path in shards],
        prepared,
        known_good=known_good,
        before=before,
        timeout_s=settings.trial_timeout_s,
        memory_bytes=settings.trial_memory_bytes,
    )


def _measure(prepared: Path, known_good: list[Path], settings: UpdateSettings) -> Measured:
    return measure(
        prepared,
        known_good=known_good,
        timeout_s=settings.trial_timeout_s,
        memory_bytes=settings.trial_memory_bytes,
    )


def _measure_before(
    prepared: Path | None, known_good: list[Path], settings: UpdateSettings
) -> Measured | None:
    """It need not load: its files may be those of older engines. Then there is no comparison."""
    if prepared is None:
        return None
    try:
        return _measure(prepared, known_good, settings)
    except TrialError as e:
        log.info("the set in use cannot be measured, so there is no comparison", why=str(e))
        return None


def _known_good(settings: UpdateSettings) -> list[Path]:
    if settings.known_good is None:
        return []
    if not settings.known_good.exists():
        raise ConfigError(
            f"update.known_good: {settings.known_good} is not there; no set can pass its trial "
            "until it is, or the setting is removed"
        )
    return [settings.known_good]


def _findings(proof: Proof) -> dict[str, object]:
    return {
        "engines": proof.engines,
        "unused_signatures": proof.unused_signatures,
        "probes_found": proof.probes_found,
        "known_good_scanned": proof.known_good_scanned,
        "confinement": asdict(proof.confinement) if proof.confinement else {},
    }


def _end(trial: Trial, problems: tuple[str, ...], began: float) -> Trial:
    return trial.model_copy(
        update={
            "passed": not problems,
            "problems": tuple(problem[:4000] for problem in problems),
            "duration_ms": (time.perf_counter() - began) * 1000,
        }
    )
