"""Which mail server a connection is made to: the first that answers, in the configured order.

One that failed is asked last for a while, so that not every client waits for it again. Servers that
are to take each other's place must take the same recipients: a transaction that was begun with one
is told again to another when the first is gone before it was given the message.
"""

import time
from collections.abc import Callable, Mapping

import structlog

from mailward.doors.next_hop import HopConnection
from mailward.doors.tls import PLAIN, HopSecurity
from mailward.errors import TemporaryError

log = structlog.get_logger(__name__)

AVOID_S = 30.0
"""After a failure. A server that restarts is back within that."""


class NextHops:
    """Servers that take each other's place. Shared by all sessions of a gateway."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        timeout_s: float,
        security: HopSecurity = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._security = security
        self._clock = clock
        self._failed_at: dict[str, float] = {}
        self.offered: Mapping[str, str] | None = None
        """What the one that was last connected to offers; None before."""

    async def connect(self, hostname: str) -> HopConnection:
        """Raises TemporaryError when none of them can be used; it says why of each."""
        problems = []
        for address in sorted(self._addresses, key=self._is_avoided):
            try:
                hop = await HopConnection.connect(
                    address, hostname, self._timeout_s, self._security
                )
            except TemporaryError as e:
                self._failed_at[address] = self._clock()
                problems.append(str(e))
                continue
            if problems:
                log.warning("next hop down, another one takes its place", problem=problems[0])
            self._failed_at.pop(address, None)
            self.offered = hop.extensions
            return hop
        raise TemporaryError("; ".join(problems))

    def _is_avoided(self, address: str) -> bool:
        failed_at = self._failed_at.get(address)
        return failed_at is not None and self._clock() - failed_at < AVOID_S
