"""Sets with shards of every kind, as other products care about them."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from mailward.definitions.model import Channel, Manifest, Shard, ShardKind, Version
from mailward.definitions.store import Store
from mailward.definitions.testing import SampleSet, put

THREATS = 3
"""Texts that every set has a signature for, one in each of its shards."""


def threat(number: int, version: str) -> bytes:
    """What only that shard of that version finds."""
    return f"threat {number} of {version} ".encode() * 3


def sample(version: str, shards: Mapping[str, tuple[ShardKind, bytes]]) -> SampleSet:
    contents = {hashlib.sha256(content).hexdigest(): content for _, content in shards.values()}
    manifest = Manifest(
        version=Version.parse(version),
        channel=Channel.RAPID,
        built_at=datetime.now(UTC),
        engine_level=1,
        shards=tuple(
            Shard(
                name=name,
                kind=kind,
                sha256=hashlib.sha256(content).hexdigest(),
                size_bytes=len(content),
                object_bytes=len(content),
                signatures=content.count(b"\n"),
            )
            for name, (kind, content) in shards.items()
        ),
    )
    return SampleSet(manifest, contents)


def every_kind(version: str) -> dict[str, tuple[ShardKind, bytes]]:
    """Hashes, a ClamAV database and YARA rules, each with a signature of that version alone."""
    hashed, body, ruled = (threat(number, version) for number in range(THREATS))
    name = version.replace(".", "_")
    digests = sorted(
        f"{hashlib.new(algorithm, hashed).hexdigest()}:{len(hashed)}:Hash.{algorithm}.{name}"
        for algorithm in ("md5", "sha1", "sha256")
    )
    any_size = f"{hashlib.md5(b'any size').hexdigest()}:*:Hash.Any"
    rule = f'rule Rule_{name} {{ strings: $a = "{ruled.decode()}" condition: $a }}'
    broad = (
        'private rule Base { strings: $a = "broad one" condition: $a }\n'
        'rule Broad {\n  meta:\n    name = "Too.Broad"\n  condition: Base\n}'
    )
    sources = [{"namespace": "a/broad.yar", "source": broad}, {"namespace": "b", "source": rule}]
    return {
        "hashes/list.txt": (
            ShardKind.HASHES,
            "\n".join(sorted([*digests, any_size])).encode() + b"\n",
        ),
        "clamav/feed/daily.ndb": (ShardKind.CLAMAV, f"Body.{name}:0:*:{body.hex()}\n".encode()),
        "yara/rules": (ShardKind.YARA, b"".join(json.dumps(s).encode() + b"\n" for s in sources)),
        "probes": (ShardKind.PROBES, b'{"name": "x", "expect": "y", "content": ""}\n'),
        "excluded": (ShardKind.EXCLUDED, b"hashes:0123\nsignatures:Body.Wrong\n"),
    }


def activate(store: Store, *versions: str, **more: tuple[ShardKind, bytes]) -> None:
    """Sets of every kind in the store, the last one active."""
    with store.writer("test") as writer:
        for version in versions:
            writer.activate(
                put(writer, sample(version, every_kind(version) | more)).version, "test"
            )
