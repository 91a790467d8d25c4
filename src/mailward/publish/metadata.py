"""The signed roles of the repository (TUF 1.0, https://theupdateframework.github.io/specification/).

``Signed`` is what is published at the moment, found from ``timestamp.json`` on. ``commit`` writes
what comes next: files first, then the roles that name them, the timestamp last. Until that one
rename agents see the old state, whole; what a crash leaves behind is named by nothing and written
over.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from mailward.definitions.model import Channel
from mailward.errors import PublishError
from mailward.publish import keys
from mailward.publish.home import Home, write

VALID_FOR: Mapping[str, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "certified": timedelta(days=30),
    "rapid": timedelta(days=30),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(hours=24),
}
"""How long agents believe a role. The timestamp bounds how long newer sets can be held back."""

_SignedT = TypeVar("_SignedT", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is published at the moment."""

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    channels: Mapping[Channel, Metadata[Targets]]

    @classmethod
    def load(cls, home: Home) -> "Signed":
        """Read and verify it (dates aside: signing again is the cure). Raises PublishError."""
        home.require()
        folder = home.metadata
        try:
            root = Metadata[Root].from_bytes(_newest_root(folder).read_bytes())
            timestamp = Metadata[Timestamp].from_bytes((folder / "timestamp.json").read_bytes())
            root.signed.verify_delegate("timestamp", timestamp.signed_bytes, timestamp.signatures)
            raw = _named_by(folder, "snapshot", timestamp.signed.snapshot_meta)
            snapshot = Metadata[Snapshot].from_bytes(raw)
            root.signed.verify_delegate("snapshot", snapshot.signed_bytes, snapshot.signatures)
            listed = snapshot.signed.meta
            raw = _named_by(folder, "targets", listed["targets.json"])
            targets = Metadata[Targets].from_bytes(raw)
            root.signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
            channels = {}
            for channel in Channel:
                raw = _named_by(folder, channel, listed[f"{channel}.json"])
                role = Metadata[Targets].from_bytes(raw)
                targets.signed.verify_delegate(channel, role.signed_bytes, role.signatures)
                channels[channel] = role
        except (RepositoryError, OSError, KeyError, ValueError) as e:
            raise PublishError(
                f"what is published in {home.public} is damaged: {e}: bring it back from a copy"
            ) from e
        return cls(root, timestamp, snapshot, targets, channels)

    def read_target(self, home: Home, channel: Channel, path: str) -> bytes:
        """A published file by its signed name. Raises PublishError."""
        try:
            info = self.channels[channel].signed.targets[path]
            raw = (home.targets / info.get_prefixed_paths()[0]).read_bytes()
            info.verify_length_and_hashes(raw)
        except (KeyError, OSError, LengthOrHashMismatchError) as e:
            raise PublishError(
                f"{path} as published is missing or damaged ({e}): bring public/ back from a copy"
            ) from e
        return raw


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """What a channel names from now on."""

    files: Mapping[str, bytes]
    """New or changed, by path: ``rapid/current.json``."""
    keep: frozenset[str] = frozenset()
    """Paths named so far that stay; all others are no longer named."""


def commit(
    home: Home,
    signed: Signed,
    changes: Mapping[Channel, ChannelChange],
    now: datetime,
    valid_for: Mapping[str, timedelta],
    *,
    renew_snapshot: bool = False,
) -> None:
    """Publish ``changes``; the timestamp is always signed anew, the snapshot where it has to be.

    Needs the keys of the channels that change, of snapshot and of timestamp. Raises PublishError
    before anything is written if one is missing, OSError if the disk fails. The caller holds the
    lock.
    """
    renew_snapshot = renew_snapshot or bool(changes)
    signers = _signers(home, signed, changes, renew_snapshot)

    def sign(role: str, metadata: Metadata[_SignedT]) -> bytes:
        metadata.signed.version += 1
        return _sign(metadata, signers[role], now + valid_for[role])

    for change in changes.values():
        for path, content in change.files.items():
            write(home.targets / _prefixed(path, content), content)
    for channel, change in changes.items():
        role = signed.channels[channel]
        role.signed.targets = _targets(role.signed, change)
        meta = _write_numbered(home, channel, role.signed.version + 1, sign(channel, role))
        signed.snapshot.signed.meta[f"{channel}.json"] = meta
    if renew_snapshot:
        number = signed.snapshot.signed.version + 1
        raw = sign("snapshot", signed.snapshot)
        signed.timestamp.signed.snapshot_meta = _write_numbered(home, "snapshot", number, raw)
    # S4: this rename publishes.
    write(home.metadata / "timestamp.json", sign("timestamp", signed.timestamp))


def create(
    home: Home,
    changes: Mapping[Channel, ChannelChange],
    now: datetime,
    valid_for: Mapping[str, timedelta],
) -> None:
    """Make the keys that are not there yet, and publish version 1 of every role.

    May be repeated until its last step, the timestamp, is done. The caller holds the lock.
    """
    signers = {role: keys.make(home.keys, role) for role in keys.ROLES}
    root = Metadata(Root(consistent_snapshot=True))
    for name in ("root", "targets", "snapshot", "timestamp"):
        root.signed.add_key(signers[name].public_key, name)
    targets = Metadata(Targets(delegations=_delegations(signers)))
    _write_numbered(home, "root", 1, _sign(root, signers["root"], now + valid_for["root"]))
    raw = _sign(targets, signers["targets"], now + valid_for["targets"])
    meta = _write_numbered(home, "targets", 1, raw)
    unsigned = Signed(
        root,
        Metadata(Timestamp()),
        Metadata(Snapshot(meta={"targets.json": meta})),
        targets,
        {channel: Metadata(Targets()) for channel in Channel},
    )
    unsigned.timestamp.signed.version = 0  # the first commit makes it 1
    unsigned.snapshot.signed.version = 0
    for role in unsigned.channels.values():
        role.signed.version = 0
    commit(home, unsigned, changes, now, valid_for)


def _delegations(signers: Mapping[str, Signer]) -> Delegations:
    """Each channel its own key, and no path of the other's: the rapid key cannot sign certified."""
    public = {channel: signers[channel].public_key for channel in Channel}
    return Delegations(
        keys={key.keyid: key for key in public.values()},
        roles={
            channel.value: DelegatedRole(
                channel.value, [key.keyid], 1, terminating=True, paths=[f"{channel}/*"]
            )
            for channel, key in public.items()
        },
    )


def _signers(
    home: Home, signed: Signed, channels: Iterable[Channel], with_snapshot: bool
) -> dict[str, Signer]:
    root, delegations = signed.root.signed, signed.targets.signed.delegations
    if delegations is None or delegations.roles is None:
        raise PublishError(f"{home.metadata}: the targets role delegates to no channel")
    needed = {"timestamp": root.get_key(root.roles["timestamp"].keyids[0])}
    if with_snapshot:
        needed["snapshot"] = root.get_key(root.roles["snapshot"].keyids[0])
    for channel in channels:
        needed[channel] = delegations.keys[delegations.roles[channel].keyids[0]]
    return {role: keys.load(home.keys, role, public) for role, public in needed.items()}


def _targets(role: Targets, change: ChannelChange) -> dict[str, TargetFile]:
    kept = {path: info for path, info in role.targets.items() if path in change.keep}
    new = {
        path: TargetFile.from_data(path, content, ["sha256"])
        for path, content in change.files.items()
    }
    return kept | new


def _sign(metadata: Metadata[_SignedT], signer: Signer, expires: datetime) -> bytes:
    metadata.signed.expires = expires.replace(microsecond=0)
    metadata.sign(signer)
    return metadata.to_bytes()


def _write_numbered(home: Home, role: str, number: int, raw: bytes) -> MetaFile:
    """Write ``N.role.json``; what names it in another role."""
    write(home.metadata / f"{number}.{role}.json", raw)
    return MetaFile.from_data(number, raw, ["sha256"])


def _prefixed(path: str, content: bytes) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{hashlib.sha256(content).hexdigest()}.{name}"


def _named_by(folder: Path, role: str, meta: MetaFile) -> bytes:
    raw = (folder / f"{meta.version}.{role}.json").read_bytes()
    meta.verify_length_and_hashes(raw)
    return raw


def _newest_root(folder: Path) -> Path:
    numbers = [
        int(path.name.split(".")[0])
        for path in folder.glob("*.root.json")
        if path.name.split(".")[0].isdecimal()
    ]
    return folder / f"{max(numbers, default=1)}.root.json"
