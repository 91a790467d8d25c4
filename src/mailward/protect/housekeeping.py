"""What the quarantine needs now and then: messages that were held for long enough are removed."""

import asyncio
from collections.abc import Callable

import structlog

from mailward.errors import MailwardError
from mailward.protect.events import Event
from mailward.protect.quarantine import Quarantine

log = structlog.get_logger(__name__)

_EVERY_S = 3600.0


async def keep_house(quarantine: Quarantine, record: Callable[[Event], None]) -> None:
    """Until cancelled. A failure is logged, and tried again the next time."""
    while True:
        try:
            for id_ in await asyncio.to_thread(quarantine.expire):
                log.info("a held message was removed for its age", id=id_)
                record(Event("expired", "quarantine", trace_id=id_))
        except (MailwardError, OSError) as e:
            log.error("old messages cannot be removed from the quarantine", why=str(e))
        await asyncio.sleep(_EVERY_S)
