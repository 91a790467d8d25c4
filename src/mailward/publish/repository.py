"""The publisher's side of a repository: make it, publish and promote sets, withdraw them.

A set has one content in both channels; what differs is the evidence. Rapid takes a set that passed
the basic tests, certified one that passed the stringent ones; ``forced`` is the way around,
recorded in the report that agents see.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from mailward.definitions.model import (
    ENGINE_LEVEL,
    MANIFEST_MAX_BYTES,
    Channel,
    Current,
    Level,
    Manifest,
    QualityReport,
    Rollout,
    Version,
)
from mailward.errors import PublishError, UsageError
from mailward.license import LICENSING_PATH
from mailward.publish import candidates, history, metadata, objects
from mailward.publish.home import Home, write_in_order
from mailward.publish.keys import ROLES, Keyring
from mailward.publish.metadata import VALID_FOR, ChannelChange, Signed, Signing, unchanged
from mailward.publish.passphrases import Secrets

log = structlog.get_logger(__name__)

_WITHDRAWN_MAX = 200
"""Kept in current.json, the newest: who still has an older one takes what is offered anyway."""

_REASON_MAX = 1000

_ROLLOUT_MAX_HOURS = 720.0
"""What agents accept."""

_KEYS_MAX = 20
"""Of one role: root metadata is read by every agent."""

_LEVEL_FOR = {Channel.RAPID: Level.BASIC, Channel.CERTIFIED: Level.STRINGENT}


class Publisher:
    """One publisher's folder. Every change holds its lock and is whole or not there at all."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        valid_for: Mapping[str, timedelta] = VALID_FOR,
        secrets: Secrets | None = None,
        more_keys: Sequence[Path] = (),
    ) -> None:
        """``more_keys``: folders with private keys beside the publisher's own."""
        self.home = Home(folder)
        self.secrets = secrets or Secrets()
        self.keyring = Keyring(self.home.keys, self.secrets, more_keys)
        self._clock = now
        self._valid_for = valid_for

    def init(
        self,
        *,
        key_counts: Mapping[str, int] | None = None,
        thresholds: Mapping[str, int] | None = None,
        encrypted: bool = False,
    ) -> Path:
        """Make keys and an empty repository; the file of the root of trust that agents need.

        ``key_counts`` and ``thresholds``: for root and targets, how many keys there are and how
        many of them must sign; 1. ``encrypted``: with a passphrase. Raises UsageError if there is a
        repository already, PublishError. May be repeated until it is done.
        """
        counts, needed = dict(key_counts or {}), dict(thresholds or {})
        _require_possible(counts, needed)
        with self.home.lock():
            if (self.home.metadata / "timestamp.json").exists():
                raise UsageError(f"{self.home.folder} already holds a repository: nothing changed")
            signing = self.signing()
            signers = {
                role: [
                    self.keyring.make(role, encrypted=encrypted) for _ in range(counts.get(role, 1))
                ]
                for role in ROLES
            }
            offers = [_nothing_yet(channel, signing.now) for channel in Channel]
            changes = {
                offer.channel: ChannelChange({history.current_path(offer.channel): offer.to_json()})
                for offer in offers
            }
            write_in_order(metadata.first(signing, signers, needed, changes))
        log.info("repository made", folder=str(self.home.folder))
        return self.root_file

    @property
    def root_file(self) -> Path:
        """What to hand to administrators, by a way that they trust."""
        return self.home.metadata / "1.root.json"

    def publish(
        self,
        version: Version,
        forced: str | None = None,
        rollout_hours: float | None = None,
        license_required: bool | None = None,
    ) -> Current:
        """Offer a built set in the rapid channel. Repeating it changes nothing.

        ``forced``: the reason to do so without a passing report. ``rollout_hours``: over how many
        hours agents take it, each by a stable hash of its own; None, at once. For the set that is
        offered already it changes the roll-out, counted from its start; 0 ends it.
        ``license_required``: whether only those with a license get the channel's sets; None: as
        before. Raises
        UsageError, PublishError (a gate failed, a key is missing, a newer set was offered already),
        BusyError.
        """
        return self._release(version, Channel.RAPID, forced, rollout_hours, license_required)

    def promote(
        self,
        version: Version,
        forced: str | None = None,
        rollout_hours: float | None = None,
        license_required: bool | None = None,
    ) -> Current:
        """Offer a built set in the certified channel: the same content, more evidence.

        See ``publish``.
        """
        return self._release(version, Channel.CERTIFIED, forced, rollout_hours, license_required)

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
            write_in_order(metadata.prepare(self.signing(), signed, changes))
        log.info("set withdrawn", version=str(version), channels=[str(c) for c in where])
        return offers

    def refresh_timestamp(self) -> datetime:
        """Sign the timestamp anew, so that agents go on believing it; until when they will.

        With it whatever other role has less than half of its time left, as far as its keys are
        here. Run it several times a day.
        """
        with self.home.lock():
            signed = Signed.load(self.home)
            write_in_order(metadata.prepare(self.signing(), signed))
            renewed = self._renew(signed)
        log.info("timestamp refreshed", renewed=sorted(renewed))
        return signed.timestamp.signed.expires

    def _renew(self, signed: Signed) -> set[str]:
        """By itself, so that what cannot be renewed does not hold up the timestamp."""
        ageing = self._ageing(signed)
        if not ageing:
            return ageing
        signing = self.signing()
        changes = {
            channel: unchanged(role)
            for channel, role in signed.channels.items()
            if channel in ageing
        }
        renew = ageing & {"targets", "snapshot"}
        writes = metadata.prepare(signing, signed, changes, renew=renew)
        if "root" in ageing:
            root_signers = signing.keyring.signers(signed.trusted("root"))
            writes.append(metadata.next_root(signing, signed.root, root_signers))
        write_in_order(writes)
        return ageing

    def is_refresh_due(self, after: timedelta) -> bool:
        """Whether the timestamp is older than ``after``, or another role ought to be renewed and
        can be; also if a clock that was ahead has signed one."""
        signed = Signed.load(self.home)
        left = signed.timestamp.signed.expires - self._now()
        age = self._valid_for["timestamp"] - left
        return not timedelta(0) <= age < after or bool(self._ageing(signed))

    def _ageing(self, signed: Signed) -> set[str]:
        now = self._now()
        return {
            name
            for name, role in signed.roles().items()
            if name != "timestamp"
            and metadata.is_ageing(role.expires, now, self._valid_for[name])
            and self.keyring.can_sign(signed.trusted(name))
        }

    def signing(self) -> Signing:
        """What it takes to sign now."""
        return Signing(self.home, self.keyring, self._now(), self._valid_for)

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(microsecond=0)

    def _release(
        self,
        version: Version,
        channel: Channel,
        forced: str | None,
        rollout_hours: float | None,
        license_required: bool | None,
    ) -> Current:
        if rollout_hours is not None and not 0 <= rollout_hours <= _ROLLOUT_MAX_HOURS:
            raise UsageError(
                f"a roll-out over {rollout_hours:g} hours: at most {_ROLLOUT_MAX_HOURS:g} are"
                " possible"
            )
        with self.home.lock():
            signed = Signed.load(self.home)
            candidate = candidates.load(self.home, version)
            report = self._report(version, _LEVEL_FOR[channel], forced)
            offer = history.current(self.home, signed, channel)
            if license_required is None:
                license_required = offer.license_required
            if license_required:
                _require_license_keys(signed)
            if offer.version == version:
                return self._change_offer(signed, offer, rollout_hours, license_required)
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
                    "rollout": _rollout(now, rollout_hours),
                    "license_required": license_required,
                }
            )
            files = {history.manifest_path(channel, version): _manifest_bytes(manifest)}
            change = {channel: _change(signed, channel, offer, files)}
            write_in_order(metadata.prepare(self.signing(), signed, change))
        log.info("set published", version=str(version), channel=str(channel), forced=forced)
        return offer

    def _change_offer(
        self, signed: Signed, before: Current, hours: float | None, license_required: bool
    ) -> Current:
        start = before.rollout.start if before.rollout else before.published_at
        rollout = before.rollout if hours is None else _rollout(start, hours)
        offer = before.model_copy(update={"rollout": rollout, "license_required": license_required})
        if offer == before:
            return offer
        change = {offer.channel: _change(signed, offer.channel, offer, {})}
        write_in_order(metadata.prepare(self.signing(), signed, change))
        log.info("offer changed", version=str(offer.version), channel=str(offer.channel))
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
        reason = history.withdrawn(self.home, signed, version)
        if reason:
            raise PublishError(f"{version} was withdrawn {reason}: build anew")
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


def _require_possible(counts: Mapping[str, int], thresholds: Mapping[str, int]) -> None:
    for role in ROLES:
        count, threshold = counts.get(role, 1), thresholds.get(role, 1)
        if not 1 <= threshold <= count <= _KEYS_MAX:
            raise UsageError(
                f"{role}: {threshold} of {count} keys cannot sign: have 1 to {_KEYS_MAX} keys, and"
                " let at least one and at most all of them be needed"
            )


def _require_license_keys(signed: Signed) -> None:
    if LICENSING_PATH not in signed.targets.signed.targets:
        raise UsageError(
            "the channel asks for a license, and nobody can have one yet: make the key that signs"
            " them with `mailward license init`"
        )


def _rollout(start: datetime, hours: float | None) -> Rollout | None:
    return Rollout(start=start, hours=hours) if hours else None


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
