"""Size and count against the set before: a feed that lost half or trebled wants a look first."""

from mailward.definitions.model import Gate, Manifest
from mailward.publish.gates.base import Limits, NotRun, gate

SMALL_SET = 100
"""Below this many signatures before, shares say nothing."""


def bounds(manifest: Manifest, before: Manifest | None, limits: Limits) -> Gate | NotRun:
    """Compare with what is offered."""
    if before is None or before.signatures <= SMALL_SET:
        return NotRun("bounds", "no set before it to compare with")
    low, high = limits.min_share, limits.max_share
    shares = {
        "signatures": manifest.signatures / before.signatures,
        "bytes": manifest.size_bytes / max(before.size_bytes, 1),
    }
    return gate(
        "bounds",
        all(low <= share <= high for share in shares.values()),
        f"against {before.version}: "
        + ", ".join(f"{what} {share:.1%}" for what, share in shares.items()),
        (
            f"{what}: {share:.1%} of {before.version}, {low:.0%} to {high:.0%} allowed"
            for what, share in shares.items()
            if not low <= share <= high
        ),
    )
