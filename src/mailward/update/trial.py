"""The trial: a set is proved in a child process before it may be activated (S2, S3)."""

import time
from datetime import UTC, datetime
from pathlib import Path

from mailward.config import UpdateSettings
from mailward.definitions.model import Manifest, Shard, Trial
from mailward.errors import TrialError
from mailward.scan.engine import Source
from mailward.scan.proof import prove


def run(
    manifest: Manifest, shards: list[tuple[Shard, Path]], prepared: Path, settings: UpdateSettings
) -> Trial:
    """Prove a set in the store; prepared files are left below the empty folder ``prepared``.

    A set that fails gives a trial that did not pass, not an error. Raises OSError when the disk
    fails.
    """
    began = time.perf_counter()
    now = datetime.now(UTC)
    try:
        proof = prove(
            [Source(shard.name, shard.kind, path) for shard, path in shards],
            prepared,
            timeout_s=settings.trial_timeout_s,
            memory_bytes=settings.trial_memory_bytes,
        )
    except TrialError as e:
        return Trial(
            version=manifest.version,
            passed=False,
            at=now,
            problems=(str(e)[:4000],),
            duration_ms=(time.perf_counter() - began) * 1000,
        )
    problems = proof.problems()
    return Trial(
        version=manifest.version,
        passed=not problems,
        at=now,
        problems=tuple(problem[:4000] for problem in problems),
        engines=proof.engines,
        unused_signatures=proof.unused_signatures,
        probes_found=proof.probes_found,
        known_good_scanned=proof.known_good_scanned,
        duration_ms=(time.perf_counter() - began) * 1000,
    )
