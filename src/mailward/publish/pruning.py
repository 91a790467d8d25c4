"""Remove what no kept set needs, once agents in mid-download are through with it.

Kept are the sets that the channels name (``history.KEPT_SETS``) and the newest that were built. A
file of ``public/`` that none of them and no signed role needs is removed when it has been so for
``GRACE``; since when is noted in ``pruning.json``. Roots are kept for ever: agents follow them one
by one.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import Field

from mailward import durable
from mailward.definitions.model import (
    Channel,
    Manifest,
    Moment,
    Value,
    read_value,
)
from mailward.errors import FormatError
from mailward.publish import candidates, history
from mailward.publish.home import Home, tidy
from mailward.publish.metadata import Signed

GRACE = timedelta(hours=24)
"""An agent that began with what was current then is through, or has begun again."""

KEPT_CANDIDATES = 24
"""Built sets beside those that channels name: to be looked at, and to be promoted later."""

_NOTES_MAX_BYTES = 256 * 1024 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed."""

    files: int
    bytes: int
    candidates: int
    waiting: int
    """Files not needed any more that agents may still be fetching."""


class _Notes(Value):
    since: dict[str, Moment] = Field(default_factory=dict)


def prune(home: Home, now: datetime, grace: timedelta = GRACE) -> Pruned:
    """Remove what has not been needed for ``grace``. Raises PublishError, BusyError."""
    with home.lock():
        tidy(home)
        signed = Signed.load(home)
        gone = _prune_candidates(home, signed)
        since = _since(home, _needed(home, signed), now)
        due = {path for path, moment in since.items() if now - moment >= grace}
        # Noted first: who is killed now counts on from here.
        notes = _Notes(since={p: moment for p, moment in since.items() if p not in due})
        durable.write_atomic(home.folder / "pruning.json", notes.to_json(), scratch=home.public)
        freed = sum(_remove(home.public / path) for path in due)
    done = Pruned(len(due), freed, gone, len(since) - len(due))
    log.info("pruned", files=done.files, bytes=done.bytes, candidates=done.candidates)
    return done


def _prune_candidates(home: Home, signed: Signed) -> int:
    built = candidates.versions(home)
    named = {version for channel in Channel for version in history.named_versions(signed, channel)}
    gone = [version for version in built[:-KEPT_CANDIDATES] if version not in named]
    for version in gone:
        path = home.candidates / str(version)
        doomed = durable.temporary_beside(path)
        path.rename(doomed)  # half removed it would look damaged
        shutil.rmtree(doomed)
    return len(gone)


def _needed(home: Home, signed: Signed) -> set[Path]:
    """Every file of ``public/`` that is to stay."""
    needed = {
        home.metadata / "timestamp.json",
        home.metadata / f"{signed.snapshot.signed.version}.snapshot.json",
        home.metadata / f"{signed.targets.signed.version}.targets.json",
        *home.metadata.glob("*.root.json"),
    }
    for info in signed.targets.signed.targets.values():
        needed.add(home.targets / info.get_prefixed_paths()[0])
    for channel, role in signed.channels.items():
        needed.add(home.metadata / f"{role.signed.version}.{channel}.json")
        for info in role.signed.targets.values():
            needed.add(home.targets / info.get_prefixed_paths()[0])
    for manifest in _kept_sets(home, signed):
        needed |= {home.object_path(shard.sha256) for shard in manifest.shards}
        needed |= {home.patch_path(patch.old, patch.new) for patch in manifest.patches}
    return needed


def _kept_sets(home: Home, signed: Signed) -> Iterator[Manifest]:
    yield from history.published_sets(home, signed)
    for version in candidates.versions(home):
        yield candidates.load(home, version)


def _since(home: Home, needed: set[Path], now: datetime) -> dict[str, datetime]:
    """Since when each file that is not needed has not been."""
    known = _read_notes(home)
    found = {}
    for path in home.public.rglob("*"):
        if path.is_file() and path not in needed:
            name = str(path.relative_to(home.public))
            # By a clock that was ahead: begin again.
            found[name] = min(known.get(name, now), now)
    return found


def _read_notes(home: Home) -> dict[str, datetime]:
    path = home.folder / "pruning.json"
    try:
        return read_value(_Notes, path.read_bytes(), _NOTES_MAX_BYTES, "pruning.json").since
    except FileNotFoundError:
        return {}
    except FormatError as e:
        log.warning("pruning begins anew", why=str(e))
        return {}


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size
