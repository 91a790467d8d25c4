"""The updater's other task: every product follows the set in use, and the ignore list."""

import asyncio
import time
from collections.abc import Callable

import structlog

from mailward.definitions.ignored import IgnoreList
from mailward.definitions.products import Product, Standing
from mailward.definitions.sharing import Sharing
from mailward.definitions.store import Store
from mailward.errors import MailwardError

log = structlog.get_logger(__name__)

_LOOK_S = 0.3
"""Products are told within a second of an activation."""

_AGAIN_S = 10.0
"""Until a product that could not be brought up to date is tried again."""


class ProductService:
    """Brings up to date. ``run`` never ends by itself; a slow product holds up no other."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._sharing = Sharing(store)
        self._ignored = IgnoreList(store.folder)
        self._clock = clock
        self._seen: object = None
        self._again_at: float | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Again and again."""
        while True:
            try:
                await self.look()
            except (MailwardError, OSError) as e:
                log.error("products cannot be looked after", why=str(e))
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """One round: cheap while nothing has changed."""
        stamp = (
            self._store.pointer_stamp(),
            self._ignored.stamp(),
            self._sharing.products.stamp(),
        )
        if stamp == self._seen and (self._again_at is None or self._clock() < self._again_at):
            return
        self._seen, self._again_at = stamp, None
        for product in await asyncio.to_thread(self._sharing.products.all):
            if product.name in self._busy:
                self._again_at = self._clock() + _LOOK_S
            elif await asyncio.to_thread(self._sharing.is_due, product):
                task = asyncio.create_task(self._bring_up(product))
                self._busy[product.name] = task

    async def _bring_up(self, product: Product) -> None:
        try:
            state = await asyncio.to_thread(self._sharing.bring_up, product)
            if state.standing in (Standing.FAILED, Standing.UNTOLD):
                self._again_at = self._clock() + _AGAIN_S
        finally:
            del self._busy[product.name]
