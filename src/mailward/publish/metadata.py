"""The signed roles of the repository (TUF 1.0, https://theupdateframework.github.io/specification/).

``Signed`` is what is published at the moment, found from ``timestamp.json`` on. ``prepare`` signs
what comes next: files first, then the roles that name them, the timestamp last. Until that last
rename agents see the old state, whole; what a crash leaves behind is named by nothing and written
over.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.exceptions import (
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
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
from mailward.publish.home import Home, Write
from mailward.publish.keys import Keyring, Trusted

VALID_FOR: Mapping[str, timedelta] = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "certified": timedelta(days=30),
    "rapid": timedelta(days=30),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(hours=24),
}
"""How long agents believe a role. The timestamp bounds how long newer sets can be held back."""

_NO_CHANGES: Mapping[Channel, "ChannelChange"] = MappingProxyType({})
_NO_FILES: Mapping[str, bytes] = MappingProxyType({})
_NOBODY: Mapping[str, Sequence[Signer]] = MappingProxyType({})

SIGNED_AT = "signed_at"
"""A field of the timestamp beside those of TUF: agents judge licenses by no earlier time."""

SignedRole = Root | Timestamp | Snapshot | Targets
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
            root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
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

    def roles(self) -> dict[str, SignedRole]:
        """Each role's content by its name."""
        return {
            "root": self.root.signed,
            "targets": self.targets.signed,
            "snapshot": self.snapshot.signed,
            "timestamp": self.timestamp.signed,
            **{channel.value: role.signed for channel, role in self.channels.items()},
        }

    def trusted(self, role: str) -> Trusted:
        """The keys that may sign a role."""
        delegator = self.targets.signed if role in list(Channel) else self.root.signed
        named = delegator.get_delegated_role(role)
        return Trusted(role, named.threshold, tuple(delegator.get_key(i) for i in named.keyids))

    def read_target(self, home: Home, channel: Channel | None, path: str) -> bytes:
        """A published file by its signed name. Raises PublishError.

        ``channel``: whose it is; None: one of ``targets`` itself.
        """
        role = self.targets if channel is None else self.channels[channel]
        try:
            info = role.signed.targets[path]
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

    files: Mapping[str, bytes] = field(default_factory=dict)
    """New or changed, by path: ``rapid/current.json``."""
    keep: frozenset[str] = frozenset()
    """Paths named so far that stay; all others are no longer named."""


@dataclass(frozen=True, slots=True)
class Signing:
    """What it takes to sign: where, with which keys, when, and for how long."""

    home: Home
    keyring: Keyring
    now: datetime
    valid_for: Mapping[str, timedelta]

    def sign(self, role: str, metadata: Metadata[_SignedT], signers: Sequence[Signer]) -> bytes:
        """The next number of a role, with its signatures. Raises PublishError."""
        metadata.signed.version += 1
        expires = self.now + self.valid_for[role]
        metadata.signed.expires = expires.replace(microsecond=0)
        if isinstance(metadata.signed, Timestamp):
            metadata.signed.unrecognized_fields[SIGNED_AT] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata.signatures.clear()
        try:
            for signer in signers:
                metadata.sign(signer, append=True)
        except UnsignedMetadataError as e:
            raise PublishError(
                f"the key of {role} did not sign: {e.__cause__ or e}: nothing was published"
            ) from e
        return metadata.to_bytes()


def is_ageing(expires: datetime, now: datetime, span: timedelta) -> bool:
    """Whether a role wants to be signed again: less than half of its time is left, or more than
    all of it, which a clock gave it that was ahead."""
    left = expires - now
    return left < span / 2 or left > span


def unchanged(role: Metadata[Targets]) -> ChannelChange:
    """A channel signed again as it is."""
    return ChannelChange({}, frozenset(role.signed.targets))


def prepare(
    signing: Signing,
    signed: Signed,
    changes: Mapping[Channel, ChannelChange] = _NO_CHANGES,
    *,
    files: Mapping[str, bytes] = _NO_FILES,
    renew: Collection[str] = (),
    cosigners: Mapping[str, Sequence[Signer]] = _NOBODY,
) -> list[Write]:
    """What publishes ``changes``, to be written in this order: the last one is what publishes.

    The timestamp is always signed anew; targets and snapshot if they are in ``renew`` or have to
    be. ``files``: of ``targets`` itself, new or changed, by path. ``cosigners``: further signatures
    by role. ``signed`` becomes what is then published. Needs the keys of all roles that are signed;
    raises PublishError if one is missing.
    """
    home = signing.home
    roles = {*map(str, changes), *renew, *({"targets"} if files else ()), "timestamp"}
    if roles != {"timestamp"}:
        roles.add("snapshot")
    signers = {
        role: [*signing.keyring.signers(signed.trusted(role)), *cosigners.get(role, ())]
        for role in sorted(roles)
    }
    writes = [
        Write(home.targets / _prefixed(path, content), content)
        for some in (files, *(change.files for change in changes.values()))
        for path, content in some.items()
    ]
    signed.targets.signed.targets |= {
        path: TargetFile.from_data(path, content, ["sha256"]) for path, content in files.items()
    }

    def sign(role: str, metadata: Metadata[_SignedT]) -> MetaFile:
        raw = signing.sign(role, metadata, signers[role])
        number = metadata.signed.version
        writes.append(Write(home.metadata / f"{number}.{role}.json", raw))
        return MetaFile.from_data(number, raw, ["sha256"])

    if "targets" in roles:
        signed.snapshot.signed.meta["targets.json"] = sign("targets", signed.targets)
    for channel, change in changes.items():
        role = signed.channels[channel]
        role.signed.targets = _targets(role.signed, change)
        signed.snapshot.signed.meta[f"{channel}.json"] = sign(channel, role)
    if "snapshot" in roles:
        signed.timestamp.signed.snapshot_meta = sign("snapshot", signed.snapshot)
    raw = signing.sign("timestamp", signed.timestamp, signers["timestamp"])
    return [*writes, Write(home.metadata / "timestamp.json", raw)]


def next_root(signing: Signing, root: Metadata[Root], signers: Sequence[Signer]) -> Write:
    """The next number of root, which publishes itself."""
    raw = signing.sign("root", root, signers)
    return Write(signing.home.metadata / f"{root.signed.version}.root.json", raw)


def first(
    signing: Signing,
    signers: Mapping[str, Sequence[Signer]],
    thresholds: Mapping[str, int],
    changes: Mapping[Channel, ChannelChange],
) -> list[Write]:
    """Number 1 of every role: what makes a repository. ``thresholds``: 1 for roles without."""
    root = Metadata(Root(consistent_snapshot=True))
    root.signed.version = 0
    for name in ("root", "targets", "snapshot", "timestamp"):
        for signer in signers[name]:
            root.signed.add_key(signer.public_key, name)
        root.signed.roles[name].threshold = thresholds.get(name, 1)
    signed = Signed(
        root,
        Metadata(Timestamp()),
        Metadata(Snapshot()),
        Metadata(Targets(delegations=_delegations(signers))),
        {channel: Metadata(Targets()) for channel in Channel},
    )
    for role in signed.roles().values():
        role.version = 0
    root_file = next_root(signing, root, signers["root"])
    return [root_file, *prepare(signing, signed, changes, renew={"targets"})]


def _delegations(signers: Mapping[str, Sequence[Signer]]) -> Delegations:
    """Each channel its own key, and no path of the other's: the rapid key cannot sign certified."""
    public = {channel: [s.public_key for s in signers[channel]] for channel in Channel}
    return Delegations(
        keys={key.keyid: key for keys in public.values() for key in keys},
        roles={
            channel.value: DelegatedRole(
                channel.value,
                [key.keyid for key in keys],
                1,
                terminating=True,
                paths=[f"{channel}/*"],
            )
            for channel, keys in public.items()
        },
    )


def _targets(role: Targets, change: ChannelChange) -> dict[str, TargetFile]:
    kept = {path: info for path, info in role.targets.items() if path in change.keep}
    new = {
        path: TargetFile.from_data(path, content, ["sha256"])
        for path, content in change.files.items()
    }
    return kept | new


def _prefixed(path: str, content: bytes) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{hashlib.sha256(content).hexdigest()}.{name}"


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
