"""How a repository stands: what is offered, what was built, how long its signatures hold."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mailward.definitions.model import Channel, Current, Level, Manifest, QualityReport, Version
from mailward.publish import candidates, history, keys
from mailward.publish.home import Home
from mailward.publish.keys import Keyring
from mailward.publish.metadata import VALID_FOR, Signed, SignedRole
from mailward.publish.watch_state import WatchState, is_running

_SOON = 0.25
"""A role with less than this share of its time left wants attention: at half of it `refresh` and
`watch` sign it again, if they can."""


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What a channel offers."""

    offer: Current
    manifest: Manifest | None
    """Of the set that it offers, with its report."""
    versions: tuple[Version, ...]
    """All sets that it names, oldest first."""

    def rollout_share(self, at: datetime) -> float:
        """Which part of the agents may take the offer by now: 0 to 1."""
        rollout = self.offer.rollout
        if rollout is None or rollout.hours == 0:
            return 1.0
        return min(1.0, max(0.0, (at - rollout.start) / timedelta(hours=rollout.hours)))


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One signed role."""

    role: str
    number: int
    expires: datetime
    expired: bool
    expires_soon: bool
    """Nobody has signed it again when it was due."""
    key_here: bool
    """Enough of the keys to sign it are here."""
    threshold: int
    keys: tuple["KeyStatus", ...]


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """One key that may sign a role."""

    keyid: str
    scheme: str
    place: str
    """The name of its file here; empty if it is elsewhere."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the folder holds, in bytes."""

    public: int
    objects: int
    patches: int


@dataclass(frozen=True, slots=True)
class SetStatus:
    """One set that was built."""

    manifest: Manifest
    reports: Mapping[Level, QualityReport]


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, at one moment."""

    at: datetime
    channels: Mapping[Channel, ChannelStatus]
    roles: tuple[RoleStatus, ...]
    sets: tuple[SetStatus, ...]
    """Oldest first."""
    sizes: Sizes
    watch: WatchState | None
    """None if `repo watch` never ran."""
    watch_running: bool

    def problems(self) -> list[str]:
        """What wants attention, in words; empty if nothing does."""
        found = []
        for role in self.roles:
            if role.expired:
                found.append(f"{role.role} has expired: agents have stopped updating")
            elif role.expires_soon:
                found.append(f"{role.role} expires soon, and nobody has signed it again")
        if self.watch is not None:
            found += self.watch.problems(running=self.watch_running)
        return found

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "channels": {str(c): _plain_channel(s, self.at) for c, s in self.channels.items()},
            "roles": {
                role.role: {
                    "number": role.number,
                    "expires": role.expires.isoformat(),
                    "expired": role.expired,
                    "expires_soon": role.expires_soon,
                    "key_here": role.key_here,
                    "threshold": role.threshold,
                    "keys": [
                        {"keyid": key.keyid, "scheme": key.scheme, "place": key.place}
                        for key in role.keys
                    ],
                }
                for role in self.roles
            },
            "sets": [
                {
                    **_plain_set(each.manifest),
                    "reports": {
                        str(level): report.model_dump(mode="json") | {"passed": report.passed}
                        for level, report in each.reports.items()
                    },
                }
                for each in self.sets
            ],
            "sizes": {
                "public_bytes": self.sizes.public,
                "objects_bytes": self.sizes.objects,
                "patches_bytes": self.sizes.patches,
            },
            "watch": None
            if self.watch is None
            else self.watch.model_dump(mode="json") | {"running": self.watch_running},
            "problems": self.problems(),
        }


def status(home: Home, now: datetime | None = None) -> Status:
    """How it stands. Raises UsageError if there is no repository, PublishError if it is damaged."""
    at = now or datetime.now(UTC)
    signed = Signed.load(home)
    return Status(
        at,
        {channel: _channel(home, signed, channel) for channel in Channel},
        _roles(home, signed, at),
        tuple(_set(home, version) for version in candidates.versions(home)),
        _sizes(home),
        WatchState.load(home),
        is_running(home),
    )


def _channel(home: Home, signed: Signed, channel: Channel) -> ChannelStatus:
    offer = history.current(home, signed, channel)
    manifest = (
        None if offer.version is None else history.manifest(home, signed, channel, offer.version)
    )
    return ChannelStatus(offer, manifest, tuple(history.named_versions(signed, channel)))


def _set(home: Home, version: Version) -> SetStatus:
    reports = {level: candidates.report(home, version, level) for level in Level}
    return SetStatus(
        candidates.load(home, version),
        {level: report for level, report in reports.items() if report is not None},
    )


def _roles(home: Home, signed: Signed, at: datetime) -> tuple[RoleStatus, ...]:
    keyring = Keyring(home.keys)
    found = signed.roles()
    return tuple(_role(name, found[name], signed, keyring, at) for name in keys.ROLES)


def _role(
    name: str, role: SignedRole, signed: Signed, keyring: Keyring, at: datetime
) -> RoleStatus:
    trusted = signed.trusted(name)
    places = {key.keyid: keyring.find(name, key) for key in trusted.keys}
    return RoleStatus(
        name,
        role.version,
        role.expires,
        role.expires <= at,
        role.expires - at < VALID_FOR[name] * _SOON,
        keyring.can_sign(trusted),
        trusted.threshold,
        tuple(
            KeyStatus(key.keyid, key.scheme, place.name if (place := places[key.keyid]) else "")
            for key in trusted.keys
        ),
    )


def _sizes(home: Home) -> Sizes:
    return Sizes(
        *(
            _bytes_below(folder)
            for folder in (home.public, home.public / "objects", home.public / "patches")
        )
    )


def _bytes_below(folder: Path) -> int:
    """Of all files. Status takes no lock: what is pruned meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).stat().st_size
    return total


def _plain_channel(channel: ChannelStatus, at: datetime) -> dict[str, Any]:
    return {
        **channel.offer.model_dump(mode="json"),
        "age_s": round((at - channel.offer.published_at).total_seconds()),
        "rollout_share": channel.rollout_share(at),
        "versions": [str(version) for version in channel.versions],
        "set": None if channel.manifest is None else _plain_set(channel.manifest),
    }


def _plain_set(manifest: Manifest) -> dict[str, Any]:
    report = manifest.report
    return {
        "version": str(manifest.version),
        "built_at": manifest.built_at.isoformat(),
        "signatures": manifest.signatures,
        "size_bytes": manifest.size_bytes,
        "object_bytes": sum(shard.object_bytes for shard in manifest.shards),
        "shards": len(manifest.shards),
        "patches": len(manifest.patches),
        "report": None
        if report is None
        else report.model_dump(mode="json") | {"passed": report.passed},
    }
