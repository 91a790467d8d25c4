"""The licenses of this computer at rest, and what they allow by what is known of the repository.

::

    <state>/license/installed     one license a line, for their owner only (S15)
    <state>/license/before        what was installed before the last change: the way back

Everything is judged anew at each question, by the keys and revocations that the repository signed
last (``licensing.json`` in the agent's cache): nothing here has to be kept in step.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Timestamp

from mailward import durable
from mailward.definitions.model import CURRENT_MAX_BYTES, Channel
from mailward.errors import FormatError, LicenseError, MailwardError, StoreError, UsageError
from mailward.license import (
    LICENSING_MAX_BYTES,
    TOKEN_MAX_BYTES,
    Entitlement,
    Held,
    License,
    Licensing,
    State,
    Times,
    clean,
    judge,
    verify,
    warning_due,
)
from mailward.update import trust

INSTALLED_MAX = 20
"""Those that ended first make room: a year has a renewal or two."""

_TIMESTAMP_MAX_BYTES = 64 * 1024

_URGENCY = (
    State.REVOKED,
    State.INVALID,
    State.MISSING,
    State.EXPIRED,
    State.NOT_YET_VALID,
    State.GRACE,
    State.EXPIRING,
    State.VALID,
    State.NOT_NEEDED,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the repository's signed files said when they were last seen."""

    licensing: Licensing | None
    needed: frozenset[Channel]
    signed_at: datetime | None


class Licenses:
    """The licenses in ``folder``, judged by what the agent keeps in ``trust_dir``."""

    def __init__(self, folder: Path, trust_dir: Path) -> None:
        self._folder = folder
        self._trust_dir = trust_dir
        self._installed = folder / "installed"
        self._before = folder / "before"

    def known(self) -> Known:
        """What was last seen of the repository; reading only."""
        cache = self._trust_dir / "cache"
        needed = set()
        for channel in Channel:
            raw = _read(cache / f"{channel}.current", CURRENT_MAX_BYTES)
            try:
                if raw is not None and trust.read_current(raw, channel).license_required:
                    needed.add(channel)
            except MailwardError:
                continue  # the next check replaces it
        raw = _read(cache / "licensing.json", LICENSING_MAX_BYTES)
        try:
            licensing = Licensing.from_json(raw) if raw is not None else None
        except FormatError:
            licensing = None
        return Known(licensing, frozenset(needed), signed_time(self._trust_dir))

    def held(self, licensing: Licensing | None) -> list[Held]:
        """Every installed license, verified, or what is wrong with it."""
        try:
            tokens = self._tokens(self._installed)
        except LicenseError as e:
            return [Held(None, str(e))]
        if licensing is None:
            return [Held(None, "the repository names no key to check it with") for _ in tokens]
        return [_held(token, licensing) for token in tokens]

    def entitlement(
        self, channel: Channel, now: datetime, known: Known | None = None
    ) -> Entitlement:
        """What is allowed on a channel. ``now``: the system clock's time."""
        known = known or self.known()
        held = self.held(known.licensing)
        return judge(
            channel,
            needed=channel in known.needed,
            held=held,
            licensing=known.licensing,
            times=_times(now, known, held),
        )

    def entitlements(self, channels: Sequence[Channel], now: datetime) -> list[Entitlement]:
        """For each channel, the most urgent first."""
        known = self.known()
        found = [self.entitlement(channel, now, known) for channel in channels]
        return sorted(found, key=lambda each: _URGENCY.index(each.state))

    def install(
        self, path: Path, channels: Sequence[Channel], known: Known, now: datetime
    ) -> License:
        """Add a license; one of the same id is replaced. What was installed is kept for ``undo``.

        ``channels``: those that this computer takes. Raises FormatError or LicenseError with the
        installed ones untouched, and quotes nothing of it (S15).
        """
        token = clean(_read_license(path))
        if known.licensing is None:
            raise LicenseError(
                "the repository names no key to check licenses with: its channels need none, or "
                "its publisher has to set them up"
            )
        license_ = verify(token, known.licensing)
        held = self.held(known.licensing)
        _require_useful(license_, channels, known.licensing, _times(now, known, held))
        others = [h.license for h in held if h.license is not None and h.license.id != license_.id]
        others.sort(key=lambda each: each.valid_until)
        kept = [each.token for each in others[-(INSTALLED_MAX - 1) :]]
        self._replace("\n".join([*kept, token]).encode() + b"\n")
        return license_

    def undo(self) -> None:
        """What was installed before the last change is installed again; doing it twice undoes it.

        Raises UsageError if there was no change.
        """
        before = _read(self._before, INSTALLED_MAX * (TOKEN_MAX_BYTES + 1))
        if before is None:
            raise UsageError("no license was installed before: there is nothing to undo")
        self._replace(before)

    def occasions(self, channels: Sequence[Channel], now: datetime) -> dict[Channel, str]:
        """What each alert is about at the moment: it is raised again when that changes."""
        known = self.known()
        judging = _times(now, known, self.held(known.licensing)).judging
        found = {}
        for channel in channels:
            occasion = warning_due(self.entitlement(channel, now, known), judging)
            if occasion is not None:
                found[channel] = occasion
        return found

    def ends(self, channels: Sequence[Channel], now: datetime) -> dict[Channel, datetime]:
        """When what is allowed ends or ended, where there is an end."""
        return {e.channel: e.until for e in self.entitlements(channels, now) if e.until is not None}

    def _tokens(self, path: Path) -> list[str]:
        """Raises LicenseError if the file cannot be read, or others can (S15)."""
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:  # S15
                    raise LicenseError(f"{path}: others can read it: chmod 600 {path}")
                raw = file.read(INSTALLED_MAX * (TOKEN_MAX_BYTES + 1))
        except FileNotFoundError:
            return []
        except OSError as e:
            raise LicenseError(f"{path}: {e.strerror}") from e
        return [line.strip().decode(errors="replace") for line in raw.splitlines() if line.strip()]

    def _replace(self, content: bytes) -> None:
        """The way back first: whoever is killed in between has two copies of the same."""
        try:
            durable.make_folder(self._folder)
            self._folder.chmod(0o700)
            before = _read(self._installed, INSTALLED_MAX * (TOKEN_MAX_BYTES + 1)) or b""
            for path, what in ((self._before, before), (self._installed, content)):
                durable.write_atomic(path, what, 0o600)
                self._give_to_owner(path)
            self._give_to_owner(self._folder)
        except OSError as e:
            raise StoreError(f"{self._folder}: {e.strerror}: the license is not installed") from e

    def _give_to_owner(self, path: Path) -> None:
        """What root installs belongs to whom the state belongs: the service has to read it."""
        if os.geteuid() == 0:
            owner = self._folder.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)


def installation_of(license_: License, installation: str) -> str:
    """How a server counts this computer: the same each time, and nothing about it elsewhere."""
    return hashlib.sha256(f"{installation} {license_.id}".encode()).hexdigest()[:32]


def signed_time(trust_dir: Path) -> datetime | None:
    """When the publisher signed the newest timestamp that this computer has verified."""
    raw = _read(trust_dir / "timestamp.json", _TIMESTAMP_MAX_BYTES)
    if raw is None:
        return None
    try:
        said = Metadata[Timestamp].from_bytes(raw).signed.unrecognized_fields.get("signed_at")
        return datetime.strptime(str(said), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (RepositoryError, ValueError, TypeError):
        return None


def _times(now: datetime, known: Known, held: Sequence[Held]) -> Times:
    """A license that was issued proves that its time has come."""
    issued = [each.license.issued_at for each in held if each.license is not None]
    signed = [*issued, *([known.signed_at] if known.signed_at else [])]
    return Times(now, max(signed, default=None))


def _held(token: str, licensing: Licensing) -> Held:
    try:
        return Held(verify(token, licensing))
    except (FormatError, LicenseError) as e:
        return Held(None, str(e))


def _require_useful(
    license_: License, channels: Sequence[Channel], licensing: Licensing, times: Times
) -> None:
    reason = licensing.revoked.get(license_.id)
    if reason is not None:
        raise LicenseError(f"license {license_.id}: {licensing.publisher} has revoked it: {reason}")
    if not any(license_.covers(channel) for channel in channels):
        raise LicenseError(
            f"license {license_.id}: it is for {', '.join(license_.terms.channels)}, this computer "
            f"takes {', '.join(channels) or 'no channel'} (update.certified.enabled, "
            "update.rapid.enabled)"
        )
    if license_.valid_until <= times.judging:
        raise LicenseError(
            f"license {license_.id}: it ended on {license_.valid_until:%Y-%m-%d}{times.remark()}"
        )


def _read_license(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(2 * TOKEN_MAX_BYTES + 1)
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}") from e


def _read(path: Path, max_bytes: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError:
        return None
