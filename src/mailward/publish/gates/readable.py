"""Every agent that is still supported can read the set."""

from collections.abc import Mapping

from mailward.definitions.model import MANIFEST_MAX_BYTES, Gate, Manifest, ShardKind
from mailward.errors import FormatError
from mailward.publish.gates.base import Subject, gate

OLDEST_LEVEL = 1
"""The engine level of the oldest release that publishers still serve (``docs/formats.md``). A set
that needs a higher one would leave those agents without updates."""

KINDS_OF_LEVEL: Mapping[int, frozenset[ShardKind]] = {1: frozenset(ShardKind)}
"""The kinds of shards that a level knows; others make it refuse the manifest."""


def readable(subject: Subject) -> Gate:
    """The manifest's level, its kinds of shards, and its JSON form read back strictly."""
    culprits = list(_culprits(subject.manifest))
    return gate(
        "engine-level",
        not culprits,
        f"needs level {subject.manifest.engine_level}; the oldest served is {OLDEST_LEVEL}",
        culprits,
    )


def _culprits(manifest: Manifest) -> list[str]:
    found = []
    if manifest.engine_level > OLDEST_LEVEL:
        found.append(f"engine_level {manifest.engine_level}: level {OLDEST_LEVEL} refuses it")
    known = KINDS_OF_LEVEL[OLDEST_LEVEL]
    found += [
        f"shard {s.name}: level {OLDEST_LEVEL} does not know the kind {s.kind}"
        for s in manifest.shards
        if s.kind not in known
    ]
    raw = manifest.to_json()
    try:
        if Manifest.from_json(raw) != manifest:
            found.append("the manifest does not read back as what was written")
    except FormatError as e:
        found.append(f"the manifest ({len(raw)} of {MANIFEST_MAX_BYTES} bytes) is refused: {e}")
    return found
