"""Which sets go when there are too many or they take too much room (S6)."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from mailward.definitions.model import Version
from mailward.definitions.sets import State, StoredSet


@dataclass(frozen=True, slots=True)
class Weight:
    """What keeping a set costs."""

    version: Version
    own_bytes: int
    """Of what only this set needs: manifest, trial, prepared files."""
    objects: Mapping[str, int]
    """Hash to size in bytes of its shards, which it may share with other sets."""
    wanted: bool
    """False for what will not be used, because it is refused."""


def weigh(stored: StoredSet) -> Weight:
    """Look at what a set takes on the disk. Raises OSError."""
    return Weight(
        stored.version,
        sum(path.stat().st_size for path in stored.folder.rglob("*") if path.is_file()),
        {shard.sha256: shard.size_bytes for shard in stored.manifest.shards},
        wanted=stored.state is not State.REFUSED,
    )


def superfluous(
    weights: Sequence[Weight], protected: Set[Version], keep_sets: int, max_bytes: int
) -> list[Version]:
    """What is to go, in this order: the unwanted, then the oldest; never the protected."""
    kept = sorted(weights, key=lambda weight: (weight.wanted, weight.version))
    gone = []
    for weight in [weight for weight in kept if weight.version not in protected]:
        if len(kept) <= keep_sets and _total(kept) <= max_bytes:
            break
        kept.remove(weight)
        gone.append(weight.version)
    return gone


def _total(kept: Sequence[Weight]) -> int:
    objects = {sha256: size for weight in kept for sha256, size in weight.objects.items()}
    return sum(weight.own_bytes for weight in kept) + sum(objects.values())
