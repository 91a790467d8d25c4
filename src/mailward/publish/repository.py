"""The publisher's side of a repository: make it, publish and promote sets, withdraw them.

A set has one content in both channels; what differs is the evidence. Rapid takes a set that passed
the basic tests, certified one that passed the stringent ones; ``forced`` is the way around,
recorded in the report that agents see.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from tuf.api.metadata import Snapshot, Targets

from mailward.definitions.model import (
    ENGINE_LEVEL,
    MANIFEST_MAX_BYTES,
    Channel,
    Current,
    Level,
    Manifest,
    QualityReport,
    Version,
)
from mailward.errors import PublishError, UsageError
from mailward.publish import candidates, history, keys, metadata, objects
from mailward.publish.home import Home
from mailward.publish.metadata import VALID_FOR, ChannelChange, Signed

log = structlog.get_logger(__name__)

_WITHDRAWN_MAX = 200
"""Kept in current.json, the newest: who still has an older one takes what is offered anyway."""

_REASON_MAX = 1000

_LEVEL_FOR = {Channel.RAPID: Level.BASIC, Channel.CERTIFIED: Level.STRINGENT}


class Publisher:
    """One publisher's folder. Every change holds its lock and is whole or not there at all."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        valid_for: Mapping[str, timedelta] = VALID_FOR,
    ) -> None:
        self.home = Home(folder)
        self._clock = now
        self._valid_for = valid_for

    def init(self) -> Path:
        """Make keys and an empty repository; the file of the root of trust that agents need.

        Raises UsageError if there is one already.
        """
        with self.home.lock():
            if (self.home.metadata / "timestamp.json").exists():
                raise UsageError(f"{self.home.folder} already holds a repository: nothing changed")
            now = self._now()
            offers = [_nothing_yet(channel, now) for channel in Channel]
            changes = {
                offer.channel: ChannelChange({history.current_path(offer.channel): offer.to_json()})
                for offer in offers
            }
            metadata.create(self.home, changes, now, self._valid_for)
        log.info("repository made", folder=str(self.home.folder))
        return self.root_file

    @property
    def root_file(self) -> Path:
        """What to hand to administrators, by a way that they trust."""
        return self.home.metadata / "1.root.json"

    def publish(self, version: Version, forced: str | None = None) -> Current:
        """Offer a built set in the rapid channel. Repeating it changes nothing.

        ``forced``: the reason to do so without a passing report. Raises UsageError, PublishError
        (a gate failed, a key is missing, a newer set was offered already), BusyError.
        """
        return self._release(version, Channel.RAPID, forced)

    def promote(self, version: Version, forced: str | None = None) -> Current:
        """Offer a built set in the certified channel: the same content, more evidence.

        See ``publish``.
        """
        return self._release(version, Channel.CERTIFIED, forced)

    def withdraw(
        self, version: Version, reason: str, channel: Channel | None = None
    ) -> dict[Channel, Current]:
        """Say that a set must not be used: agents fall back to what is then offered (S7).

        ``channel``: only there; otherwise in each that names it. Raises UsageError if none does.
        """
        if not reason.strip():
            raise UsageError("withdrawing needs a reason: administrators will read it")
        with self.home.lock():
            signed = Signed.load(self.home)
            wanted = [channel] if channel else list(Channel)
            where = [c for c in wanted if version in history.named_versions(signed, c)]
            if not where:
                raise UsageError(
                    f"{version} is not offered in {' or '.join(wanted)}: nothing to withdraw"
                )
            offers = {c: self._without(signed, c, version, reason) for c in where}
            changes = {c: _change(signed, c, offer, {}) for c, offer in offers.items()}
            metadata.commit(self.home, signed, changes, self._now(), self._valid_for)
        log.info("set withdrawn", version=str(version), channels=[str(c) for c in where])
        return offers

    def refresh_timestamp(self) -> datetime:
        """Sign the timestamp anew, so that agents go on believing it; until when they will.

        With it whatever of snapshot and channels has less than half of its time left, as far as its
        key is here. Run it several times a day.
        """
        with self.home.lock():
            signed, now = Signed.load(self.home), self._now()
            # Signed again as they are; the snapshot names them, so it goes along.
            changes = {
                channel: ChannelChange({}, frozenset(role.signed.targets))
                for channel, role in signed.channels.items()
                if self._is_ageing(role.signed, channel, now)
                and keys.path_of(self.home.keys, channel).exists()
            }
            renew = self._is_ageing(signed.snapshot.signed, "snapshot", now)
            metadata.commit(self.home, signed, changes, now, self._valid_for, renew_snapshot=renew)
            return signed.timestamp.signed.expires

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(microsecond=0)

    def _is_ageing(self, role: Snapshot | Targets, name: str, now: datetime) -> bool:
        return role.expires - now < self._valid_for[name] / 2

    def _release(self, version: Version, channel: Channel, forced: str | None) -> Current:
        with self.home.lock():
            signed = Signed.load(self.home)
            candidate = candidates.load(self.home, version)
            report = self._report(version, _LEVEL_FOR[channel], forced)
            offer = history.current(self.home, signed, channel)
            if offer.version == version:
                return offer
            self._require_newer(signed, channel, version)
            patches = objects.make_patches(
                self.home, candidate.shards, history.published_sets(self.home, signed)
            )
            objects.require_all(self.home, candidate.shards)
            known = {(patch.old, patch.new): patch for patch in (*candidate.patches, *patches)}
            manifest = candidate.model_copy(
                update={
                    "channel": channel,
                    "report": report,
                    "patches": tuple(known[key] for key in sorted(known)),
                }
            )
            now = self._now()
            offer = offer.model_copy(
                update={
                    "version": version,
                    "published_at": now,
                    "engine_level": manifest.engine_level,
                    "rollout": None,
                }
            )
            files = {history.manifest_path(channel, version): _manifest_bytes(manifest)}
            change = {channel: _change(signed, channel, offer, files)}
            metadata.commit(self.home, signed, change, now, self._valid_for)
        log.info("set published", version=str(version), channel=str(channel), forced=forced)
        return offer

    def _report(self, version: Version, level: Level, forced: str | None) -> QualityReport:
        report = candidates.report(self.home, version, level)
        if report is not None and report.passed:
            return report
        if forced is None:
            raise PublishError(f"{version} {_why_not(report, level)}")
        if not forced.strip():
            raise UsageError("forcing needs a reason: agents and administrators will see it")
        if report is None:
            report = QualityReport(level=level, checked_at=self._now(), gates=())
        return report.model_copy(update={"forced": forced[:_REASON_MAX]})

    def _require_newer(self, signed: Signed, channel: Channel, version: Version) -> None:
        for each in Channel:
            reason = history.current(self.home, signed, each).withdrawn.get(str(version))
            if reason is not None:
                raise PublishError(f"{version} was withdrawn from {each}: {reason}: build anew")
        # S7: agents refuse to go back.
        newest = max(history.offered_versions(self.home, signed, channel), default=None)
        if newest is not None and version < newest:
            raise PublishError(
                f"{channel} has already offered {newest}, agents would not go back to {version}:"
                " build anew"
            )

    def _without(self, signed: Signed, channel: Channel, version: Version, reason: str) -> Current:
        offer = history.current(self.home, signed, channel)
        withdrawn = {Version.parse(text): why for text, why in offer.withdrawn.items()}
        withdrawn[version] = reason[:_REASON_MAX]
        kept = sorted(withdrawn)[-_WITHDRAWN_MAX:]
        update: dict[str, Any] = {"withdrawn": {str(v): withdrawn[v] for v in kept}}
        if offer.version == version:
            left = [v for v in history.named_versions(signed, channel) if v not in withdrawn]
            now = self._now()
            update |= {"version": max(left, default=None), "published_at": now, "rollout": None}
        return offer.model_copy(update=update)


def _nothing_yet(channel: Channel, now: datetime) -> Current:
    return Current(
        channel=channel,
        version=None,
        published_at=now,
        engine_level=ENGINE_LEVEL,
    )


def _change(
    signed: Signed, channel: Channel, offer: Current, manifests: Mapping[str, bytes]
) -> ChannelChange:
    """The new offer and manifests; of those named so far the newest that are not withdrawn stay."""
    paths = {
        version: history.manifest_path(channel, version)
        for version in history.named_versions(signed, channel)
        if str(version) not in offer.withdrawn
    }
    room = history.KEPT_SETS[channel] - len(manifests)
    return ChannelChange(
        {**manifests, history.current_path(channel): offer.to_json()},
        frozenset(paths[version] for version in sorted(paths)[-room:]),
    )


def _manifest_bytes(manifest: Manifest) -> bytes:
    raw = manifest.to_json()
    if len(raw) > MANIFEST_MAX_BYTES:
        raise PublishError(
            f"the manifest of {manifest.version} would have {len(raw)} bytes, agents take at most"
            f" {MANIFEST_MAX_BYTES}: use fewer shards"
        )
    return raw


def _why_not(report: QualityReport | None, level: Level) -> str:
    if report is None:
        return f"has no {level} report: `mailward repo check` it first"
    failed = [
        f"{gate.name} ({', '.join(gate.culprits[:3]) or gate.detail})"
        for gate in report.gates
        if not gate.passed
    ]
    return f"failed the {level} tests: {'; '.join(failed)}"
