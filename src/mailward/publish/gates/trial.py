"""The gates that a proof in a child process answers, as on every protected computer (S2, S3)."""

from mailward.definitions.model import EngineTrial, Gate
from mailward.publish.gates.base import gate
from mailward.scan.proof import BAD_SHARE_MAX, Proof


def gates(proof: Proof) -> list[Gate]:
    """What the proof says about signatures, probes and known-good mail."""
    return [_signatures(proof), _probes(proof), _known_good(proof)]


def _signatures(proof: Proof) -> Gate:
    """S3: bad signatures are named; too many of them condemn the set."""
    active = sum(engine.signatures for engine in proof.engines)
    detail = ", ".join(
        f"{e.engine}: {e.signatures} active, {e.refused_count} bad" for e in proof.engines
    )
    if proof.unused_signatures:
        detail += f"; {proof.unused_signatures} carried for other products, no engine reads them"
    return gate(
        "signatures",
        (active > 0 or proof.unused_signatures > 0)
        and not any(_too_many_bad(engine) for engine in proof.engines),
        detail,
        (
            f"{r.signature} ({r.shard}{f', line {r.line}' if r.line else ''}): {r.reason}"
            for engine in proof.engines
            for r in engine.refused
        ),
    )


def _too_many_bad(engine: EngineTrial) -> bool:
    total = engine.signatures + engine.refused_count
    return engine.refused_count > max(1, total * BAD_SHARE_MAX)  # S3


def _probes(proof: Proof) -> Gate:
    missing = proof.probes_missing
    detail = f"{proof.probes_found} of {proof.probes_found + len(missing)} found"
    return gate("probes", not missing, detail, missing)


def _known_good(proof: Proof) -> Gate:
    hits = proof.false_positives
    return gate(
        "known-good", not hits, f"{len(hits)} hits in {proof.known_good_scanned} files", hits
    )
