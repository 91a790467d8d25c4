"""What the set that was checked last was prepared to: the next one differs in a few lines.

It may be removed at any time: the next check then takes as long as the first.
"""

import shutil
from pathlib import Path

import structlog

from mailward import durable
from mailward.publish.home import Home

log = structlog.get_logger(__name__)


def before(home: Home) -> Path | None:
    """What spares much of preparing; None if there is nothing."""
    return home.prepared if home.prepared.is_dir() else None


def keep(home: Home, prepared: Path) -> None:
    """Take a copy of ``prepared`` for the next check, under the lock."""
    fresh = durable.temporary_beside(home.prepared)
    try:
        shutil.copytree(prepared, fresh)
        shutil.rmtree(home.prepared, ignore_errors=True)
        fresh.rename(home.prepared)
    except OSError as e:
        shutil.rmtree(fresh, ignore_errors=True)
        log.warning("what was prepared is not kept, so the next check takes longer", why=str(e))
