"""How many servers use each license: counted and told, never a reason to refuse.

An agent shows, beside its license, a number of its own that is another one for each license and
says nothing about the computer. Who shows none is counted by network address.
"""

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import structlog

from mailward import durable
from mailward.license import License

WINDOW = timedelta(days=30)
"""Who was not seen for so long does not count any more: servers are replaced."""

_SAVE_EVERY = timedelta(minutes=1)
_INSTALLATIONS_MAX = 20_000
"""Of one license, remembered; a number for the invoice, not a lock."""
_LICENSES_MAX = 100_000
_FILE_MAX_BYTES = 256 * 1024 * 1024

_INSTALLATION = re.compile(r"[0-9a-f]{32}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    """What is known about one license."""

    license_id: str
    licensee: str
    allowed: int
    seen: int
    """Servers in the last 30 days."""

    @property
    def is_over(self) -> bool:
        """Whether more servers use it than it is for."""
        return self.seen > self.allowed


class _Count:
    def __init__(self, licensee: str, allowed: int, seen: dict[str, str]) -> None:
        self.licensee = licensee
        self.allowed = allowed
        self.seen = seen
        self.told: date | None = None


class Usage:
    """Kept in ``path``, which may be read at any time. Threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._counts = _load(path)
        self._saved_at: datetime | None = None
        self._changed = False

    def count(self, license_: License, installation: str, address: str, now: datetime) -> None:
        """Somebody was given something on this license."""
        if not _INSTALLATION.fullmatch(installation):
            installation = hashlib.sha256(f"{license_.id} {address}".encode()).hexdigest()[:32]
        today = now.date().isoformat()
        with self._lock:
            known = self._counts.get(license_.id)
            if known is None:
                if len(self._counts) >= _LICENSES_MAX:
                    return
                known = self._counts[license_.id] = _Count("", 0, {})
            known.licensee, known.allowed = license_.terms.sub, license_.terms.servers
            if known.seen.get(installation) != today and (
                installation in known.seen or len(known.seen) < _INSTALLATIONS_MAX
            ):
                known.seen[installation] = today
                self._changed = True
                self._tell(license_.id, known, now.date())
            if self._changed and not self._is_recent(now):
                self._save(now)

    def uses(self, now: datetime) -> list[Use]:
        """Every license that was used in the last 30 days."""
        with self._lock:
            found = [
                Use(license_id, count.licensee, count.allowed, _recent(count.seen, now.date()))
                for license_id, count in sorted(self._counts.items())
            ]
        return [use for use in found if use.seen]

    def save(self, now: datetime) -> None:
        """Write what has not been written yet."""
        with self._lock:
            if self._changed:
                self._save(now)

    def _is_recent(self, now: datetime) -> bool:
        return self._saved_at is not None and timedelta(0) <= now - self._saved_at < _SAVE_EVERY

    def _save(self, now: datetime) -> None:
        """What cannot be written is tried again a minute later; nobody is refused for it."""
        self._saved_at = now
        oldest = (now - WINDOW).date().isoformat()
        for license_id, other in _load(self._path).items():  # of another server on this folder
            known = self._counts.setdefault(license_id, other)
            for installation, day in other.seen.items():
                known.seen[installation] = max(day, known.seen.get(installation, day))
        for count in self._counts.values():
            count.seen = {i: day for i, day in count.seen.items() if day >= oldest}
        plain = {
            license_id: {"licensee": c.licensee, "servers": c.allowed, "seen": c.seen}
            for license_id, c in self._counts.items()
            if c.seen
        }
        try:
            durable.write_atomic(self._path, json.dumps(plain, indent=1).encode(), 0o600)
            self._changed = False
        except OSError as e:
            log.error("license counts cannot be kept", why=str(e))

    def _tell(self, license_id: str, count: _Count, today: date) -> None:
        seen = _recent(count.seen, today)
        if seen > count.allowed and count.told != today:
            count.told = today
            log.warning(
                "a license is used by more servers than it is for",
                license=license_id,
                licensee=count.licensee,
                servers=seen,
                allowed=count.allowed,
            )


def _recent(seen: Mapping[str, str], today: date) -> int:
    oldest = (today - WINDOW).isoformat()
    return sum(day >= oldest for day in seen.values())


def _load(path: Path) -> dict[str, _Count]:
    """What was kept; nothing if it is damaged: it counts from new then."""
    try:
        with path.open("rb") as file:
            plain = json.loads(file.read(_FILE_MAX_BYTES))
        return {
            str(license_id): _Count(
                str(each["licensee"]),
                int(each["servers"]),
                {str(i): date.fromisoformat(day).isoformat() for i, day in each["seen"].items()},
            )
            for license_id, each in plain.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        log.warning("license counts begin anew", why=f"{type(e).__name__}: {path}")
        return {}
