"""Other keys for a role, without a moment in which what is published would not be believed.

Keys of certified and rapid are named by targets: one timestamp publishes the new names along with
what the new keys signed. Keys of root, targets, snapshot and timestamp are named by root, which is
read first and published by itself. So what the role signed is published with old and new signatures
before the new root is. Agents follow roots one by one, each signed by the one before it and by
itself: they may have been away for any number of them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog
from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Root, Targets

from mailward.definitions.model import Channel
from mailward.errors import PublishError, UsageError
from mailward.publish.home import Write, write_all
from mailward.publish.keys import ROLES, Trusted
from mailward.publish.metadata import Signed, Signing, next_root, prepare, unchanged
from mailward.publish.repository import Publisher

_KEYID_MIN_DIGITS = 6

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A change of a role's keys."""

    role: str
    gone: tuple[Key, ...]
    new: tuple[Key, ...]


def rotate(
    publisher: Publisher,
    role: str,
    keyid: str | None = None,
    *,
    encrypted: bool = False,
    token: tuple[str, Key] | None = None,
) -> Rotation:
    """New keys in place of all of a role's, or of the one called ``keyid``.

    They are made here, with a passphrase if ``encrypted`` or if an old one had one; or it is the
    one that a ``token`` holds: securesystemslib's address and the public half. The old private keys
    are removed. Needs the keys of who names them (root, or targets for the channels), of snapshot
    and timestamp. Raises UsageError, PublishError, BusyError; then nothing is published.
    """

    def change(signing: Signing, signed: Signed, trusted: Trusted) -> "_Change":
        gone = trusted.keys if keyid is None else (_named(trusted, keyid),)
        if token is not None and len(gone) > 1:
            raise UsageError(f"{role} has {len(gone)} keys: say which one the token's replaces")
        return _change(
            signing,
            signed,
            trusted,
            gone,
            [_make(signing, trusted, encrypted, token) for _ in gone],
        )

    return _carry_out(publisher, role, change)


def revoke(publisher: Publisher, role: str, keyid: str, *, encrypted: bool = False) -> Rotation:
    """Trust a key no more. A new one takes its place if too few would be left to sign.

    See ``rotate``.
    """

    def change(signing: Signing, signed: Signed, trusted: Trusted) -> "_Change":
        gone = (_named(trusted, keyid),)
        enough = len(trusted.keys) > trusted.threshold
        new = [] if enough else [_make(signing, trusted, encrypted, None)]
        return _change(signing, signed, trusted, gone, new)

    return _carry_out(publisher, role, change)


@dataclass(frozen=True, slots=True)
class _Change:
    rotation: Rotation
    writes: tuple[Write, ...]
    """All of them, or none, must be written."""


def _carry_out(
    publisher: Publisher, role: str, change: Callable[[Signing, Signed, Trusted], _Change]
) -> Rotation:
    if role not in ROLES:
        raise UsageError(f"there is no role {role}: roles are {', '.join(ROLES)}")
    with publisher.home.lock():
        signed = Signed.load(publisher.home)
        done = change(publisher.signing(), signed, signed.trusted(role))
        write_all(publisher.home, done.writes)
        for key in done.rotation.gone:
            publisher.keyring.remove(role, key)
    log.info(
        "keys changed",
        role=role,
        gone=[key.keyid for key in done.rotation.gone],
        new=[key.keyid for key in done.rotation.new],
    )
    return done.rotation


def _make(
    signing: Signing, trusted: Trusted, encrypted: bool, token: tuple[str, Key] | None
) -> Signer:
    keyring, role = signing.keyring, trusted.role
    if token is not None:
        return keyring.refer(role, *token)
    like = any(keyring.is_encrypted(role, key) for key in trusted.keys)
    return keyring.make(role, encrypted=encrypted or like)


def _named(trusted: Trusted, keyid: str) -> Key:
    found = [key for key in trusted.keys if key.keyid.startswith(keyid)]
    if len(keyid) < _KEYID_MIN_DIGITS or len(found) != 1:
        known = ", ".join(key.keyid[:16] for key in trusted.keys)
        raise UsageError(
            f"{trusted.role} has no key {keyid!r}: name one of {known} by at least"
            f" {_KEYID_MIN_DIGITS} digits"
        )
    return found[0]


def _change(
    signing: Signing,
    signed: Signed,
    trusted: Trusted,
    gone: Sequence[Key],
    new: Sequence[Signer],
) -> _Change:
    role = trusted.role
    if role == "root":
        writes = [_next_root(signing, signed, trusted, gone, new)]
    elif role in list(Channel):
        writes = _next_channel(signing, signed, Channel(role), gone, new)
    else:
        writes = _next_online(signing, signed, trusted, gone, new)
    rotation = Rotation(role, tuple(gone), tuple(signer.public_key for signer in new))
    return _Change(rotation, tuple(writes))


def _next_root(
    signing: Signing, signed: Signed, trusted: Trusted, gone: Sequence[Key], new: Sequence[Signer]
) -> Write:
    """Signed by enough of the old keys, and by enough of the new."""
    old = signing.keyring.signers(trusted)
    _exchange(signed.root.signed, "root", gone, new)
    threshold = signed.root.signed.roles["root"].threshold
    staying = {key.keyid for key in signed.trusted("root").keys}
    if len([s for s in (*old, *new) if s.public_key.keyid in staying]) < threshold:
        raise PublishError(
            f"too few keys of the next root are here: {threshold} must sign it: bring them back"
        )
    return next_root(signing, signed.root, [*old, *new])


def _next_channel(
    signing: Signing,
    signed: Signed,
    channel: Channel,
    gone: Sequence[Key],
    new: Sequence[Signer],
) -> list[Write]:
    _exchange(signed.targets.signed, channel, gone, new)
    changes = {channel: unchanged(signed.channels[channel])}
    return prepare(signing, signed, changes, renew={"targets"})


def _next_online(
    signing: Signing, signed: Signed, trusted: Trusted, gone: Sequence[Key], new: Sequence[Signer]
) -> list[Write]:
    root_signers = signing.keyring.signers(signed.trusted("root"))
    renew: Collection[str] = {trusted.role} - {"timestamp"}
    cosigners: Mapping[str, Sequence[Signer]] = {}
    if signing.keyring.can_sign(trusted):
        # Agents that have not seen the new root yet, and those that have, believe the role.
        cosigners = {trusted.role: new}
        before = prepare(signing, signed, renew=renew, cosigners=cosigners)
        _exchange(signed.root.signed, trusted.role, gone, new)
        return [*before, next_root(signing, signed.root, root_signers)]
    # The old key is lost. Between the two writes agents fail, and come again.
    _exchange(signed.root.signed, trusted.role, gone, new)
    root = next_root(signing, signed.root, root_signers)
    return [root, *prepare(signing, signed, renew=renew)]


def _exchange(
    delegator: Root | Targets, role: str, gone: Sequence[Key], new: Sequence[Signer]
) -> None:
    for signer in new:
        delegator.add_key(signer.public_key, role)
    for key in gone:
        delegator.revoke_key(key.keyid, role)
