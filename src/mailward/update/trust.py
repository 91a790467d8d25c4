"""What may be believed and taken: values in, a value or an error out, no I/O (S1, S7).

Signatures, expiry, versions and hashes of metadata are python-tuf's work (``repository.py``); here
is what Mailward adds to it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mailward.definitions.model import (
    Channel,
    Current,
    Manifest,
    Rollout,
    Version,
    require_readable,
)
from mailward.errors import FormatError, TrustError


class Step(StrEnum):
    """What an offer means for a computer."""

    NOTHING = "nothing"
    """What is offered is in use, or older than what is in use."""
    TAKE = "take"
    WAIT = "wait"
    """The roll-out has not reached this computer."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a channel's offer, and the reason in words."""

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class Position:
    """Where a computer stands."""

    active: Version | None
    refused: frozenset[Version]
    """Not to be taken again (S7)."""
    installation: str
    """Random, made once: decides when a roll-out reaches this computer."""


def read_current(raw: bytes, channel: Channel) -> Current:
    """A channel's current.json. Raises TrustError, or FormatError if it needs a newer release."""
    try:
        current = Current.from_json(raw)
    except FormatError as e:
        raise TrustError(f"channel {channel}: {e}") from e
    if current.channel is not channel:
        raise TrustError(f"channel {channel}: its current.json is that of {current.channel}")
    require_readable(current.engine_level, f"channel {channel}")
    return current


def read_manifest(raw: bytes, channel: Channel, version: Version, max_bytes: int) -> Manifest:
    """A set's manifest. Raises TrustError, or FormatError if it needs a newer release."""
    try:
        manifest = Manifest.from_json(raw)
    except FormatError as e:
        raise TrustError(f"{channel} {version}: {e}") from e
    if manifest.version != version or manifest.channel is not channel:
        raise TrustError(
            f"{channel} {version}: the manifest is that of {manifest.channel} {manifest.version}"
        )
    require_readable(manifest.engine_level, f"set {version}")
    if manifest.size_bytes > max_bytes:
        raise TrustError(
            f"set {version}: {manifest.size_bytes} bytes, more than the {max_bytes} allowed "
            "(update.max_set_bytes)"
        )
    return manifest


def advise(current: Current, position: Position, now: datetime) -> Advice:
    """What to do about what a channel offers."""
    active = position.active
    offered = current.version
    if offered is None:
        return Advice(Step.NOTHING, "the channel offers no set at the moment")
    if offered in position.refused:
        return Advice(Step.NOTHING, f"{offered} was refused or rolled back here")
    if str(offered) in current.withdrawn:
        raise TrustError(f"channel {current.channel}: offers {offered} and withdraws it at once")
    if active is not None and offered < active and active not in position.refused:
        return Advice(Step.NOTHING, f"{offered} is older than the active {active}")  # S7
    if active == offered:
        return Advice(Step.NOTHING, f"{offered} is in use")
    if current.rollout and not reached(current.rollout, position.installation, offered, now):
        return Advice(Step.WAIT, f"the roll-out of {offered} has not reached this computer yet")
    return Advice(Step.TAKE, f"{offered} is new")


def reached(rollout: Rollout, installation: str, version: Version, now: datetime) -> bool:
    """Whether a roll-out has reached an installation: each has a stable place in its hours."""
    digest = hashlib.sha256(f"{installation} {version}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return now >= rollout.start + timedelta(hours=rollout.hours * share)
