"""Definition sets out of nothing, for our tests and our users'."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mailward.definitions.model import (
    Channel,
    EngineTrial,
    Gate,
    Level,
    Manifest,
    QualityReport,
    RefusedSignature,
    Shard,
    ShardKind,
    Trial,
    Version,
)
from mailward.definitions.sets import StoredSet
from mailward.definitions.writer import StoreWriter

PREPARED_FILE = "fake-1/patterns"
"""What ``put`` leaves below a set's prepared folder."""


@dataclass(frozen=True, slots=True)
class SampleSet:
    """A manifest and the contents that it names."""

    manifest: Manifest
    contents: Mapping[str, bytes]
    """By SHA-256."""

    @property
    def version(self) -> Version:
        """The manifest's."""
        return self.manifest.version


def sample_set(
    version: str,
    shards: Mapping[str, bytes] | None = None,
    channel: Channel = Channel.RAPID,
) -> SampleSet:
    """A set of hash shards; by default one that all sample sets share, and one of its own."""
    named = shards or {"shared/hashes": b"common\n" * 50, "own/hashes": version.encode() * 20}
    contents = {hashlib.sha256(content).hexdigest(): content for content in named.values()}
    level = Level.STRINGENT if channel is Channel.CERTIFIED else Level.BASIC
    now = datetime.now(UTC)
    return SampleSet(
        Manifest(
            version=Version.parse(version),
            channel=channel,
            built_at=now,
            engine_level=1,
            shards=tuple(
                Shard(
                    name=name,
                    kind=ShardKind.HASHES,
                    sha256=hashlib.sha256(content).hexdigest(),
                    size_bytes=len(content),
                    object_bytes=len(content),
                    signatures=content.count(b"\n"),
                )
                for name, content in named.items()
            ),
            report=QualityReport(
                level=level, checked_at=now, gates=(Gate(name="probes", passed=True),)
            ),
        ),
        contents,
    )


def sample_trial(version: Version, *problems: str) -> Trial:
    """A trial that passed, or that failed for ``problems``."""
    return Trial(
        version=version,
        passed=not problems,
        at=datetime.now(UTC),
        problems=problems,
        engines=(
            EngineTrial(
                engine="fake",
                fingerprint="1",
                signatures=49,
                refused_count=1,
                refused=(
                    RefusedSignature(signature="Bad.One", shard="own/hashes", line=3, reason="odd"),
                ),
                prepare_ms=1.5,
                load_ms=0.5,
            ),
        ),
    )


def stage(writer: StoreWriter, sample: SampleSet) -> StoredSet:
    """Downloaded: its objects and its manifest are in the store."""
    for sha256, content in sample.contents.items():
        writer.add_object(sha256, len(content), [content[:10], content[10:]])
    return writer.stage(sample.manifest)


def put(writer: StoreWriter, sample: SampleSet) -> StoredSet:
    """Downloaded and proved: ready to be activated."""
    stored = stage(writer, sample)
    with writer.workspace() as workspace:
        path = workspace / PREPARED_FILE
        path.parent.mkdir()
        path.write_bytes(b"prepared")
        writer.record_trial(stored.version, sample_trial(stored.version), workspace)
    return stored
