"""How a repository stands: what is offered, what was built, how long its signatures hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from mailward.definitions.model import Channel, Current, Level, Manifest, QualityReport, Version
from mailward.publish import candidates, history, keys
from mailward.publish.home import Home
from mailward.publish.metadata import Signed


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What a channel offers."""

    offer: Current
    manifest: Manifest | None
    """Of the set that it offers, with its report."""
    versions: tuple[Version, ...]
    """All sets that it names, oldest first."""


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One signed role."""

    role: str
    number: int
    expires: datetime
    expired: bool
    key_here: bool


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

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "channels": {str(c): _plain_channel(s, self.at) for c, s in self.channels.items()},
            "roles": {
                role.role: {
                    "number": role.number,
                    "expires": role.expires.isoformat(),
                    "expired": role.expired,
                    "key_here": role.key_here,
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
    found: dict[str, Root | Targets | Snapshot | Timestamp] = {
        "root": signed.root.signed,
        "targets": signed.targets.signed,
        "snapshot": signed.snapshot.signed,
        "timestamp": signed.timestamp.signed,
        **{channel.value: role.signed for channel, role in signed.channels.items()},
    }
    return tuple(
        RoleStatus(
            role,
            found[role].version,
            found[role].expires,
            found[role].expires <= at,
            keys.path_of(home.keys, role).exists(),
        )
        for role in keys.ROLES
    )


def _plain_channel(channel: ChannelStatus, at: datetime) -> dict[str, Any]:
    return {
        **channel.offer.model_dump(mode="json"),
        "age_s": round((at - channel.offer.published_at).total_seconds()),
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
