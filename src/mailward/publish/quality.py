"""The gates that a built set passes before it may be published, and the report on them.

Basic: every engine prepares the set in a child process with limits, the probes are found,
known-good mail stays clean, and neither size nor count jumps. The report is signed along with the
set.
"""

import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mailward.definitions.model import (
    Channel,
    EngineTrial,
    Gate,
    Level,
    Manifest,
    QualityReport,
    Version,
)
from mailward.errors import PermanentError, TrialError
from mailward.publish import candidates, history, objects
from mailward.publish.home import Home
from mailward.publish.metadata import Signed
from mailward.scan.engine import Source
from mailward.scan.proof import BAD_SHARE_MAX, Proof, prove

PROOF_TIMEOUT_S = 600.0
"""For preparing and probing a set: what agents allow by default (update.trial_timeout_s)."""

PROOF_MEMORY_BYTES = 4 << 30
"""Of the child process: what agents allow by default (update.trial_memory_bytes)."""

_SHARE_OF_BEFORE = (0.5, 3.0)
"""Size and count, against the set before: a feed that lost half or trebled wants a look first."""

_SMALL_SET = 100
"""Below this many signatures before, shares say nothing."""

_CULPRITS_MAX = 100
_CULPRIT_MAX = 500


def check(
    home: Home,
    version: Version,
    level: Level = Level.BASIC,
    *,
    known_good: Sequence[Path] = (),
    now: datetime | None = None,
) -> QualityReport:
    """Test a built set and keep the report with it.

    ``known_good``: files or folders beside the built-in ones in which nothing may be found. Raises
    UsageError if no such set was built, PublishError, BusyError. A set that fails is a report that
    says so, not an error.
    """
    if level is not Level.BASIC:
        raise PermanentError(
            f"the {level} tests are not built yet: check at level {Level.BASIC}, or promote with"
            " --force and a reason"
        )
    manifest = candidates.load(home, version)
    before = _set_before(home, manifest)
    gates = [*_trial_gates(home, manifest, known_good), _bounds_gate(manifest, before)]
    at = (now or datetime.now(UTC)).replace(microsecond=0)
    report = QualityReport(level=level, checked_at=at, gates=tuple(gates))
    with home.lock():
        candidates.save_report(home, version, report)
    return report


def _set_before(home: Home, manifest: Manifest) -> Manifest | None:
    """What rapid offers, or else certified; not the set itself."""
    signed = Signed.load(home)
    for channel in (Channel.RAPID, Channel.CERTIFIED):
        offered = history.current(home, signed, channel).version
        if offered is not None and offered != manifest.version:
            return history.manifest(home, signed, channel, offered)
    return None


def _trial_gates(home: Home, manifest: Manifest, known_good: Sequence[Path]) -> list[Gate]:
    with tempfile.TemporaryDirectory(prefix="mailward-check-") as name:
        work = Path(name)
        sources = _unpack(home, manifest, work / "shards")
        prepared = work / "prepared"
        prepared.mkdir()
        try:
            proof = prove(
                sources,
                prepared,
                known_good=known_good,
                timeout_s=PROOF_TIMEOUT_S,
                memory_bytes=PROOF_MEMORY_BYTES,
            )
        except TrialError as e:
            return [Gate(name="trial", passed=False, detail=str(e)[:_CULPRIT_MAX])]
    return [_signatures_gate(proof), _probes_gate(proof), _known_good_gate(proof)]


def _unpack(home: Home, manifest: Manifest, folder: Path) -> list[Source]:
    folder.mkdir()
    sources = []
    for shard in manifest.shards:
        path = folder / shard.sha256
        path.write_bytes(objects.get(home, shard))
        sources.append(Source(shard.name, shard.kind, path))
    return sources


def _signatures_gate(proof: Proof) -> Gate:
    """S3: bad signatures are named; too many of them condemn the set."""
    active = sum(engine.signatures for engine in proof.engines)
    detail = ", ".join(
        f"{e.engine}: {e.signatures} active, {e.refused_count} bad" for e in proof.engines
    )
    if proof.unused_signatures:
        detail += f"; {proof.unused_signatures} carried for other products, no engine reads them"
    return Gate(
        name="signatures",
        passed=(active > 0 or proof.unused_signatures > 0)
        and not any(_too_many_bad(engine) for engine in proof.engines),
        detail=detail,
        culprits=_culprits(
            f"{r.signature} ({r.shard}{f', line {r.line}' if r.line else ''}): {r.reason}"
            for engine in proof.engines
            for r in engine.refused
        ),
    )


def _too_many_bad(engine: EngineTrial) -> bool:
    total = engine.signatures + engine.refused_count
    return engine.refused_count > max(1, total * BAD_SHARE_MAX)  # S3


def _probes_gate(proof: Proof) -> Gate:
    missing = proof.probes_missing
    return Gate(
        name="probes",
        passed=not missing,
        detail=f"{proof.probes_found} of {proof.probes_found + len(missing)} found",
        culprits=_culprits(missing),
    )


def _known_good_gate(proof: Proof) -> Gate:
    return Gate(
        name="known-good",
        passed=not proof.false_positives,
        detail=f"{len(proof.false_positives)} hits in {proof.known_good_scanned} files",
        culprits=_culprits(proof.false_positives),
    )


def _bounds_gate(manifest: Manifest, before: Manifest | None) -> Gate:
    if before is None or before.signatures <= _SMALL_SET:
        return Gate(name="bounds", passed=True, detail="no set before it to compare with")
    low, high = _SHARE_OF_BEFORE
    shares = {
        "signatures": manifest.signatures / before.signatures,
        "bytes": manifest.size_bytes / max(before.size_bytes, 1),
    }
    return Gate(
        name="bounds",
        passed=all(low <= share <= high for share in shares.values()),
        detail=f"against {before.version}: "
        + ", ".join(f"{what} {share:.1%}" for what, share in shares.items()),
        culprits=_culprits(
            f"{what}: {share:.1%} of {before.version}, {low:.0%} to {high:.0%} allowed"
            for what, share in shares.items()
            if not low <= share <= high
        ),
    )


def _culprits(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name[:_CULPRIT_MAX] for name in list(names)[:_CULPRITS_MAX])
