"""What another set finds in a message: one worker, for this message, beside those of the pool."""

import structlog

from mailward.definitions.sets import StoredSet
from mailward.scan.part import Role
from mailward.scan.pool import ALL_ENGINES
from mailward.scan.verdict import Verdict
from mailward.scan.worker_parent import WorkerParent
from mailward.scan.worker_process import WorkerLostError, WorkerProcess
from mailward.settings.scan import ScanSettings

log = structlog.get_logger(__name__)


async def second_opinion(
    stored: StoredSet, settings: ScanSettings, data: bytes | bytearray, engines: str = ALL_ENGINES
) -> Verdict | None:
    """None if that set cannot say: it is not prepared for these engines, or lost its worker."""
    try:
        async with WorkerParent(settings, engines) as parent:
            worker = await WorkerProcess.start(parent)
            try:
                if await worker.load(str(stored.version), stored.prepared):
                    return None
                verdict, _ = await worker.scan(data, Role.MESSAGE, "")
            finally:
                await worker.close()
    except (WorkerLostError, OSError) as e:
        log.warning("no second opinion", set=str(stored.version), why=str(e))
        return None
    return verdict
